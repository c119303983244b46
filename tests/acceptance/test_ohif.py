"""OHIF, a viewer of many hospitals, shows the draft: its words, and that nobody has verified it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect
from pydicom.dataset import Dataset

from node.config_outputs import ReportSettings
from node.sr_document import BANNER
from node.sr_narrative import as_basic_text
from tests.acceptance.ohif import application, unpacked
from tests.acceptance.peers import Orthanc
from tests.browser import CHROMIUM, browser
from tests.films import phantom
from tests.node.outputs_made import SENTENCES, draft_sr, findings_sr, identity, synthetic_sc
from tests.receivers import HttpServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.skipif(
        not (CHROMIUM and shutil.which("npm")) and "CI" not in os.environ,
        reason="chromium or npm is not installed",
    ),
]
SHOWN_MS = 90_000
"""Drawing without a graphics card takes long on a busy machine."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        page = opened.new_page(viewport={"width": 1400, "height": 900})
        page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
        yield page


@pytest.fixture
def viewer(
    pytestconfig: pytest.Config, start_orthanc: Callable[..., Orthanc]
) -> Iterator[tuple[Orthanc, str]]:
    """Yield an Orthanc and the address of an OHIF that reads it."""
    assert pytestconfig.cache is not None
    dist = unpacked(Path(pytestconfig.cache.mkdir("ohif")))
    orthanc = start_orthanc(1, routes=False)
    server = HttpServer(application(dist, orthanc.url))
    server.start()
    yield orthanc, f"http://127.0.0.1:{server.port}"
    server.stop()


def put(orthanc: Orthanc, folder: Path, *objects: Dataset) -> None:
    for number, ds in enumerate(objects):
        path = folder / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        url = f"{orthanc.url}/instances"
        requests.post(url, data=path.read_bytes(), timeout=30).raise_for_status()


def open_series(page: Page, url: str, ds: Dataset) -> None:
    place = (
        f"StudyInstanceUIDs={ds.StudyInstanceUID}&initialSeriesInstanceUID={ds.SeriesInstanceUID}"
    )
    page.goto(f"{url}/viewer?{place}")


@pytest.mark.parametrize("form", ["enhanced", "basic_text"])
def test_the_draft_is_shown_with_its_warning(form, viewer, page, tmp_path):
    orthanc, url = viewer
    film = phantom(size=256)
    draft = draft_sr(film, identity=identity(study_instance_uid=str(film.StudyInstanceUID)))
    shown = draft if form == "enhanced" else as_basic_text(draft)
    put(orthanc, tmp_path, film, shown)
    open_series(page, url, shown)
    body = page.locator("body")
    for sentence in (BANNER, *SENTENCES):
        expect(body).to_contain_text(sentence, timeout=SHOWN_MS)
    expect(body).to_contain_text(ReportSettings().series_description, timeout=SHOWN_MS)
    picture = os.environ.get("CXR_PICTURES")
    if picture and form == "enhanced":
        page.screenshot(path=Path(picture) / "ohif-draft.png")


def test_every_series_of_a_study_says_what_it_is(viewer, page, tmp_path):
    orthanc, url = viewer
    film = phantom(size=256)
    own = identity(study_instance_uid=str(film.StudyInstanceUID))
    made = [draft_sr(film, identity=own), findings_sr(film, identity=own)]
    put(orthanc, tmp_path, film, *made, synthetic_sc(film, identity=own))
    open_series(page, url, film)
    body = page.locator("body")
    for ds in made:
        expect(body).to_contain_text(str(ds.SeriesDescription), timeout=SHOWN_MS)


def test_a_report_with_a_nameless_item_fells_the_page(viewer, page, tmp_path):
    """The control: the page does fail on what our rule forbids, so showing proves something."""
    orthanc, url = viewer
    film = phantom(size=256)
    broken = draft_sr(film, identity=identity(study_instance_uid=str(film.StudyInstanceUID)))
    section = next(item for item in broken.ContentSequence if item.ValueType == "CONTAINER")
    del section.ContentSequence[0].ConceptNameCodeSequence
    put(orthanc, tmp_path, film, broken)
    open_series(page, url, broken)
    expect(page.locator("body")).to_contain_text("Something went wrong", timeout=SHOWN_MS)
