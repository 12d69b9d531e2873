"""slurmrestd: which version of its API is spoken, who asks, what is asked again, and what goes wrong."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fallow.clients.slurm import Rest, SlurmError
from helpers.slurm import GOLDEN

JOBS = json.loads((GOLDEN / "24.11" / "0" / "squeue").read_text())
META = {"slurm": {"cluster": "mini", "release": "24.11.5"}}


class Server(socketserver.ThreadingUnixStreamServer):
    """Answers as slurmrestd does, over a socket; what was asked is kept."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.hangs_up = False
        self.clients: list[Rest] = []
        self.offer("v0.0.40", "v0.0.42")

    def offer(self, *versions: str, parameters: tuple[str, ...] = (), accounting: bool = True) -> None:
        """The versions of the API, and the parameters of slurmdbd's jobs."""
        described = {"get": {"parameters": [{"name": name} for name in parameters]}}
        paths: dict[str, Any] = {f"/slurm/{version}/jobs/": {} for version in versions}
        if accounting:
            paths |= {f"/slurmdb/{version}/jobs/": described for version in versions}
        self.answers["/openapi/v3"] = (200, {"paths": paths})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        url = urlsplit(self.path)
        server.asked.append((url.path, parse_qs(url.query), dict(self.headers)))
        status, answer = server.answers.get(url.path, (404, {"errors": [{"description": "no such path"}]}))
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = server.hangs_up

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    with Server(tmp_path / "sock") as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        for client in made.clients:
            client.close()
        made.shutdown()
        thread.join()


def rest(server: Server, **settings: Any) -> Rest:
    server.clients.append(Rest(f"unix:{server.server_address!s}", timeout_s=5, **settings))
    return server.clients[-1]


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [
        pytest.param(("v0.0.36", "v0.0.37", "v0.0.38"), "v0.0.38", id="22.05"),
        pytest.param(("v0.0.40", "v0.0.41", "v0.0.42"), "v0.0.42", id="24.11"),
        pytest.param(("v0.0.44", "v0.0.45", "v0.0.46"), "v0.0.45", id="newer-than-known"),
        pytest.param(("v0.0.9", "v0.0.41"), "v0.0.41", id="not-by-letters"),
    ],
)
def test_the_newest_version_that_both_know(offered: tuple[str, ...], spoken: str, server: Server) -> None:
    server.offer(*offered)
    server.answers[f"/slurm/{spoken}/jobs"] = (200, JOBS)
    assert {job.id for job in rest(server).jobs()} == {"1", "2", "3", "4", "5"}


def test_a_server_with_no_version_that_is_known(server: Server) -> None:
    server.offer("v0.0.99")
    with pytest.raises(SlurmError, match=r"offers the API v0\.0\.99; v0\.0\.38 to v0\.0\.45 are known"):
        rest(server).jobs()


def test_a_version_that_was_asked_for(server: Server) -> None:
    server.answers["/slurm/v0.0.40/nodes"] = (200, json.loads((GOLDEN / "24.11" / "0" / "nodes").read_text()))
    assert [node.name for node in rest(server, version="v0.0.40").nodes()] == ["n1", "n2", "n3", "n4"]


def test_a_token_is_read_for_each_request(server: Server) -> None:
    server.answers["/slurm/v0.0.42/nodes"] = (200, {"nodes": []})
    tokens = iter(["one", "two", "three"])
    client = rest(server, user="mkoch", token=lambda: next(tokens))
    client.nodes()
    client.nodes()
    said = [(of["X-SLURM-USER-NAME"], of["X-SLURM-USER-TOKEN"]) for _, _, of in server.asked]
    assert said == [("mkoch", "one"), ("mkoch", "two"), ("mkoch", "three")]


def test_without_a_token_there_is_no_such_header(server: Server) -> None:
    server.answers["/slurm/v0.0.42/nodes"] = (200, {"nodes": []})
    rest(server).nodes()
    assert not [name for _, _, headers in server.asked for name in headers if name.startswith("X-SLURM")]


@pytest.mark.parametrize(
    "unchanged",
    [pytest.param((304, b""), id="304"), pytest.param((200, {"jobs": [], "last_update": {"set": True, "number": 0}}), id="empty")],
)  # fmt: skip
def test_jobs_that_did_not_change_are_not_sent_again(unchanged: tuple[int, Any], server: Server) -> None:
    server.answers["/slurm/v0.0.42/jobs"] = (200, JOBS)
    client = rest(server)
    first = client.jobs()
    server.answers["/slurm/v0.0.42/jobs"] = unchanged
    assert client.jobs() == first
    stamp = JOBS["last_update"]["number"]
    assert [query for path, query, _ in server.asked if path.endswith("/jobs")] == [{}, {"update_time": [str(stamp)]}]


def test_ended_runs_are_asked_for_with_their_earlier_runs(server: Server) -> None:
    server.offer("v0.0.42", parameters=("start_time", "show_duplicates"))
    server.answers["/slurmdb/v0.0.42/jobs"] = (200, {"jobs": []})
    client = rest(server)
    assert client.ended(100) == []
    assert server.asked[-1][1] == {"start_time": ["uts100"], "skip_steps": ["true"], "show_duplicates": ["true"]}


@pytest.mark.parametrize("accounting", [True, False])
def test_whether_there_is_accounting(accounting: bool, server: Server) -> None:
    server.offer("v0.0.42", accounting=accounting)
    server.answers["/slurm/v0.0.42/ping"] = (200, {"meta": META})
    found = rest(server).settings()
    assert (found.cluster, found.version, found.slurmdbd) == ("mini", "24.11.5", accounting)


def test_a_connection_that_was_closed_while_idle_is_opened_again(server: Server) -> None:
    server.answers["/slurm/v0.0.42/nodes"] = (200, {"nodes": []})
    server.hangs_up = True
    client = rest(server)
    assert (client.nodes(), client.nodes()) == ([], [])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param((200, {"nodes": [], "errors": [{"error": "Unable to contact slurm controller"}]}), "Slurm says: Unable to contact", id="200-with-errors"),
        pytest.param((401, b"Authentication failure"), "answered /slurm/v0.0.42/nodes with 401: Authentication failure", id="401"),
        pytest.param((500, {"errors": [{"description": "busy"}]}), "Slurm says: busy", id="500"),
        pytest.param((200, b"<html>"), "with 200: <html>", id="no-json"),
        pytest.param((200, {}), "no list 'nodes'", id="no-nodes"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(answer: tuple[int, Any], message: str, server: Server) -> None:
    server.answers["/slurm/v0.0.42/nodes"] = answer
    with pytest.raises(SlurmError, match=message):
        rest(server).nodes()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match=f"slurmrestd at unix:{tmp_path}/sock does not answer"):
        Rest(f"unix:{tmp_path}/sock").jobs()


def test_a_closed_client(server: Server) -> None:
    client = rest(server)
    client.close()
    with pytest.raises(SlurmError, match="the client is closed"):
        client.jobs()
