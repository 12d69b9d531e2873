"""NVIDIA GPUs and MIG instances through NVML: hw.gpu.* by the conventions, fallow.gpu.* for what they lack, events."""

from fallow.component import Factory
from fallow_receivers.nvml.config import NvmlReceiverConfig
from fallow_receivers.nvml.receiver import NvmlReceiver

FACTORY = Factory(type="nvml", config=NvmlReceiverConfig, build=NvmlReceiver)

__all__ = ["FACTORY", "NvmlReceiver", "NvmlReceiverConfig"]
