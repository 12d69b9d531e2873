"""The service's own metrics, named once, in the manner of the Collector's ``otelcol_*`` under Fallow's prefix."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


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
        self.snapshot_pause = meter.create_histogram(
            "fallow_snapshot_pause",
            unit="s",
            description="How long processing waited while its state was taken down, by pipeline.",
            explicit_bucket_boundaries_advisory=[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
        )
        self.snapshot_duration = meter.create_histogram(
            "fallow_snapshot_duration",
            unit="s",
            description="From the wish for a snapshot until it was safe on disk.",
            explicit_bucket_boundaries_advisory=[0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60],
        )
        self.snapshot_size = meter.create_gauge(
            "fallow_snapshot_size", unit="By", description="Size of the newest snapshot."
        )
        self.snapshot_failures = meter.create_counter(
            "fallow_snapshot_failures", unit="{snapshot}", description="Snapshots that could not be written."
        )
        self.snapshot_taken = 0
        """Unix ns at which the newest snapshot was taken; 0: none was."""
        meter.create_observable_gauge(
            "fallow_snapshot_age",
            callbacks=[self._snapshot_age],
            unit="s",
            description="Age of the newest snapshot: what kill -9 would lose.",
        )

    def _snapshot_age(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation((time.time_ns() - self.snapshot_taken) / 1e9)] if self.snapshot_taken else []
