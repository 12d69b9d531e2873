"""What processes do with GPUs, CPUs, disks, networks and memory, summed up inside the kernel by eBPF.

One set of probes on three backends: prebuilt objects through libbpf, sources through BCC, and what /proc counts.
"""

from fallow.component import Factory
from fallow_receivers.ebpf.config import EbpfReceiverConfig
from fallow_receivers.ebpf.receiver import EbpfReceiver

FACTORY = Factory(type="ebpf", config=EbpfReceiverConfig, build=EbpfReceiver)

__all__ = ["FACTORY", "EbpfReceiver", "EbpfReceiverConfig"]
