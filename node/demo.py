"""`cxr-node demo`: a film goes into a real node and a marked draft comes back, on this machine."""

from __future__ import annotations

import argparse
import logging
import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from rich.console import Console
from rich.markup import escape

from node import logs
from node.app import Node
from node.config import (
    IntakeSettings,
    NodeSettings,
    PeerSettings,
    Settings,
    StorageSettings,
    StudySettings,
    WorkSettings,
)
from node.config_kinds import OutputKind
from node.config_outputs import OutputSettings, SyntheticSettings
from node.demo_files import (
    write_document,
    write_drawing,
    write_film,
    write_findings,
    write_picture,
    write_report,
)
from node.drawn_phantom import PROMPT, attempts
from node.errors import SUCCESS, NodeError
from node.phantom import film_from_file
from node.ports import Drafter
from node.sc import missing_marks
from node.sop_classes import ENCAPSULATED_PDF
from node.sr_text import status_of, walk
from node.stand_in import AE_TITLE as PACS_AE_TITLE
from node.stand_in import LOOPBACK, StandInPacs, free_port
from node.studies import State

SAFETY = (
    "Research software, not a medical device. Every draft needs a radiologist; every synthetic "
    "film shows nobody."
)

_NODE_AE_TITLE = "CXRDRAFT"
SENT: Final[tuple[OutputKind, ...]] = ("report", "findings", "pdf", "synthetic")
_RETURNED: Final = {
    EnhancedSRStorage: "draft report",
    ComprehensiveSRStorage: "findings for machines",
    ENCAPSULATED_PDF: "document",
    SecondaryCaptureImageStorage: "synthetic film",
}
"""What comes back, by its class, in the order of `Returned`."""
_TIMEOUT_S = 120.0
_QUIET_S = 1.0
_ENDED_WITHOUT_DRAFT = (State.SKIPPED, State.FAILED)


class DemoFailed(NodeError):
    """The demo did not get its draft back."""


@dataclass
class _Story:
    """The steps of the demo, told as they end, with the time since its start."""

    console: Console
    started: float = field(default_factory=time.perf_counter)

    def tell(self, step: str, detail: str = "") -> None:
        """Print one step."""
        seconds = time.perf_counter() - self.started
        self.console.print(
            f"[dim]{seconds:6.1f} s[/dim]  [bold]{escape(step)}[/bold]  {escape(detail)}"
        )

    @contextmanager
    def waiting(self, step: str) -> Iterator[None]:
        """Show that something takes its time."""
        with self.console.status(escape(step)):
            yield


@dataclass(frozen=True)
class Returned:
    """What came back to the stand-in PACS."""

    report: Dataset
    findings: Dataset
    document: Dataset
    synthetic: Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cxr-node demo`."""
    parser.add_argument(
        "--film", type=Path, metavar="FILE", help="a film of your own (.dcm, .png, .jpg)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("cxr-node-demo"),
        metavar="DIR",
        help="folder to fill (default: ./cxr-node-demo)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the film to draw")


def run_demo(options: argparse.Namespace, engine: Drafter | None = None) -> int:
    """Run the demo; return 0 only if the report and the synthetic film came back.

    Parameters
    ----------
    engine
        The model; None loads the demo bundle.
    """
    console = Console(highlight=False)
    logs.silence_libraries()
    logging.getLogger("cxr_node").setLevel(logging.CRITICAL)
    console.print(f"[bold red]{SAFETY}[/bold red]\n")
    story = _Story(console)
    engine = engine or _load(story)
    with tempfile.TemporaryDirectory(prefix="cxr-node-demo-") as root, StandInPacs() as pacs:
        story.tell("stand-in PACS listens", f"{PACS_AE_TITLE} on {LOOPBACK}:{pacs.port}")
        settings = demo_settings(Path(root), pacs.port)
        node = Node(settings, engine)
        node.start()
        try:
            _tell_node(story, settings)
            film = _film(options, engine, story)
            returned = _round_trip(film, node, pacs, story)
        finally:
            node.stop()
    _check(returned, story)
    _write(options.output, film, returned, story)
    return 0


def demo_settings(root: Path, pacs_port: int) -> Settings:
    """Return a node on loopback that knows one peer and, for once, lets a synthetic film in."""
    return Settings(
        node=NodeSettings(
            ae_title=_NODE_AE_TITLE,
            bind=LOOPBACK,
            port=free_port(),
            storage=StorageSettings(root=root / "spool", free_min_gb=0, free_min_percent=0),
            intake=IntakeSettings(accept_synthetic=True),
            study=StudySettings(quiet_s=_QUIET_S, hard_cap_s=30),
            work=WorkSettings(sweep_s=0.1),
        ),
        peers={
            "stand-in-pacs": PeerSettings(
                ae_title=PACS_AE_TITLE, host=LOOPBACK, port=pacs_port, send=SENT
            )
        },
        outputs=OutputSettings(synthetic=SyntheticSettings(enabled=True)),
    )


def _load(story: _Story) -> Drafter:
    """Load the demo bundle."""
    from engine.pipeline import Engine

    with story.waiting("loading the model"):
        engine = Engine.load()
    story.tell("model loaded", f"{engine.name} {engine.version} ({engine.digest[:12]})")
    return engine


def _tell_node(story: _Story, settings: Settings) -> None:
    story.tell("node listens", f"{_NODE_AE_TITLE} on {LOOPBACK}:{settings.node.port}")
    story.tell(
        "for this demo only",
        "node.intake.accept_synthetic lets a film in that is marked synthetic",
    )


def _film(options: argparse.Namespace, engine: Drafter, story: _Story) -> Dataset:
    """Return the film to send: the user's, or one that the model draws."""
    now = datetime.now(UTC).astimezone()
    if options.film is not None:
        story.tell("film taken", "your own, sent under the name of a phantom patient")
        return film_from_file(options.film, now)
    with story.waiting("drawing a film"):
        for attempt in attempts(engine, options.seed, now):
            why = "; ".join(attempt.reasons)
            if why:
                story.tell("film thrown away", f"seed {attempt.seed}: {why}")
    story.tell("film drawn by the model", f"seed {attempt.seed}, asked for: {PROMPT}")
    return attempt.film


def _round_trip(film: Dataset, node: Node, pacs: StandInPacs, story: _Story) -> Returned:
    """Send the film and wait for what the node makes of it."""
    status = pacs.send(film, _NODE_AE_TITLE, node.settings.node.port)
    if status != SUCCESS:
        raise DemoFailed(f"the node refused the film with status 0x{status:04X}")
    story.tell("film sent", f"{film.Modality} by C-STORE, answered 0x0000: it is safe on disk")
    deadline = time.perf_counter() + _TIMEOUT_S
    by_class: dict[str, Dataset] = {}
    with story.waiting("the node waits for more images, then drafts"):
        while not _RETURNED.keys() <= by_class.keys():
            ds = _next(film, node, pacs, deadline)
            by_class[ds.SOPClassUID] = ds
    _tell_timeline(film, node, story)
    for sop_class_uid, what in _RETURNED.items():
        ds = by_class[sop_class_uid]
        story.tell(f"{what} returned", f"{ds.SOPClassUID.name}: {ds.SeriesDescription}")
    return Returned(*(by_class[uid] for uid in _RETURNED))


def _next(film: Dataset, node: Node, pacs: StandInPacs, deadline: float) -> Dataset:
    """Return the next object that comes back, unless the node gives up on the study."""
    while time.perf_counter() < deadline:
        try:
            return pacs.received.get(timeout=0.2)
        except queue.Empty:
            pass
        for generation in node.journal.study(str(film.StudyInstanceUID)):
            if generation["state"] in _ENDED_WITHOUT_DRAFT:
                raise DemoFailed(f"no draft: {generation['reason']}")
    raise DemoFailed(f"nothing came back within {_TIMEOUT_S:.0f} s")


def _tell_timeline(film: Dataset, node: Node, story: _Story) -> None:
    """Print what the node's ledger says about the study."""
    for generation in node.journal.study(str(film.StudyInstanceUID)):
        steps = [f"{step['name']} {step['ms'] / 1000:.1f} s" for step in generation["timeline"]]
        story.tell("the node's own timeline", " · ".join(steps))


def _check(returned: Returned, story: _Story) -> None:
    """Show what the draft says, and that both objects say what they are."""
    story.tell("the draft is", status_of(returned.report))
    for line in walk(returned.report):
        if line.depth:
            story.console.print(f"            {escape(line.value)}")
    missing = missing_marks(returned.synthetic)
    if missing:
        raise DemoFailed(f"the synthetic film lacks {', '.join(missing)}")
    story.tell("the synthetic film carries every mark", "banner burned in twice")


def _write(folder: Path, film: Dataset, returned: Returned, story: _Story) -> None:
    """Write everything to the folder and say where."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [
            *write_report(folder, returned.report),
            *write_findings(folder, returned.findings),
            write_document(folder, returned.document),
            *write_film(folder, film),
            *write_drawing(folder, returned.synthetic),
            write_picture(folder, film, returned.report),
        ]
    except OSError as error:
        reason = error.strerror or "not writable"
        raise DemoFailed(f"cannot write to {folder}: {reason}", hint="choose another -o") from error
    story.tell("written to", str(folder.resolve()))
    for path in written:
        story.console.print(f"            {escape(path.name)}")
    story.console.print(f"\n[bold red]{SAFETY}[/bold red]")
