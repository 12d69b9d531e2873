"""What comes in: component type → module, imported on demand."""

COMPONENTS = {
    "otlp": "fallow_receivers.otlp",
    "simulated": "fallow_receivers.simulated",
}
