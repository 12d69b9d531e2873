"""Texts as columns of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fallow.batch import Int32Array


def text_columns(texts: pa.Array[Any]) -> tuple[NDArray[np.uint8], Int32Array]:
    """The bytes of an Arrow string array and where each text begins, not copied; one that is null is empty."""
    if texts.null_count:
        texts = texts.fill_null("")
    buffers: Any = texts.buffers()
    _, offsets, data = buffers
    starts = np.frombuffer(offsets or bytes(4), dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    columns = np.frombuffer(data or b"", dtype=np.uint8), starts
    for column in columns:
        column.setflags(write=False)  # always, as the kernel is compiled for one of the two
    return columns
