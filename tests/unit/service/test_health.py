"""The health endpoint says whether the service serves."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request

import pytest

from fallow.cli.coverage import of_service
from fallow.errors import FallowError
from fallow.service.health import Health


def ask(port: int) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


@pytest.mark.parametrize(
    ("serving", "expected"),
    [(True, (200, b'{"status": "serving"}')), (False, (503, b'{"status": "not serving"}'))],
)
def test_it_answers_with_the_state(serving: bool, expected: tuple[int, bytes]) -> None:
    async def scenario() -> tuple[int, bytes]:
        health = Health("127.0.0.1:0", lambda: serving)
        await health.start()
        try:
            return await asyncio.to_thread(ask, health.port)
        finally:
            await health.shutdown()

    assert asyncio.run(scenario()) == expected


def test_it_tells_what_was_delivered_and_the_command_line_asks() -> None:
    seen = {"signals": {}, "events": {"fallow.job.start": 1}, "records": 1}

    async def scenario() -> object:
        health = Health("127.0.0.1:0", lambda: False, lambda: seen)
        await health.start()
        try:
            return await asyncio.to_thread(of_service, f"127.0.0.1:{health.port}")
        finally:
            await health.shutdown()

    assert asyncio.run(scenario()) == seen


def test_who_does_not_tell_what_was_delivered_is_named() -> None:
    with pytest.raises(FallowError, match=r"^http://127.0.0.1:1/delivered: .*refused.*health endpoint$"):
        of_service("127.0.0.1:1")


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        endpoint = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(OSError, match=f"^cannot listen on {endpoint}: address already in use$"):
            asyncio.run(Health(endpoint, lambda: True).start())
