"""What would become of a film: intake, rules and destinations asked about a file, nothing done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from node.admission import called_refusal
from node.config import Settings
from node.destinations import quiet_until, sent_to
from node.errors import NodeError
from node.headers import texts_of
from node.routing import SHADOW, Explained, Facts, Route, decide, explain, facts_of, is_challengers
from node.rules import InstanceFacts, own_output, unusable

_MIB = 1024 * 1024


class NotAFilm(NodeError):
    """The file is no DICOM object that can be read."""

    default_hint = "name a film as a modality or PACS stores it"


@dataclass(frozen=True)
class Trial:
    """What the node would say of a film and do with its study."""

    intake: str
    """Why it would be refused; empty where it would be taken in."""
    film: str
    """Why no draft could be made from it, going by its header; empty where one could."""
    facts: Facts
    rules: tuple[Explained, ...]
    route: Route
    bundle: str
    """`a` or `b`: which bundle would draft it."""
    sends: dict[str, tuple[str, ...]]
    """What would be sent where."""
    waits: dict[str, str]
    """Destinations in their quiet hours, with the time at which these end."""

    def as_json(self) -> dict[str, Any]:
        """Return the trial as JSON-ready values."""
        told = asdict(self)
        told["rules"] = [rule._asdict() for rule in self.rules]
        told["facts"] = {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in vars(self.facts).items()
        }
        told["facts"]["completed_at"] = self.facts.completed_at.isoformat()
        told["route"] = {name: value for name, value in vars(self.route).items() if name != "send"}
        return told


def try_film(
    settings: Settings, path: Path, *, calling: str = "", called: str = "", at: datetime
) -> Trial:
    """Ask what would become of a film that comes in now.

    Parameters
    ----------
    calling
        AE title of the sender; empty where it does not matter.
    called
        Title of ours that it is sent to; empty for the first.
    at
        Local time at which its study is complete.

    Raises
    ------
    NotAFilm
        The file cannot be read.
    """
    ds = _read(path)
    image = _image(ds, path)
    facts = facts_of(
        [image],
        called_aet=called or settings.node.ae_title,
        peer=_peer(settings, calling),
        completed_at=at,
    )
    outputs = settings.outputs
    route = decide(outputs.rules, facts, sent_to(settings), shadow=outputs.shadow)
    intake = _refusal(settings, ds, path, calling, called)
    goes = not intake and route.drafts and not route.is_shadow
    sends = {name: tuple(kinds) for name, kinds in route.send.items()} if goes else {}
    waiting = () if route.is_stat else tuple(sends)
    waits = {name: quiet_until(settings, name, at) for name in waiting}
    return Trial(
        intake,
        unusable(image) or "",
        facts,
        tuple(explain(outputs.rules, facts)),
        route,
        _bundle(settings, route, str(ds.get("StudyInstanceUID", ""))),
        sends,
        {name: f"{until:%H:%M}" for name, until in waits.items() if until is not None},
    )


def outcome(trial: Trial) -> str:
    """Say in a sentence what the trial came to."""
    if trial.intake:
        return f"refused: {trial.intake}"
    if not trial.route.drafts:
        return f"SKIPPED: rule {trial.route.rule} wants no draft"
    if trial.film:
        return f"SKIPPED, if it is the only film of its study: {trial.film}"
    if trial.route.is_shadow:
        return f"drafted; {SHADOW}"
    return "drafted and sent" if trial.sends else "drafted; no peer is to receive it"


def _read(path: Path) -> FileDataset:
    try:
        return dcmread(path, defer_size=1024)
    except (OSError, InvalidDicomError) as error:
        raise NotAFilm(f"cannot read {path}") from error


def _image(ds: FileDataset, path: Path) -> InstanceFacts:
    return InstanceFacts(
        sop_instance_uid=str(ds.get("SOPInstanceUID", "")),
        sop_class_uid=str(ds.get("SOPClassUID", "")),
        series_instance_uid=str(ds.get("SeriesInstanceUID", "")),
        image_type=tuple(map(str, ds.get("ImageType") or ())),
        rows=int(ds.get("Rows") or 0),
        columns=int(ds.get("Columns") or 0),
        path=path,
        **texts_of(ds),
    )


def _peer(settings: Settings, calling: str) -> str:
    named = (name for name, peer in settings.peers.items() if peer.ae_title == calling)
    return next(named, "")


def _refusal(settings: Settings, ds: FileDataset, path: Path, calling: str, called: str) -> str:
    """Return why the film would not get in; empty where it would."""
    node, size_mb = settings.node, path.stat().st_size / _MIB
    title = called_refusal(node, called) if called else None
    limit_mb = node.intake.max_object_mb
    sender = settings.peers.get(_peer(settings, calling))
    own = own_output(ds, accept_synthetic=node.intake.accept_synthetic)
    tests = (
        (bool(calling) and sender is None, "no peer has this calling AE title"),
        (sender is not None and "store" not in sender.allow, "this peer may not store"),
        (title is not None, title.reason if title else ""),
        (size_mb > limit_mb, f"it has {size_mb:.0f} MB, node.intake.max_object_mb is {limit_mb}"),
        ("PixelData" not in ds, "it holds no pixel data"),
        (own is not None, f"not an image to report on: {own}"),
    )
    return next((reason for is_so, reason in tests if is_so), "")


def _bundle(settings: Settings, route: Route, study_uid: str) -> str:
    if route.bundle != "split":
        return route.bundle
    return "b" if is_challengers(study_uid, settings.engine.challenger_share) else "a"
