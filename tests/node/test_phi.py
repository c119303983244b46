"""A whole run over planted patients: nothing of them in anything that it writes but its stores."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pynetdicom import AE

from tests.films import CR
from tests.node.conftest import Pacs, free_port, wait_for
from tests.node.planted import BIRTH, MARKER, films, plant, traces
from tests.node.web_client import NAME, TOKEN, Client
from tests.receivers import rude

ROOT = Path(__file__).parents[2]
_STORES = ("images", "outputs", "priors", "incoming", "ledger.sqlite", "audit.jsonl")
"""What may hold patients: spool, outputs, ledger, audit."""


class _Run:
    """A node in a process of its own, everything it writes below one folder."""

    def __init__(self, folder: Path, pacs_port: int, gossip_port: int) -> None:
        self.folder = folder
        self.starts = 0
        self.port, self.web_port, self.metrics_port = free_port(), free_port(), free_port()
        tokens = folder / "tokens"
        for name in ("work", "temporary", "home"):
            (folder / name).mkdir(parents=True)
        tokens.write_text(f"{NAME} {TOKEN}")
        tokens.chmod(0o600)
        node = {
            "port": self.port,
            "bind": "127.0.0.1",
            "storage": {"root": "store", "free_min_gb": 0, "free_min_percent": 0},
            "study": {"quiet_s": 0.2, "hard_cap_s": 30},
            "work": {"sweep_s": 0.05},
            "log_level": "debug",
            "web": {"enabled": True, "port": self.web_port, "token_file": str(tokens)},
            "metrics": {"enabled": True, "port": self.metrics_port},
            "alerts": {
                "disk_free_percent": 99.9,
                "webhook": {"url": f"http://127.0.0.1:{gossip_port}/hook"},
            },
        }
        peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port, "send": ["report"]}
        peer["priors"] = True
        outbox = {"retry_initial_s": 0.2, "give_up_after_h": 0.0005}
        channels = {
            "stow": {"url": f"http://127.0.0.1:{gossip_port}", "send": ["report", "pdf"]},
            "hl7": {"host": "127.0.0.1", "port": gossip_port},
            "fhir": {"url": f"http://127.0.0.1:{gossip_port}"},
        }
        outputs = {"outbox": outbox, **channels}
        settings = {"node": node, "peers": {"pacs": peer}, "outputs": outputs}
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(settings))
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder / "temporary"),
            "HOME": str(folder / "home"),
        }

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        self.starts += 1
        with (self.folder / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.node.planted", str(self.config)],
                stdout=log,
                stderr=log,
                cwd=self.folder / "work",
                env=self.environment,
            )
        try:
            wait_for(lambda: self.log().count(b"node.started") == self.starts, 60)
            yield process
        finally:
            process.kill()
            process.wait(30)

    def log(self) -> bytes:
        return (self.folder / "output.log").read_bytes()

    def call(self, *words: str) -> bytes:
        """Run a verb; return all that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "node.cli", words[0], "-c", str(self.config), *words[1:]],
            capture_output=True,
            check=False,
            cwd=self.folder / "work",
            env=self.environment,
        )
        return done.stdout + done.stderr

    def written(self) -> Iterator[Path]:
        """Yield every file outside the stores."""
        for path in self.folder.rglob("*"):
            inside = path.relative_to(self.folder).parts
            stored = inside[0] == "store" and inside[1:] and inside[1].startswith(_STORES)
            if path.is_file() and not stored:
                yield path


def _gossip(sock: socket.socket) -> None:
    """Refuse whatever comes, and quote the patient in every way that there is."""
    asked = sock.recv(65_536)
    issue = {"severity": "error", "code": MARKER, "diagnostics": f"{MARKER}^J {BIRTH}"}
    body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
    head = f"HTTP/1.1 422 {MARKER}\r\nX-Patient: {MARKER}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = f"\x0bMSH|^~\\&|{MARKER}\rMSA|AE|{MARKER}|{MARKER}\r\x1c\r"
    with suppress(OSError):
        sock.sendall(answer.encode() if asked.startswith(b"\x0b") else head.encode() + body)
        while sock.recv(65_536):
            pass


def _associate(port: int, calling: str, called: str = "CXRDRAFT") -> Any:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = 20
    ae.add_requested_context(CR)
    return ae.associate("127.0.0.1", port, ae_title=called)


def _send_everything(run: _Run) -> None:
    """Send every film, and knock under titles that are a patient's name."""
    assoc = _associate(run.port, "PACS")
    for ds in films():
        assoc.send_c_store(ds)
    assoc.release()
    for title in (MARKER, f"{MARKER}^J", f"{BIRTH} {MARKER[:7]}"):
        assert _associate(run.port, title).is_rejected
        assert _associate(run.port, "PACS", title).is_rejected


@pytest.fixture
def gossip_port() -> Iterator[int]:
    with rude(_gossip) as port:
        yield port


def _review(run: _Run) -> None:
    """Look at every study as a reader does, and write a planted name into every form."""
    client = Client(run.web_port)
    client.log_in(MARKER)
    client.log_in()
    listed = client.get("/")
    assert MARKER in listed.text
    for place in sorted(set(re.findall("/studies/[0-9a-f]+", listed.text))):
        shown = client.get(place)
        client.get(f"{place}/film.png")
        client.get(f"{place}?generation={MARKER}")
        client.get(f"{place}/{MARKER}")
        client.get(f"/studies/{MARKER}?x={MARKER}")
        words = {"csrf": shown.field("csrf"), "generation": 1, "note": MARKER}
        client.post(f"{place}/questions", question=f"{MARKER}?", **words)
        client.post(f"{place}/feedback", verdict="reject", **words)
        client.post(f"{place}/feedback", verdict="reject", reason="style", **words)
        client.post(f"{place}/feedback", verdict=MARKER, csrf=MARKER)
        client.call("GET", f"{place}/questions?wait_s=2")
    client.ask("GET", f"/{MARKER}", Authorization=f"Bearer {MARKER}", Cookie=MARKER)


@pytest.mark.filterwarnings("ignore")
def test_no_planted_value_is_anywhere_but_in_the_stores(
    tmp_path: Path, pacs: Pacs, gossip_port: int
) -> None:
    run = _Run(tmp_path / "run", pacs.port, gossip_port)
    pacs.status = 0xC123
    with run.started() as process:
        _send_everything(run)
        wait_for(lambda: run.log().count(b"study.failed") >= 2, 60)
        wait_for(lambda: b"crash where=crashing" in run.log())
        for channel in (b"stow", b"hl7", b"fhir"):
            wait_for(lambda channel=channel: b"destination=" + channel in run.log(), 30)
        _review(run)
        scraped = run.call("metrics")
        assert b"cxr_studies" in scraped
        assert not traces(scraped)
        wait_for(lambda: b"alert.raised" in run.log(), 30)
        process.send_signal(signal.SIGSEGV)
        process.wait(30)
    pacs.stop()
    with run.started() as process:
        process.terminate()
        assert process.wait(60) == 0
    printed = {
        " ".join(words): run.call(*words)
        for words in (
            ("status", "--json"),
            ("status",),
            ("audit",),
            ("echo", "pacs"),
            ("feedback", "export"),
            ("report",),
            ("report", "--json"),
            ("report", "--csv"),
            ("report", "--html", str(run.folder / "report.html")),
        )
    }
    assert b"rejections" in printed["status --json"]
    assert b'"verdict": "reject"' in printed["feedback export"]
    for words, text in printed.items():
        if words.startswith("status"):
            # a title that is one plain word is shown: it is what the peer would be known by
            text = text.replace(MARKER.encode(), b"")
        assert not traces(text), words
    made = run.folder / "support.zip"
    log = run.folder / "output.log"
    said = run.call("support-bundle", "-o", str(made), "--log", str(log), "--json")
    assert len(json.loads(said)["contents"]) == 9
    with zipfile.ZipFile(made) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert b"FAILED" in packed["failures.json"]
    assert b"study.failed" in packed["log.txt"]
    assert {name: found for name, text in packed.items() if (found := traces(text))} == {}
    looked_at = {path.name: traces(path.read_bytes()) for path in run.written()}
    assert "output.log" in looked_at
    assert {name: found for name, found in looked_at.items() if found} == {}
    assert not [path for path in run.folder.rglob("core*") if path.is_file()]
    assert not [name for name in map(str, run.folder.rglob("*")) if traces(name.encode())]
    events = run.log()
    for expected in (
        b"instance.new",
        b"instance.refused",
        b"association.refused",
        b"study.skipped",
        b"web.viewed",
        b"web.asked",
        b"question.answered",
    ):
        assert expected in events, expected


def test_the_search_finds_every_form_that_it_looks_for() -> None:
    import base64

    for shift in range(3):
        hidden = base64.b64encode(b"x" * (7 + shift) + MARKER.encode() + b"tail")
        assert traces(b"noise " + hidden + b" noise")
    for form in (
        MARKER.lower().encode(),
        MARKER.encode("utf-16-be"),
        MARKER.encode().hex().upper().encode(),
        MARKER[::-1].encode(),
    ):
        assert traces(b"..." + form + b"...")
    assert not traces(b"nothing of the kind")


def test_a_planted_film_holds_the_marker_in_every_kind_of_attribute() -> None:
    from tests.films import phantom

    ds = plant(phantom("x"))
    planted = [element for element in ds if MARKER in str(element.value)]
    assert len(planted) > 100
    assert {"PN", "LO", "SH", "LT", "ST", "SQ"} <= {element.VR for element in planted}
