"""The service's own metrics, named once, in the manner of the Collector's ``otelcol_*`` under Fallow's prefix."""

from __future__ import annotations

from opentelemetry.metrics import Meter


class ServiceMetrics:
    """Instruments of the service itself; components make their own with the meter they are given."""

    def __init__(self, meter: Meter) -> None:
        self.requests = meter.create_counter(
            "fallow_service_requests",
            unit="{request}",
            description="Requests taken from receivers, by kind and result.",
        )
        self.skipped = meter.create_counter(
            "fallow_service_skipped_requests",
            unit="{request}",
            description="Requests that were passed on but not analysed because the analysis queue was full.",
        )
        self.samples = meter.create_counter(
            "fallow_processor_metric_points", unit="{datapoint}", description="Samples that reached the rules."
        )
        self.log_records = meter.create_counter(
            "fallow_processor_log_records", unit="{record}", description="Log records that reached the rules."
        )
        self.dropped = meter.create_counter(
            "fallow_processor_dropped", unit="{item}", description="What processing could not use, by reason."
        )
        self.errors = meter.create_counter(
            "fallow_component_errors",
            unit="{error}",
            description="Unexpected errors that a component raised, by component.",
        )
        self.detections = meter.create_counter(
            "fallow_detections", unit="{detection}", description="Detections, by rule and state."
        )
        self.recommendations = meter.create_counter(
            "fallow_recommendations",
            unit="{recommendation}",
            description="Recommendations put into the ledger, by rule.",
        )
        self.latency = meter.create_histogram(
            "fallow_decision_latency",
            unit="s",
            description="From the arrival of a request to the commit of the recommendations that followed from it.",
            explicit_bucket_boundaries_advisory=[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
        )
