"""Pictures of every object, as other people's software shows it, for docs/images.

``python -m tests.pictures`` draws a film, drafts it and takes the pictures; nothing of a patient is
in them. Needs DCMTK and Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.assessment import Bands
from engine.pipeline import Engine
from engine.pixels import render
from node.app import Node
from node.cli import main as cxr_node
from node.config import WebSettings
from node.config_outputs import HeatmapSettings
from node.demo import demo_settings
from node.drafted import Film
from node.heatmap import build_heatmap
from node.redact import key
from node.stand_in import StandInPacs, free_port
from tests.browser import browser
from tests.node.conftest import wait_for
from tests.node.outputs_made import identity

IMAGES = Path(__file__).parents[1] / "docs" / "images"
_COLOURS = 256
_TOKEN = "a-token-for-the-picture-only"


def main() -> int:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder)
        if cxr_node(["demo", "--output", str(demo)]) != 0:
            return 1
        for name in ("draft-report", "findings"):
            page = demo / f"{name}.dsr.html"
            subprocess.run(["dsr2html", "+U8", demo / f"{name}.dcm", page], check=True)
            photograph(page, IMAGES / f"{name}.png")
        keep(first_page(demo / "draft.pdf"), IMAGES / "draft-pdf.png")
        shutil.copy(demo / "draft-beside-film.png", IMAGES / "draft-beside-film.png")
        keep(Image.open(demo / "synthetic-image.png"), IMAGES / "synthetic-image.png")
        keep(heatmap(dcmread(demo / "film.dcm")), IMAGES / "heatmap.png")
        review_page(demo, dcmread(demo / "film.dcm"), IMAGES / "review.png")
    return 0


def review_page(folder: Path, film: Dataset, picture: Path) -> None:
    """Take a picture of the review page with a question answered on it."""
    tokens = folder / "tokens"
    tokens.write_text(f"reader {_TOKEN}\n")
    tokens.chmod(0o600)
    with StandInPacs() as pacs:
        settings = demo_settings(folder, pacs.port)
        web = WebSettings(enabled=True, port=free_port(), token_file=tokens)
        served = settings.node.model_copy(update={"web": web})
        node = Node(settings.model_copy(update={"node": served}), Engine.load())
        node.start()
        pacs.send(film, served.ae_title, served.port)
        wait_for(lambda: node.journal.study(film.StudyInstanceUID)[0]["state"] == "DONE", 60)
        with browser() as opened:
            tab = opened.new_page(viewport={"width": 1200, "height": 1000})
            tab.goto(f"http://127.0.0.1:{web.port}/studies/{key(film.StudyInstanceUID)}")
            tab.get_by_label("Token").fill(_TOKEN)
            tab.get_by_role("button", name="Log in").click()
            tab.get_by_label("Ask about the film").fill("Is the heart enlarged?")
            tab.get_by_role("button", name="Ask").click()
            tab.locator("dl.questions dd").first.wait_for()
            tab.screenshot(path=picture, full_page=True)
        node.stop()
    keep(Image.open(picture), picture)


def photograph(page: Path, picture: Path) -> None:
    """Take a picture of a page in Chromium."""
    with browser() as opened:
        tab = opened.new_page(viewport={"width": 900, "height": 1100})
        tab.goto(page.as_uri())
        tab.screenshot(path=picture)
    keep(Image.open(picture), picture)


def first_page(path: Path) -> Image.Image:
    """Return the first page of a document as a picture."""
    document = pypdfium2.PdfDocument(path)
    picture = document[0].render(scale=1.5).to_pil()
    document.close()
    return picture


def heatmap(film: Dataset) -> Image.Image:
    """Return the heat map of a film; every finding that has evidence counts as present."""
    engine = Engine.load()
    image = render(film, engine.transform)
    draft = engine.report(image)
    ds = build_heatmap(
        Film(film, image, engine.inspect(image)),
        engine.assess(image, draft.text, Bands(present_from=0.05, absent_below=0.01)),
        engine.evidence(image),
        draft.provenance,
        identity(study_instance_uid=str(film.StudyInstanceUID)),
        HeatmapSettings(),
    )
    if ds is None:
        raise SystemExit("the classifier sees nothing on this film: no heat map")
    return Image.fromarray(np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns, 3))


def keep(picture: Image.Image, path: Path) -> None:
    """Write a picture as small as it goes."""
    reduced = picture.convert("RGB").quantize(_COLOURS)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
