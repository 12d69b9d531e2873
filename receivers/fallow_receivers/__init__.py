"""What comes in: component type → module, imported on demand."""

COMPONENTS = {
    "ebpf": "fallow_receivers.ebpf",
    "otlp": "fallow_receivers.otlp",
    "nvml": "fallow_receivers.nvml",
    "simulated": "fallow_receivers.simulated",
    "slurm": "fallow_receivers.slurm",
}
