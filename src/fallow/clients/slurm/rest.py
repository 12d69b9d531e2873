"""Slurm by slurmrestd, over a Unix socket or TCP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from fallow.clients.slurm import parse
from fallow.clients.slurm.model import Job, Node, Reservation, Settings, SlurmError

OLDEST, NEWEST_KNOWN = 38, 45  # v0.0.N of 22.05 and of 26.05


class Rest:
    """Asks slurmrestd, one request at a time.

    Args:
        endpoint: ``unix:/path/of/socket`` or ``http(s)://host:port``.
        user, token: called for each request, so that a renewed token is taken up; empty: no such header (rest_auth/local).
        version: of the API, such as v0.0.42; empty: the newest that both sides know.
        ca_file: PEM; None: the system's.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        user: str = "",
        token: Callable[[], str] = lambda: "",
        version: str = "",
        ca_file: Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._endpoint, self._user, self._token, self._timeout_s = endpoint, user, token, timeout_s
        self._ca_file = ca_file
        self._version = version
        self._accounting = False
        self._hides_earlier_runs = False  # 22.05 shows all and refuses to be asked for it
        self._discovered = False
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self._last: tuple[int, Sequence[Job]] | None = None

    def settings(self) -> Settings:
        """What slurmrestd says of the cluster; it does not say how long ended jobs are remembered."""
        self._discover()
        answer = self._get(f"/slurm/{self._version}/ping")
        meta = answer.get("meta") or {}
        slurm = meta.get("slurm") or meta.get("Slurm") or {}
        cluster = slurm.get("cluster") or ""
        if not cluster:  # 22.05 says it only of jobs
            jobs = (self._get(f"/slurm/{self._version}/jobs").get("jobs") or [{}])[:1]
            cluster = jobs[0].get("cluster", "") if jobs else ""
        return Settings(
            cluster=cluster,
            version=slurm.get("release", ""),
            min_job_age_s=None,
            slurmdbd=self._accounting,
            jobcomp_file="",
        )

    def jobs(self) -> Sequence[Job]:
        """All jobs that the controller remembers; where nothing changed since the last time, it only says so."""
        since = {"update_time": str(self._last[0])} if self._last else {}
        answer = self._slurm("jobs", **since)
        stamp = parse.number(answer.get("last_update")) if answer else None  # from 23.11
        if self._last is not None and not stamp:  # 22.05 answers 304, later ones an empty list of time 0
            return self._last[1]
        found = parse.jobs(answer)
        self._last = (stamp, found) if stamp else None
        return found

    def nodes(self) -> list[Node]:
        """All nodes."""
        return parse.nodes(self._slurm("nodes"))

    def reservations(self) -> list[Reservation]:
        """All reservations."""
        return parse.reservations(self._slurm("reservations"))

    def ended(self, since: int) -> list[Job]:
        """Runs that ended, of all that were there after ``since``."""
        return parse.ended(self._slurmdb(start_time=f"uts{since}", skip_steps="true"))

    def used(self, ids: Sequence[str], since: int) -> list[Job]:
        """The runs of these jobs that ended after ``since``, with what they used; no release takes a list of ids."""
        wanted = set(ids)
        return [job for job in parse.ended(self._slurmdb(start_time=f"uts{since}")) if job.id in wanted]

    def close(self) -> None:
        """Break off the request that runs, if any."""
        self._closed = True
        self._drop()

    def _slurm(self, what: str, **query: str) -> Any:
        self._discover()
        return self._get(f"/slurm/{self._version}/{what}", **query)

    def _slurmdb(self, **query: str) -> Any:
        self._discover()
        if self._hides_earlier_runs:
            query["show_duplicates"] = "true"
        return self._get(f"/slurmdb/{self._version}/jobs", **query)

    def _discover(self) -> None:
        """Which versions of the API there are: no single one is in all releases from 22.05 to 26.05."""
        if self._discovered:
            return
        paths = self._get("/openapi/v3").get("paths") or {}
        versions = {part[2] for part in (path.split("/") for path in paths) if part[1:2] == ["slurm"] and len(part) > 2}
        if not self._version:
            known: list[str] = [
                v for v in versions if v.startswith("v0.0.") and OLDEST <= int(v[5:] or 0) <= NEWEST_KNOWN
            ]
            if not known:
                shown = ", ".join(sorted(versions)) or "none"
                raise SlurmError(f"slurmrestd at {self._endpoint} offers the API {shown}; v0.0.38 to v0.0.45 are known")
            self._version = max(known, key=_number)
        of_jobs = next((paths[path] for path in paths if path.rstrip("/") == f"/slurmdb/{self._version}/jobs"), None)
        self._accounting = of_jobs is not None
        parameters = ((of_jobs or {}).get("get") or {}).get("parameters") or ()
        self._hides_earlier_runs = any(one.get("name") == "show_duplicates" for one in parameters)
        self._discovered = True

    def _get(self, path: str, **query: str) -> Any:
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            status, body = self._send(target)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise SlurmError(
                f"slurmrestd at {self._endpoint} does not answer: {error or type(error).__name__}"
            ) from error
        if status == 304:
            return None
        try:
            answer = json.loads(body) if body else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or (status >= 400 and not answer.get("errors")):
            shown = " ".join(body[:200].decode("utf-8", "replace").split())
            raise SlurmError(f"slurmrestd at {self._endpoint} answered {path} with {status}: {shown}")
        return answer

    def _send(self, target: str) -> tuple[int, bytes]:
        if self._closed:
            raise OSError("the client is closed")
        headers = {"Accept": "application/json"}
        if self._user:
            headers["X-SLURM-USER-NAME"] = self._user
        if token := self._token():
            headers["X-SLURM-USER-TOKEN"] = token
        fresh = self._connection is None
        connection = self._connection = self._connection or self._connect()
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if fresh or self._closed:
                raise
            # slurmrestd closes connections that were idle.
            self._drop()
            return self._send(target)
        return response.status, response.read()

    def _connect(self) -> http.client.HTTPConnection:
        if self._endpoint.startswith("unix:"):
            return _UnixConnection(self._endpoint.removeprefix("unix:"), self._timeout_s)
        url = urlsplit(self._endpoint)
        host, port = url.hostname or "", url.port
        if url.scheme == "https":
            trust = ssl.create_default_context(cafile=self._ca_file)
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=trust)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _number(version: str) -> int:
    return int(version.rpartition(".")[2])
