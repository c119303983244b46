"""The review page in Chromium, on a node that a film was sent to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request
from pydicom.dataset import Dataset

from node.app import Node
from node.config_outputs import SyntheticSettings
from node.redact import key
from node.sr_review import EDITED
from tests.browser import CHROMIUM, browser
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import (  # noqa: F401  (fixtures)
    Pacs,
    pacs,
    send,
    wait_for_state,
)
from tests.node.test_reviews import predecessor, texts
from tests.node.web_client import NAME, TOKEN, web_settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no chromium here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ATTACKS = ("<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "'\"><svg onload=alert(3)>")

_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Reader:
    """Somebody at the review page; what should never happen is written down."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(_VIOLATIONS)
        self.page.on("dialog", self._on_dialog)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("requestfailed", self._on_failure)
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type == "error" else None
        )

    def _on_dialog(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the reader went on before it had come
            self.wrong.append(f"{request.failure}: {request.url}")

    def open(self, path: str = "/") -> None:
        self.page.goto(f"{self.url}{path}")
        self.check()

    def log_in(self) -> None:
        self.page.get_by_label("Name").fill(NAME)
        self.page.get_by_label("Password").fill(TOKEN)
        self.page.get_by_role("button", name="Log in").click()
        self.check()

    def check(self) -> None:
        """Nothing ran that should not, and nothing was blocked that should have run."""
        assert self.page.evaluate("window.violations") == []
        assert self.wrong == []

    def pixel(self, x: int, y: int) -> int:
        """Return a grey value of the film as it is shown."""
        script = "([x, y]) => document.getElementById('canvas').getContext('2d')"
        return int(self.page.evaluate(f"{script}.getImageData(x, y, 1, 1).data[0]", [x, y]))

    def slide(self, name: str, value: int) -> None:
        self.page.locator(f"#{name}").fill(str(value))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs) -> Iterator[Node]:  # noqa: F811
    settings = web_settings(tmp_path, pacs.port)
    outputs = settings.outputs.model_copy(update={"synthetic": SyntheticSettings(enabled=True)})
    running = Node(settings.model_copy(update={"outputs": outputs}), FakeEngine())
    running.warm_up()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def reader(chromium: Browser, node: Node) -> Iterator[Reader]:
    page = chromium.new_page()
    page.set_default_timeout(15_000)
    yield Reader(page, f"http://127.0.0.1:{node.settings.node.web.port}")
    page.close()


Sent = Callable[..., Dataset]


@pytest.fixture
def sent(node: Node) -> Sent:
    """Return a function that sends a film and waits for its draft."""

    def send_one(name: str, **changes: str) -> Dataset:
        ds = phantom(name, size=256, **changes)
        assert send(node, ds) == [0]
        wait_for_state(node, ds, "DONE")
        return ds

    return send_one


def test_a_reader_looks_asks_and_corrects(
    reader: Reader,
    sent: Sent,
    node: Node,
    pacs: Pacs,  # noqa: F811
) -> None:
    ds = sent("read", PatientName="Phantom^Review", StudyDescription="Chest PA")
    reader.open()
    reader.log_in()
    page = reader.page
    page.get_by_role("link", name=key(ds.StudyInstanceUID)).click()
    assert page.get_by_text("Phantom^Review").is_visible()
    assert "NOT VERIFIED" in page.locator(".banner").first.inner_text()
    draft = page.locator("section.draft")
    assert "The mean of the film is" in draft.inner_text()
    assert "No acute finding." in draft.inner_text()

    page.get_by_label("Ask about the film").fill("Is the heart enlarged?")
    page.get_by_role("button", name="Ask").click()
    page.locator("dl.questions dd").get_by_text("The mean of the film").wait_for()
    assert page.locator("dl.questions dt").inner_text() == "Is the heart enlarged?"

    page.get_by_label("I have edited it below").check()
    page.get_by_label("a finding is missing").check()
    page.get_by_label("Findings, one sentence a line").fill("There is an effusion.\nNo mass.")
    page.get_by_role("button", name="Send feedback").click()
    assert "unverified still" in page.get_by_role("status").inner_text()
    wait_for_state(node, ds, "DONE", "DONE")
    first, second = (made for made in pacs.received if made.Modality == "SR")
    assert second.VerificationFlag == "UNVERIFIED"
    assert predecessor(second) == first.SOPInstanceUID
    assert texts(second)[:3] == [EDITED, "There is an effusion.", "No mass."]
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    assert "EDITED BY A PERSON" in page.locator("section.draft .banner").inner_text()
    reader.check()


def test_tasks_are_asked_at_one_click_and_an_edit_is_not_lost(
    reader: Reader, sent: Sent, node: Node
) -> None:
    ds = sent("clicked")
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    reader.log_in()
    page, answers = reader.page, reader.page.locator("dl.questions dd")
    page.get_by_label("One finding").select_option("Pleural Effusion")
    page.get_by_role("button", name="Present?").click()
    answers.get_by_text("yes", exact=True).wait_for()
    assert "AI answer, not verified." in answers.first.inner_text()
    assert page.locator("dl.questions dt").first.inner_text() == (
        "Does the film show pleural effusion?"
    )
    page.get_by_role("button", name="View").click()
    answers.get_by_text("The reply answers nothing:").wait_for()

    words = "The heart is large.\n<script>alert(4)</script>"
    page.get_by_label("Findings, one sentence a line").fill(words)
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Impression from these findings").click()
    beside = opened.value
    beside.locator("dl.questions dd").get_by_text("Said of: The heart is large.").wait_for()
    assert beside.locator("dl.questions script").count() == 0
    assert page.get_by_label("Findings, one sentence a line").input_value() == words
    asked = node._questions.of_study(ds.StudyInstanceUID)
    assert [one.task and one.task["name"] for one in asked] == [
        "binary-disease",
        "view",
        "impression-from-findings",
    ]
    reader.check()


def test_window_level_zoom_and_inversion_change_what_is_shown(reader: Reader, sent: Sent) -> None:
    ds = sent("window")
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    reader.log_in()
    page = reader.page
    page.locator("#canvas").wait_for()
    place = (200, 128)
    plain = reader.pixel(*place)
    assert 5 < plain < 250
    page.locator("#invert").check()
    assert reader.pixel(*place) == 255 - plain
    page.locator("#reset").click()
    assert reader.pixel(*place) == plain
    reader.slide("window", 2)
    reader.slide("level", plain - 20)
    assert reader.pixel(*place) == 255
    reader.slide("level", plain + 20)
    assert reader.pixel(*place) == 0
    page.locator("#reset").click()
    width = page.locator("#canvas").bounding_box()["width"]  # type: ignore[index]
    reader.slide("zoom", 300)
    assert page.locator("#canvas").bounding_box()["width"] > 2.5 * width  # type: ignore[index]
    reader.slide("zoom", 100)
    page.locator("#canvas").drag_to(page.locator("#controls"), force=True)
    reader.check()


def test_the_synthetic_image_stays_behind_its_banner_until_it_is_asked_for(
    reader: Reader, sent: Sent
) -> None:
    ds = sent("drawn")
    fetched: list[str] = []
    reader.page.on("request", lambda request: fetched.append(request.url))
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    reader.log_in()
    reader.page.locator("#canvas").wait_for()
    image = reader.page.get_by_alt_text("Synthetic image")
    assert not image.is_visible()
    assert not [url for url in fetched if "synthetic" in url]
    summary = reader.page.locator("details.synthetic summary")
    assert "NOT A PATIENT IMAGE" in summary.inner_text()
    summary.click()
    image.scroll_into_view_if_needed()
    reader.page.wait_for_function("document.querySelector('.synthetic img').naturalWidth > 0")
    assert reader.page.locator(".synthetic-banner").first.is_visible()
    reader.check()


def test_nothing_that_comes_from_outside_runs(reader: Reader, sent: Sent, node: Node) -> None:
    script, image, quote = ATTACKS
    ds = sent("attack", PatientName=script, StudyDescription=image, AccessionNumber="<b>1</b>")
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    reader.log_in()
    page = reader.page
    page.get_by_label("Ask about the film").fill(quote)
    page.get_by_role("button", name="Ask").click()
    page.locator("dl.questions dd").get_by_text("The mean").wait_for()
    page.get_by_label("I have edited it below").check()
    page.get_by_label("other content").check()
    page.get_by_label("Findings, one sentence a line").fill("\n".join(ATTACKS))
    page.get_by_label("Note").fill(script)
    page.get_by_role("button", name="Send feedback").click()
    wait_for_state(node, ds, "DONE", "DONE")
    reader.open("/")
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    shown = page.locator("main").inner_text()
    assert all(shown.count(attack) >= 1 for attack in ATTACKS)
    assert "<b>1</b>" in shown
    assert page.locator("main script, main svg, main b").count() == 0
    assert page.get_by_label("Findings, one sentence a line").input_value() == "\n".join(ATTACKS)
    reader.check()


def test_a_refused_form_says_why_and_loses_nothing(reader: Reader, sent: Sent) -> None:
    ds = sent("refused")
    reader.open(f"/studies/{key(ds.StudyInstanceUID)}")
    reader.log_in()
    page = reader.page
    page.get_by_label("I would not use it").check()
    page.get_by_label("Note").fill("keep this")
    page.get_by_role("button", name="Send feedback").click()
    assert page.locator("p.refusal").inner_text() == "no reason is given"
    reader.wrong.clear()  # the console tells of the status 422
    page.go_back()
    page.get_by_label("style: wording").check()
    page.get_by_label("I would not use it").check()
    page.get_by_role("button", name="Send feedback").click()
    assert page.get_by_role("status").inner_text() == "Your feedback is kept."
    assert page.get_by_text("reject (style: wording, order, length)").is_visible()


def test_the_page_works_without_its_script(chromium: Browser, node: Node, sent: Sent) -> None:
    ds = sent("plain")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{node.settings.node.web.port}/studies/{key(ds.StudyInstanceUID)}")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.locator("#film").wait_for()
    assert not page.locator("#controls").is_visible()
    page.get_by_label("Ask about the film").fill("Why?")
    page.get_by_role("button", name="Ask").click()
    page.locator("dl.questions dd").get_by_text("The mean").wait_for(timeout=15_000)
    page.get_by_role("button", name="Findings list").click()
    page.locator("dl.questions dt").get_by_text("Which findings").wait_for(timeout=15_000)
    context.close()
