"""The API server: lists page by page, and watches that end as they end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

from fallow.clients.kubernetes.model import Change, Expired, Forbidden, KubernetesError, Page, Resource
from fallow.errors import PermanentError

PAGE: Final = 500
LONGEST_LINE: Final = 16 << 20
"""Bytes of one event of a watch; etcd takes objects of 1.5 MiB by default."""
_CHUNK: Final = 1 << 16
_GONE, _FORBIDDEN, _TOO_MANY = 410, 403, 429


class Api:
    """Reads from one API server. Its calls block; ``close`` from another thread ends them.

    Args:
        kubeconfig: None: the account of the pod that this runs in, else where kubectl looks.
        context: of the kubeconfig; empty: its current one.

    Raises:
        PermanentError: there is no such configuration, or it cannot be used.
    """

    def __init__(self, kubeconfig: Path | None, context: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._configuration = _configuration(kubeconfig, context)
        self._http = _http(self._configuration)
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def server(self) -> str:
        """Where it is."""
        return str(self._configuration.host)

    def cluster(self) -> str:
        """What tells this cluster from others: the uid of its kube-system namespace; empty where it may not be read."""
        try:
            namespace = self._json("/api/v1/namespaces/kube-system", {})
        except Forbidden:
            return ""
        return str((namespace.get("metadata") or {}).get("uid", ""))

    def page(self, resource: Resource, rest: str = "") -> Page:
        """A page; raises Expired where the list was begun so long ago that it cannot be gone on with."""
        query = {"limit": str(PAGE), **({"continue": rest} if rest else {}), **_selector(resource)}
        answer = self._json(resource.path, query)
        meta = answer.get("metadata") or {}
        return Page(
            items=answer.get("items") or [],
            version=str(meta.get("resourceVersion", "")),
            rest=str(meta.get("continue") or ""),
        )

    def watch(self, resource: Resource, version: str, seconds: int) -> Iterator[list[tuple[Change | None, Any]]]:
        """What came after ``version``, as it comes: (change, object) by the batch; change None is a bookmark.

        Ends without an error when the server ends it, after about ``seconds``. A line that was not finished counts as
        not sent: what goes on from the last version gets it again.

        Raises:
            Expired: the server has forgotten that version.
            KubernetesError: the connection broke, or what came is no watch.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            **_selector(resource),
        }
        # A server that is gone says nothing: a watch without a word for longer than it may last is broken.
        response = self._request(resource.path, query, read_s=seconds + self._timeout_s)
        left = b""
        try:
            while chunk := self._read(response):
                lines = (left + chunk).split(b"\n")
                left = lines.pop()
                if len(left) > LONGEST_LINE:
                    raise KubernetesError(f"{resource}: an event of a watch is longer than {LONGEST_LINE} bytes")
                if changes := [_change(resource, line) for line in lines if line.strip()]:
                    yield changes
        finally:
            self._forget(response)

    def close(self) -> None:
        """End what goes on; what is asked later fails."""
        with self._lock:
            self._closed = True
            waiting = list(self._open)
        for response in waiting:
            with suppress(Exception):  # it may be ending by itself
                response.shutdown()
        self._http.clear()

    def _json(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        response = self._request(path, query, read_s=self._timeout_s, headers={"Accept-Encoding": "gzip"})
        try:
            body = response.read(decode_content=True)
            answer = json.loads(body)
        except ValueError as error:
            raise KubernetesError(f"{self.server}{path} did not answer with JSON") from error
        except Exception as error:
            raise _broken(self.server, path, error) from error
        finally:
            self._forget(response)
        if not isinstance(answer, dict):
            raise KubernetesError(f"{self.server}{path} did not answer with an object")
        return cast("dict[str, Any]", answer)

    def _request(
        self, path: str, query: Mapping[str, str], *, read_s: float, headers: Mapping[str, str] | None = None
    ) -> Any:
        import urllib3

        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._http.request(
                "GET",
                url,
                headers={"Accept": "application/json", "User-Agent": "fallow", **self._login(), **(headers or {})},
                timeout=urllib3.Timeout(connect=self._timeout_s, read=read_s),
                preload_content=False,
                retries=False,
            )
        except Exception as error:  # of urllib3, of ssl, or of the program that a kubeconfig lets give a token
            raise _broken(self.server, path, error) from error
        with self._lock:
            if self._closed:
                response.close()
                raise KubernetesError("the client is closed")
            self._open.add(response)
        if response.status != 200:
            try:
                raise _refusal(path, response)
            finally:
                self._forget(response)
        return response

    def _login(self) -> dict[str, str]:
        """Headers of who asks; a token that ran out is read or asked for anew."""
        found = self._configuration.auth_settings().get("BearerToken")
        return {found["key"]: found["value"]} if found and found["value"] else {}

    def _read(self, response: Any) -> bytes:
        try:
            return bytes(response.read1(_CHUNK))
        except Exception as error:  # the same kinds
            raise KubernetesError(f"the watch broke off: {error or type(error).__name__}") from error

    def _forget(self, response: Any) -> None:
        with self._lock:
            self._open.discard(response)
        response.close()


def _configuration(kubeconfig: Path | None, context: str) -> Any:
    try:
        from kubernetes import config
        from kubernetes.client import Configuration
    except ModuleNotFoundError as error:
        if error.name != "kubernetes":
            raise
        raise PermanentError("needs the kubernetes client: pip install 'fallow[kubernetes]'") from None
    made = Configuration()
    try:
        if kubeconfig is None and not context:
            try:
                config.load_incluster_config(client_configuration=made)
                return made
            except config.ConfigException:
                pass
        path = str(kubeconfig) if kubeconfig else None
        config.load_kube_config(path, context or None, client_configuration=made, persist_config=False)
    except (config.ConfigException, OSError) as error:
        where = kubeconfig or "neither the account of a pod nor kubectl's configuration"
        raise PermanentError(f"no way to an API server: {where}: {error}") from error
    return made


def _http(configuration: Any) -> Any:
    from kubernetes.client.rest import RESTClientObject

    # A watch holds its connection for minutes: one for each kind of objects, and one for lists.
    configuration.connection_pool_maxsize = 8
    return RESTClientObject(configuration).pool_manager


def _selector(resource: Resource) -> dict[str, str]:
    return {"fieldSelector": resource.fields} if resource.fields else {}


def _change(resource: Resource, line: bytes) -> tuple[Change | None, Any]:
    try:
        event = json.loads(line)
        type, object = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise KubernetesError(f"{resource}: a watch sent what is no event: {line[:100]!r}") from error
    if type == "ERROR":
        code, message = object.get("code"), object.get("message", "")
        raise (Expired if code == _GONE else KubernetesError)(f"{resource}: the watch ended with {code}: {message}")
    return (None if type == "BOOKMARK" else type), object


def _refusal(path: str, response: Any) -> KubernetesError:
    said = ""
    with suppress(Exception):  # whatever it is, it says nothing
        said = json.loads(response.read(LONGEST_LINE)).get("message", "")
    text = f"the API server answered {path} with {response.status}: {said or response.reason}"
    if response.status == _GONE:
        return Expired(text)
    if response.status == _FORBIDDEN:
        return Forbidden(said or text)
    after = response.headers.get("Retry-After", "") if response.status in (_TOO_MANY, 503) else ""
    return KubernetesError(text, retry_after_s=float(after) if after.isdigit() else None)


def _broken(server: str, path: str, error: Exception) -> KubernetesError:
    return KubernetesError(f"{server}{path} does not answer: {error or type(error).__name__}")
