"""What goes out: component type → module, imported on demand."""

COMPONENTS = {
    "otlp": "fallow_exporters.otlp",
    "otlp_logs": "fallow_exporters.otlp_logs",
    "recommendations": "fallow_exporters.recommendations",
    "report": "fallow_exporters.report",
}
