"""The receiver's reading of this machine's own GPUs, as JSON: run in a process that has no other library loaded."""

from __future__ import annotations

import json
import time

from opentelemetry.metrics import NoOpMeter

from fallow.clients.nvml import Nvml, NvmlError
from fallow.otlp_write import Writer
from fallow_receivers.nvml import NvmlReceiverConfig
from fallow_receivers.nvml.collector import Collector, Counts
from fallow_receivers.nvml.metrics import Epochs
from helpers import otlp_text
from helpers.nvml_node import breaches, unaccounted

TICKS, PAUSE_S = 4, 0.5


def read() -> dict[str, object]:
    try:
        nvml = Nvml()
        nvml.open()
        gpus = [nvml.uuid(nvml.device(i)) for i in range(nvml.count())]
        nvml.close()
    except NvmlError as error:
        return {"none": error.reason}
    if not gpus:
        return {"none": "no GPU"}
    config = NvmlReceiverConfig.model_validate({"interval": "500ms", "slow_interval": "1s"})
    counts = Counts.of(NoOpMeter("test"), "nvml")
    collector = Collector(Nvml(), config, Writer({"host.name": "n1"}, "test"), Epochs(), counts)
    requests = []
    for _ in range(TICKS):
        requests += collector.tick(time.time_ns())
        time.sleep(PAUSE_S)
    collector.close()
    topology = [found for name, found in otlp_text.events(requests) if name == "fallow.gpu.topology"]
    return {
        "gpus": gpus,
        "breaches": sorted(set(breaches(requests))),
        "unaccounted": sorted(unaccounted(requests)),
        "topology": [found["hw.id"] for found in topology],
    }


if __name__ == "__main__":
    print(json.dumps(read()))
