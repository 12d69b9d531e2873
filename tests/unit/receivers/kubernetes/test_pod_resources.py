"""The kubelet's socket, as a real gRPC server on a Unix socket serves it."""

from __future__ import annotations

import asyncio
import logging
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from fallow import semconv
from fallow.clients.kubernetes import Gpus, Kubelet, KubernetesError
from fallow.clients.podresources.podresources_pb2 import (
    ContainerDevices,
    ContainerResources,
    ListPodResourcesRequest,
    ListPodResourcesResponse,
    PodResources,
)
from fallow.clients.podresources.podresources_pb2_grpc import (
    PodResourcesListerServicer,
    add_PodResourcesListerServicer_to_server,
)
from fallow_receivers.kubernetes import KubernetesReceiver, KubernetesReceiverConfig
from fallow_receivers.kubernetes.devices import held
from helpers.otlp_server import Counters, Sink
from helpers.slurm import measured

GPU = "GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c0"
MIG = "MIG-9a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c01"


class Lister(PodResourcesListerServicer):
    def __init__(self) -> None:
        self.pods: list[PodResources] = []

    def List(self, request: ListPodResourcesRequest, context: grpc.ServicerContext) -> ListPodResourcesResponse:
        return ListPodResourcesResponse(pod_resources=self.pods)


def serve(socket: Path, lister: Lister) -> grpc.Server:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_PodResourcesListerServicer_to_server(lister, server)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server


def a_pod(name: str, resource: str, *devices: str) -> PodResources:
    container = ContainerResources(
        name="main", devices=[ContainerDevices(resource_name=resource, device_ids=[one]) for one in devices]
    )
    return PodResources(name=name, namespace="ml", containers=[container])


def test_devices_of_containers_are_metrics(tmp_path: Path) -> None:
    lister, sink, socket = Lister(), Sink(), tmp_path / "kubelet.sock"
    lister.pods = [
        a_pod("whole", "nvidia.com/gpu", f"{GPU}1", f"{GPU}2"),
        a_pod("slice", "nvidia.com/mig-1g.10gb", MIG),
        a_pod("shared", "nvidia.com/gpu.shared", f"{GPU}3::0", f"{GPU}3::1"),
        a_pod("by-index", "nvidia.com/gpu", "5"),
        a_pod("net", "rdma/hca", "mlx5_0"),
        PodResources(name="none", namespace="ml"),
    ]
    server = serve(socket, lister)

    async def run() -> None:
        settings = {"watch": [], "pod_resources": {"socket": socket, "interval": "1s", "host": "n1.example.org"}}
        config = KubernetesReceiverConfig.model_validate({**settings, "cluster": "lab"})
        one = KubernetesReceiver(config, Counters().context("kubernetes", tmp_path))
        await one.start(sink.consume)
        async with asyncio.timeout(20):
            await sink.entered.wait()
        await one.shutdown()

    asyncio.run(run())
    server.stop(0).wait()
    points = list(measured(sink.batches[0]))
    assert {name for name, _, _ in points} == {semconv.JOB_GPU_ALLOCATED}
    assert {a[semconv.HOST_NAME] for _, a, _ in points} == {"n1.example.org"}
    found = [(a[semconv.K8S_POD_NAME], a.get(semconv.HW_ID) or a[semconv.GPU_INDEX]) for _, a, _ in points]
    assert found == [
        ("whole", f"{GPU}1"),
        ("whole", f"{GPU}2"),
        ("slice", MIG),
        ("shared", f"{GPU}3"),
        ("by-index", "5"),
    ]
    assert not (tmp_path / "kubernetes-cursor.json").exists()  # nothing of it has to be remembered


def test_a_kubelet_that_is_not_there_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lister, sink, socket, counters = Lister(), Sink(), tmp_path / "kubelet.sock", Counters()
    lister.pods = [a_pod("whole", "nvidia.com/gpu", f"{GPU}1")]
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        config = KubernetesReceiverConfig.model_validate(
            {"watch": [], "timeout": "1s", "pod_resources": {"socket": socket, "interval": "1s"}}
        )
        one = KubernetesReceiver(config, counters.context("kubernetes", tmp_path))
        await one.start(sink.consume)
        async with asyncio.timeout(20):
            while not counters.values("fallow_kubernetes_reads"):
                await asyncio.sleep(0.05)
            server = serve(socket, lister)
            await sink.entered.wait()
        await one.shutdown()
        server.stop(0).wait()

    asyncio.run(run())
    assert [vars(r)["error"] for r in caplog.records if "kubelet" in r.message] == [f"{socket} is not there"]


def test_what_the_client_raises(tmp_path: Path) -> None:
    client = Kubelet(tmp_path / "kubelet.sock", timeout_s=1)
    with pytest.raises(KubernetesError, match="is not there"):
        client.allocations()
    client.close()


def test_nothing_held_is_nothing_told() -> None:
    assert list(held([], Gpus(names=("nvidia.com/gpu",)), "n1")) == []
