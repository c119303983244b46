"""Grey values as tables: every step from stored value to 8 bit is a lookup.

A stored value has at most 16 bits, so modality LUT, VOI LUT, polarity, padding and the percentile
clip are computed once for all 65,536 possible values and applied to the film in one indexing.

Plain *linear* windows are read over, not applied. The demo model was trained on raw linear pixel
values clipped at their 0.5 and 99.5 percentiles. A window (PS3.3 C.11.2.1.2) is one reader's
choice: an affine map, which the percentile clip undoes anyway, followed by a saturation, which
destroys what lies outside it for good. A VOI LUT Sequence (C.11.2.1.1) and the SIGMOID function
(C.11.2.1.3.1) do change the shape of the curve and are needed to make log-exposure values look
like a film, so they are applied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from engine.errors import PixelError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_MAX_GREY = 255


def stored_levels(bits_stored: int, *, signed: bool) -> Floats:
    """Return the stored value of each bit pattern 0 … 2**bits_stored - 1 (PS3.5 8.1.1)."""
    levels = np.arange(1 << bits_stored, dtype=np.float64)
    if signed:
        levels[1 << (bits_stored - 1) :] -= 1 << bits_stored
    return levels


def modality_values(ds: Dataset, levels: Floats) -> Floats:
    """Map stored values through the Modality LUT or the rescale (PS3.3 C.11.1)."""
    lut = _first_item(ds, "ModalityLUTSequence")
    if lut is not None:
        return _apply_lut(lut, levels)
    slope = _number(ds, "RescaleSlope", 1.0) or 1.0
    return levels * slope + _number(ds, "RescaleIntercept", 0.0)


def voi_values(ds: Dataset, values: Floats) -> Floats:
    """Map modality values through the VOI LUT Sequence or a SIGMOID window (PS3.3 C.11.2)."""
    lut = _first_item(ds, "VOILUTSequence")
    if lut is not None:
        return _apply_lut(lut, values)
    if ds.get("VOILUTFunction", "LINEAR") == "SIGMOID":
        return _sigmoid(ds, values)
    return values


def is_inverted(ds: Dataset) -> bool:
    """Return whether the lowest value is shown white (PS3.3 C.7.6.3.1.2, C.11.6.1.2).

    A DX object says it twice, as MONOCHROME1 and as Presentation LUT Shape INVERSE; both together
    still invert once.
    """
    white_is_low = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    return any(ds.get(keyword) == value for keyword, value in white_is_low.items())


def padding_mask(ds: Dataset, levels: Floats) -> NDArray[np.bool_]:
    """Return which bit patterns are padding and show no patient (PS3.3 C.7.5.1.1.2)."""
    mask = np.zeros(levels.size, dtype=np.bool_)
    first = _integer(ds, "PixelPaddingValue")
    if first is None:
        return mask
    last = _integer(ds, "PixelPaddingRangeLimit")
    ends = [levels[value & (levels.size - 1)] for value in (first, first if last is None else last)]
    np.logical_and(levels >= min(ends), levels <= max(ends), out=mask)
    return mask


def clip_bounds(values: Floats, counts: Counts, percentile: float) -> tuple[float, float]:
    """Return the `percentile` and 100 - `percentile` percentiles of a counted set of values.

    The same linear interpolation as ``numpy.percentile``, without building the samples.
    """
    seen = counts > 0
    order = np.argsort(values[seen], kind="stable")
    ordered, ends = values[seen][order], np.cumsum(counts[seen][order])
    if not ordered.size:
        raise PixelError("the image holds nothing but padding")
    ranks = np.array([percentile, 100.0 - percentile]) / 100.0 * (ends[-1] - 1)
    below = ordered[np.searchsorted(ends, np.floor(ranks), side="right")]
    above = ordered[np.searchsorted(ends, np.ceil(ranks), side="right")]
    low, high = below + (above - below) * (ranks - np.floor(ranks))
    return float(low), float(high)


def grey_table(
    values: Floats, counts: Counts, percentile: float, padding: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return the 8-bit grey of each bit pattern: percentile clip, linear, padding black."""
    shown = counts if padding is None else np.where(padding, 0, counts)
    low, high = clip_bounds(values, shown, percentile)
    if not high > low:
        raise PixelError("the image has no contrast", hint="it may be blank or over-exposed")
    grey = np.rint((values - low) * (_MAX_GREY / (high - low))).clip(0, _MAX_GREY)
    if padding is not None:
        grey[padding] = 0
    return grey.astype(np.uint8)


def _sigmoid(ds: Dataset, values: Floats) -> Floats:
    """Apply the SIGMOID VOI LUT function (PS3.3 C.11.2.1.3.1)."""
    width = _number(ds, "WindowWidth", 0.0)
    if width <= 0 or "WindowCenter" not in ds:
        return values
    steps = np.clip(-4.0 * (values - _number(ds, "WindowCenter", 0.0)) / width, -60.0, 60.0)
    sigmoid: Floats = 1.0 / (1.0 + np.exp(steps))
    return sigmoid


def _apply_lut(lut: Dataset, values: Floats) -> Floats:
    """Look values up in one item of a LUT sequence (PS3.3 C.11.1.1.1)."""
    try:
        size, first, bits = (int(part) for part in lut.LUTDescriptor)
    except (AttributeError, TypeError, ValueError) as error:
        raise PixelError("a LUT in the header has no usable descriptor") from error
    entries = _lut_entries(lut, size or 65_536, bits)
    if first > 32_767 and values.min() < 0:
        first -= 65_536
    at = np.clip(np.rint(values) - first, 0, entries.size - 1).astype(np.intp)
    looked_up: Floats = entries[at]
    return looked_up


def _lut_entries(lut: Dataset, size: int, bits: int) -> Floats:
    """Return LUT Data as numbers, whichever of US, SS and OW it is encoded as."""
    stored: Any = lut.get("LUTData")
    if isinstance(stored, bytes | bytearray):
        narrow = bits <= 8 and len(stored) in (size, size + size % 2)
        entries = np.frombuffer(stored[: len(stored) // 2 * 2], "u1" if narrow else "<u2")
    else:
        entries = np.atleast_1d(np.asarray([] if stored is None else stored, dtype=np.int64))
    if not 0 < size <= entries.size:
        raise PixelError("a LUT in the header is shorter than its descriptor says")
    return entries[:size].astype(np.float64)


def _first_item(ds: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence that may be absent or empty."""
    items = ds.get(keyword)
    return items[0] if items else None


def _number(ds: Dataset, keyword: str, default: float) -> float:
    """Return the first value of a numeric element, or the default where it is unusable."""
    value = ds.get(keyword)
    first = value[0] if isinstance(value, list) or hasattr(value, "append") else value
    try:
        number = float(first)
    except (TypeError, ValueError):
        return default
    return number if np.isfinite(number) else default


def _integer(ds: Dataset, keyword: str) -> int | None:
    """Return an integer element, or None where it is absent or unusable."""
    number = _number(ds, keyword, np.nan)
    return None if np.isnan(number) else int(number)
