"""What goes wrong on the command line is one clear line and the right exit code."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  recommendations: {{endpoint: "127.0.0.1:0"}}
service:
  pipelines:
    telemetry: {{receivers: [otlp], exporters: [recommendations]}}
"""


def fallow(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fallow", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_a_missing_file() -> None:
    code, _, said = fallow("run", "no/such.yaml")
    assert (code, said) == (2, "fallow: no/such.yaml: cannot be read: No such file or directory\n")


def test_a_wrong_flag() -> None:
    code, _, said = fallow("run", "--colour", "x.yaml")
    assert code == 2
    assert "No such option: --colour" in said


def test_broken_yaml(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("receivers: {otlp: [}\n")
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/x.yaml:1: not valid YAML: ")
    assert said.count("\n") == 1


def test_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0).replace("grpc", "grcp"))
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert said == f"fallow: {tmp_path}/x.yaml:2: receivers.otlp.protocols.grcp: unknown key; allowed: grpc, http\n"


def test_an_unknown_component(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0).replace("otlp: {", "oltp: {"))
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert "x.yaml:2: receivers.oltp: 'oltp' is no receiver; there are: otlp" in said
    assert (
        "x.yaml:7: service.pipelines.telemetry.receivers[0]: 'otlp' found, expected one of the receivers above: none"
        in said
    )


def test_a_port_in_use(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=taken_port))
    code, _, said = fallow("run", str(tmp_path / "x.yaml"))
    assert code == 1
    assert said.splitlines()[-1] == f"fallow: cannot listen on 127.0.0.1:{taken_port}: address already in use"


def test_a_backend_that_cannot_be_reached() -> None:
    code, _, said = fallow("recommendations", "list", "--endpoint", "127.0.0.1:1")
    assert code == 1
    assert said == "fallow: cannot reach the recommendation service at 127.0.0.1:1: is Fallow running there?\n"


def test_a_valid_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0))
    assert fallow("validate", str(tmp_path / "x.yaml")) == (0, f"{tmp_path}/x.yaml: ok\n", "")


@pytest.mark.parametrize(
    "verb",
    [
        (),
        *[(v,) for v in ("run", "validate", "components", "recommendations")],
        *[("recommendations", v) for v in ("list", "show", "watch", "approve", "dismiss", "outcome")],
    ],
    ids=" ".join,
)
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    code, said, _ = fallow(*verb, "--help")
    assert code == 0
    assert "Usage:" in said
    assert "Example: fallow" in said or "Start with: fallow" in said or verb == ("recommendations",)
