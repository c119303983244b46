"""Pixels are decoded in a process of its own: what kills it costs one film and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from pydicom import dcmread

from engine.banner import is_burned
from engine.errors import PixelError
from engine.pixels import Transform, render
from node.config import WorkSettings
from node.confined import ConfinedRenderer
from tests.films import phantom

TRANSFORM = Transform()


@pytest.fixture
def renderer() -> Iterator[ConfinedRenderer]:
    made = ConfinedRenderer(WorkSettings(decode_memory_mb=512, decode_cpu_s=1))
    yield made
    made.stop()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    phantom("confined").save_as(path, enforce_file_format=True)
    return path


def _pid(renderer: ConfinedRenderer) -> int:
    return renderer._children[0].start().pid


def test_a_film_comes_back_as_it_would_in_this_process(
    renderer: ConfinedRenderer, film: Path
) -> None:
    image = renderer.render(film, TRANSFORM)
    assert image.dtype == np.float32
    assert np.array_equal(image, render(dcmread(film), TRANSFORM))


def test_a_film_for_people_is_a_png_of_square_pixels(
    renderer: ConfinedRenderer, tmp_path: Path
) -> None:
    path = tmp_path / "film.dcm"
    phantom("oblong", size=300, PixelAspectRatio=[2, 1]).save_as(path, enforce_file_format=True)
    png = PilImage.open(BytesIO(renderer.display(path, 200)))
    assert (png.format, png.mode, png.size) == ("PNG", "L", (100, 200))
    assert np.ptp(np.asarray(png)) > 200


@pytest.mark.parametrize(
    "mark",
    [{"SyntheticData": "YES"}, {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]}],
    ids=lambda mark: next(iter(mark)),
)
def test_people_see_no_synthetic_film_without_its_banner(
    renderer: ConfinedRenderer, tmp_path: Path, mark: dict[str, Any]
) -> None:
    path = tmp_path / "film.dcm"
    phantom("drawn", size=300, **mark).save_as(path, enforce_file_format=True)
    assert is_burned(np.asarray(PilImage.open(BytesIO(renderer.display(path, 1024)))))


def test_a_film_that_cannot_be_decoded_says_why(renderer: ConfinedRenderer, tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    ds = phantom("cut")
    ds.PixelData = ds.PixelData[:100]
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(PixelError) as ours:
        renderer.render(path, TRANSFORM)
    with pytest.raises(PixelError) as plain:
        render(dcmread(path), TRANSFORM)
    assert (str(ours.value), ours.value.hint) == (str(plain.value), plain.value.hint)


def test_a_film_that_swells_is_refused_and_the_next_is_served(
    renderer: ConfinedRenderer, film: Path, tmp_path: Path
) -> None:
    path = tmp_path / "large.dcm"
    ds = phantom("large")
    ds.Rows = ds.Columns = 7000
    ds.PixelData = bytes(2 * 7000 * 7000)
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(PixelError, match=r"more memory|within the limits"):
        renderer.render(path, TRANSFORM)
    assert renderer.render(film, TRANSFORM).shape == (1, 256, 256)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, "crashed"), (signal.SIGXCPU, "too long")]
)
def test_a_decoder_that_dies_costs_one_film(
    renderer: ConfinedRenderer, film: Path, number: signal.Signals, reason: str
) -> None:
    renderer.render(film, TRANSFORM)
    os.kill(_pid(renderer), number)
    with pytest.raises(PixelError, match=reason):
        renderer.render(film, TRANSFORM)
    assert renderer.render(film, TRANSFORM).shape == (1, 256, 256)


def test_the_process_cannot_write_files_nor_go_on_for_ever(renderer: ConfinedRenderer) -> None:
    limits = Path(f"/proc/{_pid(renderer)}/limits")
    renderer._children[0].start()
    wanted = {"Max file size": "0", "Max core file size": "0", "Max address space": str(512 << 20)}

    def soft(name: str) -> str:
        line = next(line for line in limits.read_text().splitlines() if line.startswith(name))
        return line.removeprefix(name).split()[0]

    with pytest.raises(PixelError):
        renderer.render(Path("/nowhere.dcm"), TRANSFORM)
    assert {name: soft(name) for name in wanted} == wanted
    assert int(soft("Max cpu time")) < 60


def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from node.config import WorkSettings\n"
        "from node.confined import ConfinedRenderer\n"
        "renderer = ConfinedRenderer(WorkSettings())\n"
        "print(renderer._children[0].start().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    pid = int(parent.stdout)
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        signal.sigtimedwait([], 0.1)
    pytest.fail("the process outlived its parent")
