"""Quantised blocks as the numbers that they stand for (ONNX opset 21, DequantizeLinear)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dequantised(
    values: NDArray[Any], scales: NDArray[Any], axis: int, block: int
) -> NDArray[np.float32]:
    """Return blocks along an axis, each with its scale, as numbers; the last may be a part.

    Parameters
    ----------
    values
        int8 [K, N], or the bytes of four-bit values that stand for [K, N].
    scales
        float [K / block, N], or [K, N / block] for the other axis.
    """
    if values.dtype == np.uint8:
        values = nibbles(values).reshape(-1, scales.shape[1])
    spread = np.repeat(scales.astype(np.float32), block, axis)
    numbers: NDArray[np.float32] = values * spread[: values.shape[0], : values.shape[1]]
    return numbers


def nibbles(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the signed four-bit values of bytes, the lower half of each byte first."""
    halves = np.stack((packed & 0xF, packed >> 4), -1).reshape(-1).astype(np.int8)
    signed: NDArray[np.int8] = (halves ^ 8) - np.int8(8)
    return signed
