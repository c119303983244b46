"""The pages for administrators over HTTP: who may open what, and what the buttons do."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import oidc_provider_mock
import pytest
from pydicom.dataset import Dataset

from node.accounts import Accounts
from node.app import Node
from node.audit import trail_path
from node.redact import key
from node.roles import Role
from tests.films import phantom
from tests.node.conftest import Pacs, associate, free_port, send, wait_for, wait_for_state
from tests.node.web_client import Client, web_settings

Start = Callable[..., Node]
PASSWORD = "a long winter walk"
FOR_ALL = ("/", "/dashboard", "/model", "/account")
FOR_ADMINS = ("/peers", "/refusals", "/rules", "/configuration", "/log", "/accounts")


@pytest.fixture
def node(start_node: Start, tmp_path: Path, pacs: Pacs) -> Node:
    return start_node(web_settings(tmp_path, pacs.port))


def client(node: Node) -> Client:
    return Client(node.settings.node.web.port)


def someone(node: Node, role: Role) -> Client:
    """Return somebody of a role who has logged in."""
    name = f"a-{role}"
    Accounts(node._database).make(name, role, PASSWORD, 1.0)
    visitor = client(node)
    assert visitor.log_in(PASSWORD, name).status == 303
    return visitor


def csrf(visitor: Client) -> str:
    return visitor.get("/account").field("csrf")


@pytest.mark.parametrize("role", list(Role))
def test_everybody_opens_the_pages_of_their_role(node: Node, role: Role) -> None:
    visitor = someone(node, role)
    for path in FOR_ALL:
        assert visitor.get(path).status == 200, path
    wanted = 200 if role is Role.ADMIN else 403
    for path in FOR_ADMINS:
        answer = visitor.get(path)
        assert answer.status == wanted, path
    links = re.findall(r'<a href="(/\w*)">', visitor.get("/").text)
    assert set(links) >= {"/", "/dashboard"}
    assert ("/accounts" in links) == (role is Role.ADMIN)


@pytest.mark.parametrize(
    "path",
    ["/studies/x/operations/cancel", "/peers/pacs/test", "/accounts", "/accounts/x", "/rules/test"],
)
def test_a_viewer_changes_nothing(node: Node, path: str) -> None:
    visitor = someone(node, Role.VIEWER)
    assert visitor.post(path, csrf=csrf(visitor), what="off", name="x").status == 403


def test_a_form_of_another_page_changes_nothing(node: Node) -> None:
    admin = someone(node, Role.ADMIN)
    for path in ("/peers/pacs/test", "/accounts", "/studies/x/operations/cancel", "/account"):
        assert admin.post(path, csrf="guess").status == 403
    assert admin.ask("POST", "/rules/test", b"", Accept="text/html").status == 403


def test_an_account_that_is_switched_off_is_out_at_once(node: Node) -> None:
    visitor = someone(node, Role.VIEWER)
    assert visitor.get("/").status == 200
    Accounts(node._database).set_disabled("a-viewer", disabled=True)
    assert visitor.get("/").status == 303
    assert client(node).log_in(PASSWORD, "a-viewer").status == 401


def test_wrong_passwords_lock_the_name_out(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    node = start_node(web_settings(tmp_path, pacs.port, max_failures=3, lockout_s=60.0))
    Accounts(node._database).make("anna", Role.VIEWER, PASSWORD, 1.0)
    assert [client(node).log_in(f"wrong {n}", "anna").status for n in range(3)] == [401] * 3
    assert client(node).log_in(PASSWORD, "anna").status == 429


def test_an_administrator_keeps_accounts(node: Node) -> None:
    admin = someone(node, Role.ADMIN)
    word = csrf(admin)
    new = {"name": "bert", "role": "viewer", "password": PASSWORD}
    assert admin.post("/accounts", csrf=word, **new).status == 303
    refused = admin.post("/accounts", csrf=word, **new)
    assert (refused.status, "already" in refused.text) == (422, True)
    bert = client(node)
    bert.log_in(PASSWORD, "bert")
    assert admin.post("/accounts/bert", csrf=word, what="role", role="radiologist").status == 303
    assert "radiologist" in bert.get("/").text
    other = PASSWORD[::-1]
    assert admin.post("/accounts/bert", csrf=word, what="password", password=other).status == 303
    assert bert.get("/").status == 303
    assert client(node).log_in(other, "bert").status == 303
    last = admin.post("/accounts/a-admin", csrf=word, what="off")
    assert (last.status, "last administrator" in last.text) == (422, True)
    assert admin.post("/accounts/nobody", csrf=word, what="off").status == 422
    assert admin.post("/accounts/bert", csrf=word, what="sing").status == 400
    assert admin.post("/accounts/bert", csrf=word, what="role", role="king").status == 422
    changed = "User Security Attributes Changed"
    wait_for(lambda: changed in trail_path(node.settings).read_text())


def test_everybody_changes_their_own_password(node: Node) -> None:
    visitor = someone(node, Role.VIEWER)
    word, other = csrf(visitor), PASSWORD[::-1]
    wrong = {"old": "guess", "password": other, "again": other}
    assert visitor.post("/account", csrf=word, **wrong).status == 422
    differing = {"old": PASSWORD, "password": other, "again": PASSWORD}
    assert visitor.post("/account", csrf=word, **differing).status == 422
    good = {"old": PASSWORD, "password": other, "again": other}
    assert "is changed" in visitor.post("/account", csrf=word, **good).text
    assert client(node).log_in(other, "a-viewer").status == 303


@pytest.fixture
def study(node: Node) -> Dataset:
    ds = phantom("operated", PatientName="Doe^Jane")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return ds


def _act(visitor: Client, ds: Dataset, operation: str) -> int:
    path = f"/studies/{key(ds.StudyInstanceUID)}/operations/{operation}"
    return visitor.post(path, csrf=csrf(visitor)).status


def test_the_buttons_of_a_study_do_what_they_say(node: Node, study: Dataset, pacs: Pacs) -> None:
    reader = someone(node, Role.RADIOLOGIST)
    page = reader.get(f"/studies/{key(study.StudyInstanceUID)}").text
    assert "Draft again" in page
    assert "Send again" in page
    assert "Cancel" not in page
    assert _act(reader, study, "resend") == 303
    wait_for(lambda: len(pacs.received) == 2)
    wait_for_state(node, study, "DONE")
    assert _act(reader, study, "redraft") == 303
    wait_for_state(node, study, "DONE", "DONE")
    for refused in ("retry", "cancel", "stat"):
        assert _act(reader, study, refused) == 409
    assert _act(reader, study, "explode") == 404
    assert "put back" in reader.get(f"/studies/{key(study.StudyInstanceUID)}?generation=1").text


def test_studies_are_found_by_what_people_know(node: Node, study: Dataset) -> None:
    viewer = someone(node, Role.VIEWER)
    for asked in (f"text={study.PatientID}", "state=DONE", f"text={study.StudyInstanceUID}"):
        assert "Doe^Jane" in viewer.get(f"/?{asked}").text
    for asked in ("text=nobody", "state=FAILED", "text=%25"):
        assert "Nothing was found" in viewer.get(f"/?{asked}").text


def test_the_dashboard_tells_how_the_node_stands(node: Node, study: Dataset) -> None:
    admin = someone(node, Role.ADMIN)
    drafted = "Drafted in the last hour</span><strong>1<"
    wait_for(lambda: drafted in admin.get("/dashboard").text)
    shown = admin.get("/dashboard").text
    assert str(study.PatientName) not in shown
    told = admin.get("/dashboard", Accept="application/json").json
    assert told["studies"]["DONE"] == 1
    assert {"alerts", "missing", "configuration"} <= told.keys()
    assert "Drafts on</span><strong>no<" not in admin.get("/dashboard").text


def test_a_peer_is_tried_out_by_its_button(node: Node, pacs: Pacs) -> None:
    admin = someone(node, Role.ADMIN)
    shown = admin.post("/peers/pacs/test", csrf=csrf(admin)).text
    assert "PACS answered CXRDRAFT" in shown
    assert not pacs.received
    stored = admin.post("/peers/pacs/test", csrf=csrf(admin), store=1).text
    assert "C-STORE" in stored
    assert [str(ds.PatientID) for ds in pacs.received] == ["PHANTOM-TEST"]
    assert admin.post("/peers/nobody/test", csrf=csrf(admin)).status == 404
    pacs.stop()
    assert "firewall" in admin.post("/peers/pacs/test", csrf=csrf(admin)).text


def test_who_was_turned_away_is_explained(node: Node) -> None:
    associate(node, calling="EVIL<b>")
    admin = someone(node, Role.ADMIN)
    wait_for(lambda: "EVIL&lt;b&gt;" in admin.get("/refusals").text)
    asked = admin.get("/refusals?calling=PACS&address=127.0.0.1").text
    assert "let in as peer pacs" in asked
    assert "no IP address" in admin.get("/refusals?calling=PACS&address=here").text


def test_a_dropped_film_is_told_its_way_and_forgotten(node: Node, tmp_path: Path) -> None:
    admin = someone(node, Role.ADMIN)
    word, path = csrf(admin), tmp_path / "film.dcm"
    phantom("dropped", PatientName="Doe^Jane").save_as(path, enforce_file_format=True)

    def drop(content: bytes) -> str:
        headers = {"X_CSRF_Token": word, "Accept": "text/html"}
        return admin.ask("POST", "/rules/test?calling=PACS", content, **headers).text

    assert "drafted and sent" in drop(path.read_bytes())
    assert "cannot read" in drop(b"no film")
    root = node.settings.node.storage.root
    assert not list(root.rglob("rule-test-*"))
    assert node.journal.studies() == []


def test_configuration_log_and_model_are_shown(node: Node, tmp_path: Path) -> None:
    admin = someone(node, Role.ADMIN)
    keys = admin.get("/configuration", Accept="application/json").json
    assert {"key": "node.ae_title", "value": "CXRDRAFT", "origin": "default"} in keys
    assert "node.web.token_file" in admin.get("/configuration").text
    associate(node, calling="EVIL")
    wait_for(lambda: "association.refused" in admin.get("/log").text)
    assert "association.refused" in admin.get("/log?level=warning").text
    assert "association.refused" not in admin.get("/log?level=error").text
    card = admin.get("/model").text
    assert "mean AUROC" in card
    assert "onnx_cpu" in card


def test_a_support_bundle_is_had_from_the_page(node: Node, study: Dataset) -> None:
    associate(node, calling="EVIL")
    admin = someone(node, Role.ADMIN)
    wait_for(lambda: "association.refused" in admin.get("/log").text)
    answer = admin.get("/support.zip")
    assert answer.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(BytesIO(answer.body)) as bundle:
        told = b"".join(bundle.read(name) for name in bundle.namelist())
    assert b"association.refused" in told
    for planted in (study.PatientName, study.PatientID, study.StudyInstanceUID):
        assert str(planted).encode() not in told


def test_the_first_administrator_is_made_with_the_printed_token(
    start_node: Start, tmp_path: Path, pacs: Pacs, capfd: pytest.CaptureFixture[str]
) -> None:
    node = start_node(web_settings(tmp_path, pacs.port, token_file=None))
    printed = capfd.readouterr()
    (token,) = re.findall(r"with this token:\n  (\S+)", printed.out)
    assert token not in printed.err
    stranger = client(node)
    form = stranger.get("/setup")
    fields = {"csrf": form.field("csrf"), "name": "boss", "password": PASSWORD, "again": PASSWORD}
    assert stranger.post("/setup", **fields, token="guess").status == 422
    form = stranger.get("/setup")
    fields["csrf"] = form.field("csrf")
    assert stranger.post("/setup", **fields, token=token).status == 303
    assert stranger.get("/accounts").status == 200
    assert client(node).get("/setup").status == 404
    assert client(node).post("/setup", token=token).status == 403


def test_a_setup_without_its_form_makes_nobody(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    node = start_node(web_settings(tmp_path, pacs.port, token_file=None))
    assert client(node).post("/setup", name="boss", password=PASSWORD).status == 403
    assert not Accounts(node._database).all()


@contextmanager
def _provider() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def _oidc(folder: Path, issuer: str, port: int) -> dict[str, object]:
    secret = folder / "client-secret"
    secret.write_text("secret\n")
    roles = {"admin": ["it"], "viewer": ["staff"]}
    oidc = {"issuer": issuer, "client_id": "cxr", "client_secret_file": secret, "roles": roles}
    return {"public_url": f"http://127.0.0.1:{port}", "port": port, "oidc": oidc}


def _at_provider(issuer: str, person: str, groups: list[str]) -> None:
    claims = {"preferred_username": person, "groups": groups}
    httpx.put(f"{issuer}/users/{person}", json=claims).raise_for_status()


def _log_in_over(visitor: Client, issuer: str, person: str) -> str:
    """Go to the provider, say who one is, and come back; return the path of the way back."""
    away = visitor.get("/login/provider?next=/dashboard")
    assert away.status == 303
    answer = httpx.post(away.headers["location"], data={"sub": person})
    back = httpx.URL(answer.headers["location"])
    assert (back.host, back.path) == ("127.0.0.1", "/login/back")
    return f"{back.path}?{back.query.decode()}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:authlib.jose module is deprecated")
def test_people_log_in_at_the_provider_of_the_site(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    with _provider() as issuer:
        node = start_node(web_settings(tmp_path, pacs.port, **_oidc(tmp_path, issuer, free_port())))
        _at_provider(issuer, "anna", ["it", "choir"])
        visitor = client(node)
        assert "hospital's account" in visitor.get("/login").text
        path = _log_in_over(visitor, issuer, "anna")
        arrived = visitor.get(path)
        assert (arrived.status, 'url=/dashboard"' in arrived.text) == (200, True)
        assert "anna" in visitor.get("/accounts").text
        assert client(node).get(path).status == 403
        _at_provider(issuer, "bert", ["choir"])
        stranger = client(node)
        refused = stranger.get(_log_in_over(stranger, issuer, "bert"))
        assert (refused.status, "gives you a role" in refused.text) == (403, True)
        other = client(node)
        forged = _log_in_over(other, issuer, "anna").replace("state=", "state=x")
        assert other.get(forged).status == 403
