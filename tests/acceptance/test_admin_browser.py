"""The pages for administrators in Chromium, on a node that films are sent to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from node.accounts import Accounts
from node.app import Node
from node.roles import Role
from tests.acceptance.test_review_page import (  # noqa: F401  (fixtures)
    Reader,
    Sent,
    chromium,
    node,
    pytestmark,
    sent,
)
from tests.films import phantom
from tests.node.conftest import Pacs, associate, pacs, wait_for  # noqa: F401  (fixtures)
from tests.node.test_admin_pages import FOR_ADMINS, FOR_ALL, PASSWORD

PICTURES = os.environ.get("CXR_PICTURES")


@pytest.fixture
def admin(chromium: Browser, node: Node) -> Iterator[Reader]:  # noqa: F811
    """Somebody who has logged in as administrator, in a browser of their own."""
    Accounts(node._database).make("boss", Role.ADMIN, PASSWORD, 1.0)
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    reader = Reader(page, f"http://127.0.0.1:{node.settings.node.web.port}")
    reader.open("/login")
    page.get_by_label("Name").fill("boss")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    yield reader
    context.close()


def _picture(reader: Reader, name: str) -> None:
    if PICTURES:
        reader.page.screenshot(path=Path(PICTURES) / f"admin-{name}.png", full_page=True)


def test_an_administrator_finds_their_way_through_the_pages(
    admin: Reader,
    sent: Sent,  # noqa: F811
    node: Node,  # noqa: F811
) -> None:
    sent("dashboard", PatientName="Doe^Jane")
    associate(node, calling="OLDPACS")
    page = admin.page
    for name, heading in (
        ("Dashboard", "Dashboard"),
        ("Model", "fake 1"),
        ("Peers", "Peers"),
        ("Turned away", "Turned away"),
        ("Rules", "Rules"),
        ("Configuration", "Configuration"),
        ("Log", "Log"),
        ("Accounts", "Accounts"),
        ("Studies", "Studies"),
    ):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        if name != "Model":
            expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        admin.check()
    page.get_by_role("link", name="Dashboard").click()
    expect(page.get_by_text("Ready: receiving, drafting and delivering")).to_be_visible()
    _picture(admin, "dashboard")


def test_the_dashboard_keeps_itself_up_to_date(
    admin: Reader,
    sent: Sent,  # noqa: F811
) -> None:
    admin.open("/dashboard")
    tile = admin.page.locator(".tile", has_text="Drafted in the last hour")
    expect(tile).to_contain_text("0 failed")
    sent("refreshed")
    expect(tile.locator("strong")).to_have_text("1", timeout=20_000)
    admin.check()


def test_a_peer_is_tried_out_by_its_button(
    admin: Reader,
    pacs: Pacs,  # noqa: F811
) -> None:
    admin.open("/peers")
    admin.page.get_by_label("leave a marked phantom there").check()
    admin.page.get_by_role("button", name="Test pacs").click()
    result = admin.page.get_by_role("region", name="Test of pacs")
    expect(result.get_by_role("row", name="C-STORE")).to_contain_text("ok")
    assert [str(ds.PatientID) for ds in pacs.received] == ["PHANTOM-TEST"]
    admin.check()
    _picture(admin, "peers")


def test_a_film_is_tried_against_the_rules(admin: Reader, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    phantom("tried", PatientName="Doe^Jane").save_as(film, enforce_file_format=True)
    admin.open("/rules")
    page = admin.page
    page.get_by_label("Drop a DICOM film here").set_input_files(film)
    expect(page.get_by_role("heading", name="drafted and sent")).to_be_visible()
    expect(page.locator("#outcome")).to_contain_text("to pacs: report")
    _picture(admin, "rules")
    admin.check()
    (tmp_path / "text.dcm").write_text("no film")
    page.get_by_label("Drop a DICOM film here").set_input_files(tmp_path / "text.dcm")
    expect(page.locator("#outcome")).to_contain_text("cannot read")


def test_a_study_is_operated_by_its_buttons(
    admin: Reader,
    sent: Sent,  # noqa: F811
    pacs: Pacs,  # noqa: F811
) -> None:
    ds = sent("buttons", PatientName="Doe^Jane")
    page, before = admin.page, len(pacs.received)
    admin.open(f"/?text={ds.PatientID}")
    page.get_by_role("main").get_by_role("link").first.click()
    journey = page.get_by_role("region", name="Journey")
    expect(journey.get_by_role("row", name="received")).to_be_visible()
    journey.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("The objects are due again")).to_be_visible()
    wait_for(lambda: len(pacs.received) == 2 * before)
    page.reload()
    journey.get_by_role("button", name="Draft again").click()
    expect(page.get_by_text("A new draft is on its way")).to_be_visible()
    _picture(admin, "study")
    admin.check()


def test_accounts_are_kept_on_their_page(admin: Reader) -> None:
    admin.open("/accounts")
    page = admin.page
    form = page.locator("form", has_text="Make the account")
    form.get_by_label("Name").fill("anna")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    page.get_by_label("Role of anna").select_option("radiologist")
    page.get_by_role("button", name="Change role of anna").click()
    expect(page.get_by_label("Role of anna")).to_have_value("radiologist")
    page.get_by_role("button", name="Switch off anna").click()
    expect(page.get_by_role("button", name="Switch on anna")).to_be_visible()
    page.get_by_role("button", name="Switch off boss").click()
    expect(page.get_by_role("alert").filter(has_text="last administrator")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_everybody(
    admin: Reader,
    sent: Sent,  # noqa: F811
    scheme: str,
) -> None:
    """WCAG 2.2 A and AA as far as axe can tell, in both schemes; on a phone nothing sticks out."""
    sent("read", PatientName="Doe^Jane")
    page = admin.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    admin.open("/")
    study = page.get_by_role("main").get_by_role("link").first.get_attribute("href")
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    for path in (*FOR_ALL, *FOR_ADMINS, study or "/"):
        admin.open(path)
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.set_viewport_size({"width": 1280, "height": 900})
