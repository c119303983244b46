"""DCMTK as the second peer: it calls the node, and it receives the drafts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage

from tests import films
from tests.acceptance.peers import (
    NodeProcess,
    dcmtk,
    faults_of,
    free_port,
    listens,
    node_settings,
    peer,
    tool,
    wait_for,
)


@dataclass
class _StoreScp:
    """DCMTK's storescp with its defaults; Nagle's algorithm is on."""

    port: int
    folder: Path

    def received(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


@contextmanager
def _storescp(folder: Path, *options: str) -> Iterator[_StoreScp]:
    """Run DCMTK's storescp; pynetdicom has a script of the same name."""
    server = _StoreScp(free_port(), folder)
    server.folder.mkdir()
    command = [dcmtk("storescp"), "-aet", "PACS", *options, "-od", str(folder), str(server.port)]
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: listens(server.port), 10, "storescp to listen")
        yield server
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[_StoreScp]:
    with _storescp(tmp_path / "received") as server:
        yield server


@pytest.fixture
def node(
    tmp_path: Path, storescp: _StoreScp, start_node: Callable[..., NodeProcess]
) -> NodeProcess:
    peers = {"pacs": peer("PACS", storescp.port, ["report"]), "room": peer("ROOM", free_port())}
    return start_node(node_settings(tmp_path, free_port(), peers))


def _call(node: NodeProcess, *arguments: str | Path, calling: str = "ROOM") -> tuple[str, ...]:
    return ("-aet", calling, "-aec", "CXRDRAFT", "127.0.0.1", str(node.port), *map(str, arguments))


def test_echoscu_is_answered_and_an_unknown_title_told_why(node: NodeProcess) -> None:
    assert tool("echoscu", *_call(node)).returncode == 0
    refused = tool("echoscu", *_call(node, calling="STRANGER"))
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stdout + refused.stderr
    wrong = tool("echoscu", "-aet", "ROOM", "-aec", "OTHER", "127.0.0.1", str(node.port))
    assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr
    reasons = [row["reason"] for row in node.status()["rejections"]]
    assert reasons == ["called AE title is not ours", "calling AE title is not known"]


def test_the_node_verifies_dcmtk(node: NodeProcess) -> None:
    shown = node.call("echo", "pacs")
    assert shown.returncode == 0
    assert "answered in" in shown.stdout


@films.needs_films
def test_compressed_films_from_storescu_become_reports_in_storescp(
    node: NodeProcess, storescp: _StoreScp, tmp_path: Path, good_films: list[films.Film]
) -> None:
    made = []
    conversions = {
        "lossless": ("dcmcjpeg", "+e1"),
        "rle": ("dcmcrle",),
        "ls": ("dcmcjpls", "+el"),
    }
    for film, (name, command) in zip(good_films[:3], conversions.items(), strict=True):
        plain, packed = tmp_path / f"{name}.plain", tmp_path / f"{name}.dcm"
        films.dicom(film, size=512).save_as(plain, enforce_file_format=True)
        assert tool(command[0], *command[1:], plain, packed).returncode == 0
        made.append(packed)
    proposals = {"lossless": "-xs", "rle": "-xr", "ls": "-xt"}
    for packed in made:
        sent = tool("storescu", proposals[packed.stem], *_call(node, packed))
        assert sent.returncode == 0, sent.stderr
    wait_for(lambda: len(storescp.received()) == 3, 120, "three reports")
    for path in storescp.received():
        assert dcmread(path).Modality == "SR"
        assert faults_of(path) == []
    assert set(node.states().values()) == {"DONE"}


def test_a_peer_with_nagles_algorithm_is_as_quick_as_one_without(
    node: NodeProcess, tmp_path: Path
) -> None:
    """A delayed acknowledgement on our side would cost it 40 ms an instance (18-23 a second)."""
    rates: dict[str, list[float]] = {}
    for variable in ("", "1", "", "1"):
        paths = _films_of_a_hand(tmp_path, 30, f"{variable}{len(rates)}{time.monotonic_ns()}")
        started = time.perf_counter()
        sent = tool("storescu", *_call(node, *paths), tcp_nodelay=variable)
        rates.setdefault(variable, []).append(len(paths) / (time.perf_counter() - started))
        assert sent.returncode == 0
    default, tuned = max(rates[""]), max(rates["1"])
    print(f"storescu: {default:.0f} instances/s by default, {tuned:.0f} with TCP_NODELAY=1")
    assert default > 0.4 * tuned


def _films_of_a_hand(folder: Path, number: int, name: str) -> list[Path]:
    """Write films of 0.5 MB that cost the node no inference."""
    paths = [folder / f"{name}.{index}.dcm" for index in range(number)]
    for path in paths:
        ds = films.phantom(path.name, size=500, BodyPartExamined="HAND")
        ds.save_as(path, enforce_file_format=True)
    return paths


_BASIC_TEXT_ONLY = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Old]
PresentationContext1 = VerificationSOPClass\\Uncompressed
PresentationContext2 = BasicTextSRStorage\\Uncompressed
[[Profiles]]
[Default]
PresentationContexts = Old
"""


@films.needs_films
def test_an_old_storescp_gets_the_draft_as_basic_text(
    tmp_path: Path, start_node: Callable[..., NodeProcess], good_films: list[films.Film]
) -> None:
    (tmp_path / "old.cfg").write_text(_BASIC_TEXT_ONLY)
    path = tmp_path / "film.dcm"
    films.dicom(good_films[0], size=512).save_as(path, enforce_file_format=True)
    with _storescp(tmp_path / "received", "-xf", str(tmp_path / "old.cfg"), "Default") as old:
        peers = {"pacs": peer("PACS", old.port, ["report"]), "room": peer("ROOM", free_port())}
        node = start_node(node_settings(tmp_path, free_port(), peers))
        tool("storescu", *_call(node, path))
        wait_for(lambda: set(node.states().values()) == {"DONE"}, 60, "the draft")
        (got,) = old.received()
        assert dcmread(got).SOPClassUID == BasicTextSRStorage
        assert faults_of(got) == []
