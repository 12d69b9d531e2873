"""The receiver against a real API server: RBAC as documented, 410 Gone after a real compaction, restarts of either side."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.api_server import folder, missing
from e2e.processes import Program, answers, free_ports, until
from fallow import semconv
from fallow_receivers.kubernetes import KubernetesReceiver, KubernetesReceiverConfig
from helpers.kubernetes import node, note, pod
from helpers.otlp_server import Counters, Sink
from helpers.slurm import attributes_of, told

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
DOCS = Path(__file__).parents[2] / "docs" / "receivers" / "kubernetes.md"
Object = dict[str, Any]


class Cluster:
    """etcd and kube-apiserver in a private directory; nothing schedules, so the test says what kubelets would."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.etcd_port, peers, self.port = free_ports(3)
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE  # its certificate comes with its start
        (home / "tokens.csv").write_text("admin-token,admin,admin,system:masters\nfallow-token,fallow,fallow,\n")
        key = ["openssl", "genrsa", "-out", str(home / "sa.key"), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        self.etcd = Program(
            "etcd",
            [
                str(folder() / "etcd"), "--data-dir", str(home / "etcd"), "--unsafe-no-fsync",
                "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                "--listen-peer-urls", f"http://127.0.0.1:{peers}",
            ],
            answers(f"{etcd}/health"),
            {},
            home / "etcd.log",
        )  # fmt: skip
        self.api = Program(
            "kube-apiserver",
            [
                str(folder() / "kube-apiserver"), "--etcd-servers", etcd, "--etcd-compaction-interval", "0",
                "--bind-address", "127.0.0.1", "--secure-port", str(self.port), "--cert-dir", str(home / "certs"),
                "--service-account-key-file", str(home / "sa.key"),
                "--service-account-signing-key-file", str(home / "sa.key"),
                "--service-account-issuer", "https://kubernetes.default.svc", "--token-auth-file",
                str(home / "tokens.csv"), "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
                "--disable-admission-plugins", "ServiceAccount",
            ],
            self._ready,
            {},
            home / "api.log",
        )  # fmt: skip

    def request(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        headers = {"Authorization": "Bearer admin-token", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._tls) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.read().decode()}") from error

    def _ready(self) -> bool:
        try:
            return bool(self.request("GET", "/api/v1/namespaces/kube-system"))
        except (OSError, ValueError):
            return False

    def allow(self) -> None:
        """Let the account do what the documentation says, and nothing else."""
        text = DOCS.read_text(encoding="utf-8")
        block = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "ClusterRoleBinding" in b)
        for made in yaml.safe_load_all(block):
            if made["kind"] == "ServiceAccount":
                continue
            if made["kind"] == "ClusterRoleBinding":
                made["subjects"] = [{"kind": "User", "name": "fallow", "apiGroup": "rbac.authorization.k8s.io"}]
            self.request("POST", f"/apis/rbac.authorization.k8s.io/v1/{made['kind'].lower()}s", made)

    def make(self, path: str, made: Object) -> Object:
        """Create an object, then the status that its kubelet or controller would give it."""
        status = made.pop("status", {})
        made["metadata"].pop("uid", None)
        if "namespace" in made["metadata"]:
            made["metadata"]["namespace"] = "default"
        found = self.request("POST", path, made)
        if "startTime" in status:
            status["startTime"] = _now()  # not before the server has created it, however slow that is
        if status:
            found = self.status(f"{path}/{made['metadata']['name']}", status)
        return found

    def status(self, path: str, status: Object) -> Object:
        return self.request("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    def a_pod(self, name: str, **how: Any) -> Object:
        made = pod(name, node="n1", phase="Running", start="now", **how)
        made["spec"]["containers"][0]["image"] = "x"
        for one in made["status"].get("containerStatuses", ()):
            one.update(ready=False, image="x", imageID="x")
        return self.make("/api/v1/namespaces/default/pods", made)

    def ends(self, name: str) -> None:
        done = {"exitCode": 0, "finishedAt": _now(), "reason": "Completed"}
        one = {"name": "main", "ready": False, "restartCount": 0, "image": "x", "imageID": "x"}
        status = {"phase": "Succeeded", "containerStatuses": [{**one, "state": {"terminated": done}}]}
        self.status(f"/api/v1/namespaces/default/pods/{name}", status)

    def compact(self) -> None:
        """Let etcd forget what was before now; the server's watch cache forgets when it starts anew."""
        self.api.kill()
        url = f"http://127.0.0.1:{self.etcd_port}/v3/kv"
        header = self._etcd(f"{url}/range", {"key": "AA=="})["header"]
        self._etcd(f"{url}/compaction", {"revision": header["revision"], "physical": True})
        self.api.start()

    def _etcd(self, url: str, body: Object) -> Object:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return dict(json.loads(answer.read()))

    def kubeconfig(self) -> Path:
        path = self.home / "kubeconfig"
        server = f"https://127.0.0.1:{self.port}"
        cluster = {"server": server, "certificate-authority": str(self.home / "certs" / "apiserver.crt")}
        made = {
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "fallow-token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        path.write_text(json.dumps(made))
        return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("kubernetes"))
    try:
        made.etcd.start()
        made.api.start()
        yield made
    finally:
        made.api.stop()
        made.etcd.stop()


def receiver(cluster: Cluster, counters: Counters | None = None) -> KubernetesReceiver:
    config = {"kubeconfig": cluster.kubeconfig(), "cursor": cluster.home / "cursor.json", "interval": "1s"}
    context = (counters or Counters()).context("kubernetes", cluster.home)
    return KubernetesReceiver(KubernetesReceiverConfig.model_validate(config), context)


def names(sink: Sink, pod: str) -> list[str]:
    found = [(record.event_name, attributes_of(record)) for _, record in told(sink.batches)]
    return [name for name, attributes in found if attributes.get(semconv.K8S_POD_NAME) == pod]


def test_a_real_server(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sink, counters = Sink(), Counters()
    started = [semconv.JOB_SUBMIT, semconv.POD_START, semconv.JOB_START]
    ended = [semconv.POD_END, semconv.JOB_END]

    def shown() -> str:
        events = [(r.event_name, r.time_unix_nano, attributes_of(r)) for _, r in told(sink.batches)]
        return "\n".join(map(str, [*events, *((r.message, vars(r).get("error")) for r in caplog.records)]))

    async def during(act: Callable[[], Any], true: Callable[[], bool]) -> None:
        """Let the receiver run while something happens, until something is so."""
        one = receiver(cluster, counters)
        await one.start(sink.consume)
        try:
            await asyncio.to_thread(act)
            await asyncio.to_thread(until, true, 120, shown)
        finally:
            await one.shutdown()

    # Nothing is allowed yet: that is said, for each kind.
    asyncio.run(during(lambda: None, lambda: len(_forbidden(caplog)) == 4))
    assert _forbidden(caplog) == {"nodes", "pods", "events", "jobs.batch"}
    cluster.allow()

    def watched() -> bool:
        reads = counters.values("fallow_kubernetes_reads")
        return all((kind, "success") in reads for kind in ("nodes", "jobs", "pods", "events"))

    def work() -> None:
        until(watched, 60, lambda: str(counters.values("fallow_kubernetes_reads")))
        cluster.make("/api/v1/nodes", node("n1"))
        cluster.make("/api/v1/nodes", node("n2", ready=False))
        cluster.a_pod("p")
        time.sleep(1)
        cluster.make("/api/v1/namespaces/default/events", {**note("e1"), "involvedObject": _about("p")})
        # The server dies and comes back: the watch goes on.
        cluster.api.kill()
        cluster.api.start()
        cluster.a_pod("q")
        cluster.ends("q")

    heard = semconv.KUBERNETES_EVENT
    asyncio.run(during(work, lambda: names(sink, "q") == [*started, *ended] and heard in names(sink, "p")))
    # While nobody looks, within what the server remembers: all of it.
    cluster.a_pod("short")
    cluster.ends("short")
    cluster.request("DELETE", "/api/v1/namespaces/default/pods/short?gracePeriodSeconds=0")
    asyncio.run(during(lambda: None, lambda: names(sink, "short") == [*started, *ended]))
    # Beyond it: what is there is told, and nothing twice.
    cluster.ends("p")
    cluster.compact()
    asyncio.run(during(lambda: cluster.a_pod("r"), lambda: names(sink, "r") == started))
    assert [one for one in names(sink, "p") if one != heard] == [*started, *ended]
    assert counters.values("fallow_kubernetes_reads").get(("pods", "expired"), 0) >= 1
    uids = [attributes_of(record)[semconv.RECORD_UID] for _, record in told(sink.batches)]
    assert len(uids) == len(set(uids))
    places = [(host, record.event_name) for host, record in told(sink.batches) if "node" in record.event_name]
    assert ("n2", semconv.NODE_DOWN) in places


def _now() -> str:
    """In whole seconds, as kubelets write it; a second later than what the server has written meanwhile."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))


def _forbidden(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {vars(r)["resource"] for r in caplog.records if r.message.startswith("This account may not read it")}


def _about(name: str) -> Object:
    return {"kind": "Pod", "name": name, "namespace": "default", "uid": "u"}
