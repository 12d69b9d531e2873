"""The receiver: its two servers in one loop, over one intake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fallow.component import Consume, Context
from fallow_receivers.otlp._grpc import GrpcServer
from fallow_receivers.otlp._http import HttpServer
from fallow_receivers.otlp._intake import Intake
from fallow_receivers.otlp._listen import reason
from fallow_receivers.otlp.config import AuthSettings, OtlpReceiverConfig


class OtlpReceiver:
    """Receives OTLP; ``grpc_port`` and ``http_port`` are the ports it has after ``start`` (0 where it is off)."""

    def __init__(self, config: OtlpReceiverConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None

    @property
    def grpc_port(self) -> int:
        return self._grpc.port if self._grpc else 0

    @property
    def http_port(self) -> int:
        return self._http.port if self._http else 0

    async def start(self, consume: Consume) -> None:
        """Begin to receive.

        Raises:
            OSError: an address is taken, or a certificate or token file cannot be used; nothing listens then.
        """
        directory, protocols = self._context.directory, self._config.protocols
        intake = Intake(
            consume,
            self._context.meter,
            receiver=self._context.id,
            token=_token(self._config.auth, directory),
            limit=self._config.max_in_flight_mib << 20,
        )
        try:
            if protocols.grpc is not None:
                self._grpc = GrpcServer(protocols.grpc, intake, directory)
                await self._grpc.start()
            if protocols.http is not None:
                self._http = HttpServer(protocols.http, intake, directory)
                await self._http.start(self._grace_s)
        except OSError:
            await self.shutdown()
            raise

    async def shutdown(self) -> None:
        """Accept nothing new and wait, no longer than the grace, for what is in flight."""
        grpc, self._grpc = self._grpc, None
        http, self._http = self._http, None
        await asyncio.gather(*([grpc.shutdown(self._grace_s)] if grpc else []), *([http.shutdown()] if http else []))

    @property
    def _grace_s(self) -> float:
        return self._config.shutdown_grace / 1e9


def _token(auth: AuthSettings | None, directory: Path) -> str | None:
    """The token that senders must show; None for none. Raises OSError where its file cannot be read or is empty."""
    if auth is None:
        return None
    if auth.bearer_token is not None:
        return auth.bearer_token.get_secret_value().strip()
    file = directory / str(auth.bearer_token_file)
    try:
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OSError(f"cannot read the bearer token in {file}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise OSError(f"cannot read the bearer token in {file}: it is not UTF-8 text") from error
    if not token:
        raise OSError(f"cannot read the bearer token in {file}: it is empty")
    return token
