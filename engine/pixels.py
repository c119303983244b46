"""DICOM, PNG or JPEG -> exactly the image that training used.

Training films are raw linear pixel values, MONOCHROME1 inverted, clipped at the 0.5 and 99.5
percentiles, mapped linearly to 8 bit, and squashed to 256 x 256 with Lanczos. `Transform` says so
and travels in the bundle; `render_grey` is the one function that both sides call: training on its
JPEGs, the node on what arrives. It does not change when grey values are shifted or scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError
from pydicom.dataset import Dataset

from engine import luts
from engine.decode import MAX_PIXELS, decode, read_dicom
from engine.errors import BundleIncompatible, PixelError
from engine.results import Image

Grey = NDArray[np.uint8]

_RASTER_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_DISPLAY_PERCENTILE = 0.05
_LANCZOS = PilImage.Resampling.LANCZOS
_ASPECT_KEYWORDS = ("PixelSpacing", "ImagerPixelSpacing")
_MAX_CHROMA = 8
"""Largest difference between the channels of an RGB file that still counts as grey."""


@dataclass(frozen=True)
class Transform:
    """How a film becomes the model's input; part of the bundle."""

    size: int = 256
    resize: Literal["squash", "pad", "centre_crop"] = "squash"
    clip_percentile: float = 0.5
    equalise: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no film could be rendered with."""
        if self.size < 1 or self.resize not in _GEOMETRY or not 0 <= self.clip_percentile < 50:
            raise BundleIncompatible("the image transform of the bundle is not one that is known")

    def as_json(self) -> dict[str, Any]:
        """Return the transform as bundle.json holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Transform:
        """Return the transform that a bundle.json names."""
        try:
            return cls(**record)
        except TypeError as error:
            raise BundleIncompatible("the bundle names an unknown image transform") from error


def render_file(path: Path, transform: Transform) -> Image:
    """Render a .dcm (with or without preamble and meta), .png or .jpg file.

    Raises
    ------
    PixelError
        The file is missing, of another kind, or cannot be rendered.
    """
    if is_raster(path):
        return render_grey(_read_raster(path), transform)
    return render(read_dicom(path), transform)


def is_raster(path: Path) -> bool:
    """Return whether a file is a PNG or JPEG image, going by its first bytes.

    Raises
    ------
    PixelError
        The file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(16).startswith(_RASTER_SIGNATURES)
    except OSError as error:
        reason = error.strerror or "not readable"
        raise PixelError(f"cannot open {path}: {reason}", hint="check the path") from error


def render(ds: Dataset, transform: Transform) -> Image:
    """Render a DICOM dataset: float32 [1, size, size] in [-1, 1], air dark, bone bright.

    Raises
    ------
    PixelError
        One sentence, without patient data, that says why the film cannot be rendered.

    References
    ----------
    PS3.4 N.2 (order of the grayscale transformations).
    """
    return _fit(_grey_film(ds, transform.clip_percentile), transform, _pixel_aspect(ds))


def display(ds: Dataset, max_side: int) -> Grey:
    """Render a DICOM dataset for people: 8 bit, square pixels, no side longer than `max_side`.

    The same grey scale as `render`, less of it clipped, so that a window can still bring it out.

    Raises
    ------
    PixelError
        One sentence, without patient data, that says why the film cannot be rendered.
    """
    film = _square_pixels(
        PilImage.fromarray(_grey_film(ds, _DISPLAY_PERCENTILE)), _pixel_aspect(ds)
    )
    film.thumbnail((max_side, max_side), _LANCZOS)
    return np.asarray(film)


def _grey_film(ds: Dataset, percentile: float) -> Grey:
    """Return a film in its own size, 8 bit, air dark (PS3.4 N.2)."""
    stored = decode(ds)
    levels = luts.stored_levels(stored.bits_stored, signed=stored.signed)
    values = luts.voi_values(ds, luts.modality_values(ds, levels))
    counts = np.bincount(stored.patterns.ravel(), minlength=levels.size)
    table = luts.grey_table(
        -values if luts.is_inverted(ds) else values,
        counts,
        percentile,
        luts.padding_mask(ds, levels),
    )
    return table[stored.patterns]


def render_grey(pixels: NDArray[np.integer[Any]], transform: Transform) -> Image:
    """Render unsigned 8- or 16-bit grey values, rows x columns, bright bone."""
    counts = np.bincount(pixels.ravel())
    levels = np.arange(counts.size, dtype=np.float64)
    return _fit(luts.grey_table(levels, counts, transform.clip_percentile)[pixels], transform)


def to_uint8(image: Image) -> Grey:
    """Return an image in [-1, 1] as 8-bit grey values, rows x columns."""
    grey: Grey = np.rint((np.squeeze(image, 0) + 1.0) * 127.5).clip(0, 255).astype(np.uint8)
    return grey


def _fit(grey: Grey, transform: Transform, aspect: float = 1.0) -> Image:
    """Bring an 8-bit film to the model's size and range."""
    film = PilImage.fromarray(grey)
    if transform.equalise:
        film = ImageOps.equalize(film)
    fitted = _GEOMETRY[transform.resize](film, transform.size, aspect)
    unit = np.asarray(fitted, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)
    return unit[np.newaxis]


def _squash(film: PilImage.Image, size: int, _aspect: float) -> PilImage.Image:
    """Stretch both sides to `size`; the shape of a pixel does not matter then."""
    return film.resize((size, size), _LANCZOS)


def _pad(film: PilImage.Image, size: int, aspect: float) -> PilImage.Image:
    """Scale the longer side to `size` and put the film on black."""
    return ImageOps.pad(_square_pixels(film, aspect), (size, size), _LANCZOS, color=0)


def _centre_crop(film: PilImage.Image, size: int, aspect: float) -> PilImage.Image:
    """Scale the shorter side to `size` and cut the middle out of the longer one."""
    return ImageOps.fit(_square_pixels(film, aspect), (size, size), _LANCZOS)


def _square_pixels(film: PilImage.Image, aspect: float) -> PilImage.Image:
    """Shrink the side with the smaller pixels, so that pixels are square."""
    width, height = film.size
    if aspect > 1:
        width = max(1, round(width / aspect))
    else:
        height = max(1, round(height * aspect))
    return film if (width, height) == film.size else film.resize((width, height), _LANCZOS)


_GEOMETRY: dict[str, Callable[[PilImage.Image, int, float], PilImage.Image]] = {
    "squash": _squash,
    "pad": _pad,
    "centre_crop": _centre_crop,
}


def _pixel_aspect(ds: Dataset) -> float:
    """Return pixel height over pixel width (PS3.3 C.7.6.3.1.7, 10.7.1.3); 1 when unknown."""
    ratio = ds.get("PixelAspectRatio")
    pairs = [ratio, *(ds.get(keyword) for keyword in _ASPECT_KEYWORDS)]
    for pair in pairs:
        try:
            height, width = (float(side) for side in pair or ())
        except (TypeError, ValueError):
            continue
        if height > 0 and width > 0:
            return min(max(height / width, 0.1), 10.0)
    return 1.0


def _read_raster(path: Path) -> NDArray[np.integer[Any]]:
    """Return the grey values of a PNG or JPEG file."""
    try:
        with PilImage.open(path, formats=("PNG", "JPEG")) as raster:
            if raster.width * raster.height > MAX_PIXELS:
                raise PixelError(f"the image has more than {MAX_PIXELS:,} pixels")
            return _grey_values(raster)
    except (OSError, SyntaxError, ValueError, PilImage.DecompressionBombError) as error:
        known = isinstance(error, UnidentifiedImageError)
        reason = "is not a PNG or JPEG image" if known else "is damaged or too large"
        raise PixelError(f"the file {reason}", hint="save the image again") from error


def _grey_values(raster: PilImage.Image) -> NDArray[np.integer[Any]]:
    """Return one grey sample a pixel, also from an RGB file that holds only grey."""
    if raster.mode in ("L", "I;16", "I;16B", "I"):
        return np.asarray(raster).astype(np.uint16)
    if raster.mode == "LA":
        return np.asarray(raster.getchannel("L")).astype(np.uint16)
    if raster.mode in ("RGB", "RGBA"):
        channels = np.asarray(raster.convert("RGB")).astype(np.int16)
        if np.ptp(channels, axis=2).max() <= _MAX_CHROMA:
            return channels[..., 1].astype(np.uint16)
    raise PixelError(f"the image is in colour ({raster.mode}), not grey")
