"""The kubelet's pod-resources socket: which container holds which devices, on this node."""

from __future__ import annotations

from pathlib import Path

import grpc

from fallow.clients.kubernetes.model import Allocation, Forbidden, KubernetesError
from fallow.clients.podresources.podresources_pb2 import ListPodResourcesRequest
from fallow.clients.podresources.podresources_pb2_grpc import PodResourcesListerStub

LONGEST_ANSWER = 16 << 20  # bytes; kubectl's own clients take as much


class Kubelet:
    """Asks the kubelet of this node; its calls block."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._channel = grpc.insecure_channel(
            f"unix://{socket.absolute()}",
            options=[
                ("grpc.max_receive_message_length", LONGEST_ANSWER),
                # A kubelet that restarts makes its socket anew: look for it at once.
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._stub = PodResourcesListerStub(self._channel)

    def allocations(self) -> list[Allocation]:
        """What device plugins gave to containers; raises KubernetesError."""
        try:
            answer = self._stub.List(ListPodResourcesRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._refusal(error) from error
        return [
            Allocation(
                namespace=pod.namespace,
                pod=pod.name,
                container=container.name,
                resource=devices.resource_name,
                devices=tuple(devices.device_ids),
            )
            for pod in answer.pod_resources
            for container in pod.containers
            for devices in container.devices
        ]

    def close(self) -> None:
        """Break off what goes on."""
        self._channel.close()

    def _refusal(self, error: grpc.RpcError) -> KubernetesError:
        details = f"{getattr(error, 'details', lambda: error)()}"
        if "ermission denied" in details:
            return Forbidden(f"{self._socket}: this process may not open it")
        if "o such file" in details:
            return KubernetesError(f"{self._socket} is not there")
        return KubernetesError(f"the kubelet at {self._socket} does not answer: {details}")
