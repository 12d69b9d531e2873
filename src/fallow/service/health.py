"""The health endpoint: 200 while serving, 503 while starting or draining; and what has been delivered so far."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from typing import Any

import uvicorn

from fallow.units import host_port

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # the service handles signals


class Health:
    """Serves ``GET /`` with the state of the service, and ``GET /delivered`` with what it has seen, as JSON."""

    def __init__(
        self, endpoint: str, serving: Callable[[], bool], delivered: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self._endpoint = endpoint
        self._serving = serving
        self._delivered = delivered
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; raises OSError where the address cannot be had."""
        host, port = host_port(self._endpoint)
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise OSError(f"cannot listen on {self._endpoint}: {(error.strerror or str(error)).lower()}") from error
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._app, interface="asgi3", log_config=None, lifespan="off", access_log=False)
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)  # uvicorn has no event for it

    async def shutdown(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = self._task = None

    async def _app(self, scope: MutableMapping[str, Any], receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        ok = self._serving()
        state: Mapping[str, Any] = {"status": "serving" if ok else "not serving"}
        if scope["path"] == "/delivered":
            ok, state = True, await asyncio.to_thread(self._delivered)
        body = json.dumps(state).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200 if ok else 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
