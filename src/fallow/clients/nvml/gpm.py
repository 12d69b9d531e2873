"""The GPU performance monitor (GPM)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pynvml

from fallow.clients.nvml.errors import Failed, NvmlError, Unsupported, call, error_of
from fallow.clients.nvml.values import Handle, member_of


class GpmWindow:
    """Averages over the time between two calls, of what the GPU performance monitor counts (Hopper and later).

    Args:
        device: the GPU.
        instance: GPU instance id of a MIG instance, None for the whole GPU.
        ids: NVML_GPM_METRIC_*.
    """

    def __init__(self, device: Handle, instance: int | None, ids: Sequence[int]) -> None:
        self._device, self._instance, self._ids = device, instance, tuple(ids)
        if not call("nvmlGpmQueryDeviceSupport", device).isSupportedDevice:
            raise Unsupported(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._request: Any = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(self._ids)
        for i, id in enumerate(self._ids):
            self._request.metrics[i].metricId = id
        self._before: Any = None
        self._spare: Any = None

    def read(self) -> dict[int, float | NvmlError]:
        """By id: the average since the last call, or why there is none; empty on the first call."""
        sample = self._spare or call("nvmlGpmSampleAlloc")
        self._spare = sample
        if self._instance is None:
            call("nvmlGpmSampleGet", self._device, sample)
        else:
            call("nvmlGpmMigSampleGet", self._device, self._instance, sample)
        before, self._before, self._spare = self._before, sample, self._before
        if before is None:
            return {}
        self._request.sample1, self._request.sample2 = before, sample
        call("nvmlGpmMetricsGet", self._request)
        metrics = self._request.metrics
        return {id: _gpm_value(metrics[i]) for i, id in enumerate(self._ids)}

    def close(self) -> None:
        """Give the samples back; safe twice."""
        for sample in (self._before, self._spare):
            if sample is not None:
                call("nvmlGpmSampleFree", sample)
        self._before = self._spare = None


def _gpm_value(metric: Any) -> float | NvmlError:
    code = member_of(metric, "nvmlReturn")
    if code:
        return error_of(code)
    value = float(member_of(metric, "value"))
    return value if math.isfinite(value) else Failed(pynvml.NVML_ERROR_NO_DATA)
