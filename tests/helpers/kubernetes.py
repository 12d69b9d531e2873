"""An API server for tests, over HTTP: objects with resource versions, lists by the page, watches that can be ill-treated."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


@dataclass
class ApiServer:
    """What is in it, what it was asked, and what it does wrong."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    """(kind, uid) → object."""
    history: list[tuple[int, str, str, Object]] = field(default_factory=list)
    """(version, kind, change, object)."""
    version: int = 100
    forgotten: int = 100
    """Watches from before this version get 410 Gone."""
    page: int = 500
    forbidden: set[str] = field(default_factory=set)
    unavailable: int = 0
    """How many of the next requests get 503."""
    gone_in_stream: bool = False
    """Whether Gone is said in the stream rather than as the status."""
    half_line: bool = False
    """Whether the next change breaks the connection in the middle of its line."""
    asked: list[str] = field(default_factory=list)
    """Paths with their queries."""
    authorization: str = ""
    port: int = 0

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self.epoch = 0
        self.closed = False

    def put(self, kind: str, object: Object) -> Object:
        """Create or change an object; a copy with its resource version."""
        with self.changed:
            self.version += 1
            made: Object = json.loads(json.dumps(object))
            made.setdefault("metadata", {})["resourceVersion"] = str(self.version)
            key = (kind, made["metadata"]["uid"])
            self.history.append((self.version, kind, "MODIFIED" if key in self.objects else "ADDED", made))
            self.objects[key] = made
            self.changed.notify_all()
            return made

    def delete(self, kind: str, uid: str) -> None:
        with self.changed:
            self.version += 1
            gone = json.loads(json.dumps(self.objects.pop((kind, uid))))
            gone["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, "DELETED", gone))
            self.changed.notify_all()

    def bookmark(self, kind: str) -> None:
        with self.changed:
            self.version += 1
            mark = {"kind": kind, "metadata": {"resourceVersion": str(self.version)}}
            self.history.append((self.version, kind, "BOOKMARK", mark))
            self.changed.notify_all()

    def compact(self) -> None:
        """Forget all changes of before now."""
        self.forgotten = self.version

    def drop(self) -> None:
        """Break every connection that waits."""
        with self.changed:
            self.epoch += 1
            self.changed.notify_all()

    def watches(self, kind: str) -> list[str]:
        """Versions from which that kind was watched."""
        found = [urlsplit(one) for one in list(self.asked)]
        return [
            parse_qs(one.query)["resourceVersion"][0]
            for one in found
            if one.path.endswith(f"/{kind}") and "watch=1" in one.query
        ]

    def lists(self, kind: str) -> int:
        """How often it was listed, by the page."""
        return sum(f"/{kind}?" in one and "watch=1" not in one for one in list(self.asked))

    def kubeconfig(self, folder: Path, token: str = "secret") -> Path:
        """A configuration that leads here."""
        path = folder / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        user = {"name": "u", "user": {"token": token}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        made = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context]}
        path.write_text(json.dumps({**made, "current-context": "x"}))
        return path


@contextmanager
def serving(api: ApiServer) -> Generator[ApiServer]:
    """The server, on loopback."""
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api
    finally:
        api.closed = True
        api.drop()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        api = self.api
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        kind = split.path.rpartition("/")[2]
        api.asked.append(self.path)
        api.authorization = self.headers.get("Authorization", "")
        if api.unavailable:
            api.unavailable -= 1
            self._refuse(503, "not now")
        elif kind in api.forbidden:
            verb = "watch" if "watch" in query else "list"
            self._refuse(403, f'{kind} is forbidden: User "fallow" cannot {verb} resource "{kind}"')
        elif split.path == "/api/v1/namespaces/kube-system":
            self._answer(200, {"metadata": {"uid": "cluster-uid"}})
        elif "watch" in query:
            self._watch(kind, query)
        else:
            self._list(kind, query)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _list(self, kind: str, query: dict[str, str]) -> None:
        with self.api.changed:
            found = [one for (of, _), one in self.api.objects.items() if of == kind]
            version = str(self.api.version)
        at = int(query.get("continue", "0"))
        end = at + min(self.api.page, int(query["limit"]))
        rest = str(end) if end < len(found) else ""
        self._answer(200, {"items": found[at:end], "metadata": {"resourceVersion": version, "continue": rest}})

    def _watch(self, kind: str, query: dict[str, str]) -> None:
        api, version = self.api, int(query["resourceVersion"])
        if version < api.forgotten and not api.gone_in_stream:
            self._refuse(410, "too old resource version")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if version < api.forgotten:
            self._line({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
            self._end()
            return
        epoch, told = api.epoch, 0
        while True:
            with api.changed:
                while api.epoch == epoch and len(api.history) == told:
                    api.changed.wait()
                fresh, told = api.history[told:], len(api.history)
                broken = api.epoch != epoch
            if broken:
                self.close_connection = True
                self.connection.close()
                return
            for at, of, change, object in fresh:
                if of != kind or at <= version:
                    continue
                if api.half_line:
                    api.half_line = False
                    text = json.dumps({"type": change, "object": object}).encode()
                    self._chunk(text[: len(text) // 2])
                    self.close_connection = True
                    self.connection.close()
                    return
                self._line({"type": change, "object": object})

    def _line(self, event: Object) -> None:
        self._chunk(json.dumps(event).encode() + b"\n")

    def _chunk(self, body: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.flush()

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _refuse(self, code: int, message: str) -> None:
        self._answer(code, {"kind": "Status", "code": code, "message": message})

    def _answer(self, code: int, object: Object) -> None:
        body = json.dumps(object).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# -- objects -----------------------------------------------------------------------------------------------------------
def pod(
    name: str,
    *,
    gpus: Any = 2,
    owner: Any = None,
    node: Any = "",
    phase: Any = "Pending",
    created: Any = "2026-01-05T08:00:00Z",
    start: Any = "",
    restarts: Any = 0,
    terminated: Any = None,
    last: Any = None,
    **status: Any,
) -> Object:
    """A pod with one container; ``owner`` is (kind, name, uid), ``terminated`` and ``last`` are states of the container."""
    limits = {"cpu": "3500m", "memory": "8Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    refs = [{"controller": True, "kind": owner[0], "name": owner[1], "uid": owner[2]}] if owner else []
    container = {
        "name": "main",
        "restartCount": restarts,
        "state": {"terminated": terminated} if terminated else {},
        "lastState": {"terminated": last} if last else {},
    }
    return {
        "metadata": {
            "uid": f"uid-{name}",
            "name": name,
            "namespace": "ml",
            "creationTimestamp": created,
            "ownerReferences": refs,
            "labels": {"kueue.x-k8s.io/queue-name": "team-a"},
        },
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"limits": limits}}]},
        "status": {
            "phase": phase,
            **({"startTime": start} if start else {}),
            **({"containerStatuses": [container]} if start else {}),
            **status,
        },
    }


def job(name: str, *, gpus: Any = 2, parallelism: Any = 2, suspend: Any = False, **status: Any) -> Object:
    """A Job."""
    limits = {"nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {
            "uid": f"uid-{name}",
            "name": name,
            "namespace": "ml",
            "creationTimestamp": "2026-01-05T07:59:00Z",
        },
        "spec": {
            "parallelism": parallelism,
            "completions": parallelism,
            "suspend": suspend,
            "activeDeadlineSeconds": 7200,
            "template": {"spec": {"containers": [{"name": "main", "resources": {"limits": limits}}]}},
        },
        "status": status,
    }


def node(name: str, *, ready: bool = True, cordoned: bool = False, since: str = "2026-01-01T00:00:00Z") -> Object:
    """A node with eight GPUs."""
    condition = {
        "type": "Ready",
        "status": "True" if ready else "Unknown",
        "reason": "KubeletReady" if ready else "NodeStatusUnknown",
        "lastTransitionTime": since,
    }
    return {
        "metadata": {"uid": f"uid-{name}", "name": name},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {
            "conditions": [condition],
            "allocatable": {"cpu": "96", "memory": "1Ti", "nvidia.com/gpu": "8"},
        },
    }


def note(name: str, *, count: int = 1, type: str = "Warning", reason: str = "FailedScheduling") -> Object:
    """An Event object about a pod."""
    return {
        "metadata": {"uid": f"uid-{name}", "name": name, "namespace": "ml"},
        "involvedObject": {"kind": "Pod", "name": "p1", "namespace": "ml", "uid": "uid-p1"},
        "type": type,
        "reason": reason,
        "message": "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.",
        "count": count,
        "lastTimestamp": f"2026-01-05T08:0{count}:00Z",
        "source": {"component": "default-scheduler"},
    }


def condition(type: str, at: str, reason: str = "") -> Object:
    """A condition that holds."""
    return {"type": type, "status": "True", "reason": reason, "lastTransitionTime": at}
