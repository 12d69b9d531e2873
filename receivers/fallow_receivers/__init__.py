"""What comes in: component type → module, imported on demand."""

COMPONENTS = {
    "clock": "fallow_receivers.clock",
    "ebpf": "fallow_receivers.ebpf",
    "kubernetes": "fallow_receivers.kubernetes",
    "otlp": "fallow_receivers.otlp",
    "nvml": "fallow_receivers.nvml",
    "simulated": "fallow_receivers.simulated",
    "slurm": "fallow_receivers.slurm",
}
