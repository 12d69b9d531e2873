"""OTLP requests → batches of columns: samples of numbers, histograms and summaries, and log records.

What cannot be used is counted in ``Batch.dropped``:

- ``malformed``: the request is not OTLP; once a request.
- ``identity_limit``: points of identities beyond ``max_identities`` or of metrics beyond ``max_metrics``.
- ``series_limit``: points of series that the service's series table refused.
- ``no_time``: points and log records without a usable time.
- ``no_value``: number points with neither a value nor NO_RECORDED_VALUE.
- ``bucket_limit``: points whose buckets or quantiles are more than ``max_buckets``; their count and sum are kept.
- ``delta_buckets``: delta exponential histograms, whose moving bounds cannot be accumulated; count and sum are.
- ``delta_order``: delta points that are no newer than the last of their series.
- ``delta_not_finite``: delta points that would make the total NaN or infinite for ever.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.decode.config import DecodeConfig


def _build(config: DecodeConfig, context: Context) -> object:
    # The processor brings protobuf, pyarrow and (by default) numba with it: only who builds one pays for that.
    from fallow_processors.decode.processor import DecodeProcessor

    return DecodeProcessor(config, context)


FACTORY = Factory(type="decode", config=DecodeConfig, build=_build)

__all__ = ["FACTORY", "DecodeConfig"]
