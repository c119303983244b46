"""Films that are none: what the guard must learn to refuse, made without any other data set.

Half are procedural (noise, gradients, stripes, bones-like rods, discs), half are real films spoilt
beyond use (a zoomed-in patch, shuffled tiles, two halves swapped). Deterministic for a generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFilter

Film = NDArray[np.uint8]
Maker = Callable[[np.random.Generator, Film], Film]

SIZE = 256


def stretch(values: NDArray[np.floating]) -> Film:
    """Scale any array to the full 8-bit range."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)


def noise(rng: np.random.Generator, film: Film) -> Film:
    """Noise of one random scale."""
    side = int(rng.integers(4, SIZE))
    coarse = PILImage.fromarray(stretch(rng.normal(size=(side, side))))
    return np.asarray(coarse.resize((SIZE, SIZE), PILImage.Resampling.BICUBIC))


def gradient(rng: np.random.Generator, film: Film) -> Film:
    """Return a linear or radial gradient with some noise."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * x + np.sin(angle) * y
    shape = ramp if rng.random() < 0.5 else np.hypot(x - rng.normal() / 3, y - rng.normal() / 3)
    return stretch(shape + rng.normal(size=x.shape) * rng.uniform(0, 0.2))


def rods(rng: np.random.Generator, film: Film) -> Film:
    """Bright rods with soft halos on a dark ground: limbs, hands, hips."""
    picture = PILImage.new("L", (SIZE, SIZE), int(rng.integers(0, 40)))
    halo = ImageDraw.Draw(picture)
    lines = [rng.integers(0, SIZE, 4).tolist() for _ in range(int(rng.integers(1, 7)))]
    for scale, shade in ((3.0, 90), (1.0, 200)):
        for line in lines:
            halo.line(
                line,
                fill=shade + int(rng.integers(-30, 30)),
                width=int(rng.integers(8, 40) * scale),
            )
    soft = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 8))))
    return stretch(np.asarray(soft, dtype=np.float32) + rng.normal(size=(SIZE, SIZE)) * 4)


def discs(rng: np.random.Generator, film: Film) -> Film:
    """Ellipses inside an ellipse: slices through a head or a belly, phantoms."""
    picture = PILImage.new("L", (SIZE, SIZE), 0)
    pen = ImageDraw.Draw(picture)
    for index in range(int(rng.integers(2, 9))):
        reach = rng.uniform(60, 120) if index == 0 else rng.uniform(8, 50)
        x, y = (128, 128) if index == 0 else rng.integers(60, 196, 2)
        box = [x - reach, y - reach * 0.8, x + reach, y + reach * 0.8]
        pen.ellipse(box, fill=int(rng.integers(30, 255)))
    soft = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 4))))
    return stretch(np.asarray(soft, dtype=np.float32) + rng.normal(size=(SIZE, SIZE)) * 6)


def patch(rng: np.random.Generator, film: Film) -> Film:
    """Blow up a small part of a film: some other piece of a body."""
    side = int(rng.integers(40, 96))
    top, left = rng.integers(0, SIZE - side, 2)
    part = PILImage.fromarray(film[top : top + side, left : left + side])
    return np.asarray(part.resize((SIZE, SIZE), PILImage.Resampling.BICUBIC))


def tiles(rng: np.random.Generator, film: Film) -> Film:
    """Shuffle the tiles of a film."""
    count = int(rng.choice([2, 4, 8]))
    side = SIZE // count
    grid = film.reshape(count, side, count, side).swapaxes(1, 2).reshape(-1, side, side)
    mixed = grid[rng.permutation(len(grid))].reshape(count, count, side, side)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(SIZE, SIZE))


MAKERS: tuple[Maker, ...] = (noise, gradient, rods, rods, discs, patch, patch, tiles)


def distractor(rng: np.random.Generator, film: Film) -> Film:
    """Return one image [256, 256] that is no chest film."""
    maker = MAKERS[int(rng.integers(len(MAKERS)))]
    return maker(rng, film)
