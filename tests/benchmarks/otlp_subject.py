"""A server to be measured, as a process of its own: ``otlp_subject.py nothing | columns | forward HOST:PORT``.

Prints the port that it serves OTLP/gRPC on, and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from fallow.batch import Batch
from fallow.component import Consume, Context
from fallow.malloc import tune
from fallow.testing.components import context
from fallow_exporters.otlp import OtlpExporter, OtlpExporterConfig
from fallow_receivers.otlp import OtlpReceiver, OtlpReceiverConfig

Ending = Callable[[], Awaitable[None]]


async def _nothing(batch: Batch) -> bytes:
    return b""


def _columns(made: Context) -> Consume:
    from fallow_processors.decode import FACTORY, DecodeConfig

    processor = FACTORY.build(DecodeConfig(), made)

    async def consume(batch: Batch) -> bytes:
        metrics = processor.process(batch).metrics
        assert metrics is not None
        assert len(metrics) > 0
        return b""

    return consume


async def _forward(made: Context, endpoint: str) -> tuple[Consume, Ending]:
    config = OtlpExporterConfig.model_validate({"endpoint": endpoint, "tls": {"insecure": True}})
    exporter = OtlpExporter(config, made)
    await exporter.start()

    async def consume(batch: Batch) -> bytes:
        assert batch.request is not None
        return await exporter.forward(batch.request)

    return consume, exporter.shutdown


async def main(mode: str, *arguments: str) -> None:
    """Serve until SIGTERM."""
    tune()
    made = context("otlp", Path())
    ending: Ending | None = None
    consume: Consume = _nothing
    if mode == "columns":
        consume = _columns(made)
    elif mode == "forward":
        consume, ending = await _forward(made, arguments[0])
    config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}}})
    receiver = OtlpReceiver(config, made)
    await receiver.start(consume)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(receiver.grpc_port, flush=True)
    await stop.wait()
    await receiver.shutdown()
    if ending is not None:
        await ending()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
