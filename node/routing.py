"""What becomes of a study: the first rule of the site that matches, or its defaults. Pure.

The rule tester asks the same functions as the node, so what it says is what will happen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from node.config_rules import BundleChoice, RuleSettings
from node.hours import is_within
from node.rules import InstanceFacts

SendMap = Mapping[str, Sequence[str]]
"""For each destination, the kinds of output that go there."""

SHADOW: Final = "shadow: nothing was sent"


@dataclass(frozen=True)
class Facts:
    """What rules may ask of a study; nothing of it names a patient."""

    called_aet: str
    """The title of ours that its first image was sent to; empty where that is not known."""
    peer: str
    """Who sent its first image."""
    completed_at: datetime
    """Local time at which it was complete."""
    modalities: frozenset[str] = frozenset()
    institutions: frozenset[str] = frozenset()
    stations: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Route:
    """What is done with a study."""

    rule: str = ""
    """Name of the rule that matched; empty where none did."""
    drafts: bool = True
    is_shadow: bool = False
    is_stat: bool = False
    bundle: BundleChoice = "split"
    send: SendMap = field(default_factory=dict)
    """What goes where once it is drafted; in shadow it is made and stays here."""


class Explained(NamedTuple):
    """One rule beside a study."""

    name: str
    matched: bool
    why_not: str


def facts_of(
    images: Iterable[InstanceFacts], *, called_aet: str, peer: str, completed_at: datetime
) -> Facts:
    """Return the facts of a study: a header condition holds where it holds for one image."""
    seen = list(images)
    return Facts(
        called_aet,
        peer,
        completed_at,
        _values(image.modality for image in seen),
        _values(image.institution for image in seen),
        _values(image.station for image in seen),
        _values(image.body_part for image in seen),
    )


def decide(
    rules: Sequence[RuleSettings], facts: Facts, defaults: SendMap, *, shadow: bool = False
) -> Route:
    """Return what is done with a study.

    Parameters
    ----------
    defaults
        What is sent where no rule says otherwise.
    shadow
        Whether nothing is sent of any study.
    """
    rule = next((rule for rule in rules if not _failing(rule, facts)), None)
    if rule is None:
        return Route(is_shadow=shadow, send=defaults)
    return Route(
        rule.name,
        rule.draft,
        shadow or rule.shadow,
        rule.priority == "stat",
        rule.bundle,
        defaults if rule.send is None else rule.send,
    )


def explain(rules: Sequence[RuleSettings], facts: Facts) -> list[Explained]:
    """Tell of each rule whether it is the one that counts, and why it is not."""
    told: list[Explained] = []
    winner = ""
    for rule in rules:
        failing = _failing(rule, facts)
        if failing:
            told.append(Explained(rule.name, False, "; ".join(failing)))
        elif winner:
            told.append(Explained(rule.name, False, f"rule {winner} comes before it"))
        else:
            winner = rule.name
            told.append(Explained(rule.name, True, ""))
    return told


def by_kind(send: SendMap) -> dict[str, list[str]]:
    """Return, for each kind of output, the names of the destinations that get it."""
    kinds = sorted({kind for kinds in send.values() for kind in kinds})
    return {kind: [name for name in send if kind in send[name]] for kind in kinds}


def is_challengers(study_uid: str, share: float) -> bool:
    """Tell whether a study is the second bundle's: the same at every retry and successor."""
    digest = hashlib.sha256(f"bundle\0{study_uid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _values(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text for text in (text.strip().upper() for text in texts) if text)


def _is_like(values: Collection[str], patterns: Sequence[str]) -> bool:
    """Tell whether a value matches a pattern; both ends count, `[` is a letter like any other."""
    plain = [pattern.upper().replace("[", "[[]") for pattern in patterns]
    return any(fnmatchcase(value, pattern) for value in values for pattern in plain)


_Holds = Callable[[Facts, Sequence[str]], bool]

_CONDITIONS: Final[Mapping[str, tuple[str, _Holds]]] = {
    "called_aet": ("called AE title", lambda facts, wanted: facts.called_aet in wanted),
    "peers": ("sender", lambda facts, wanted: facts.peer in wanted),
    "hours": ("hour of completion", lambda facts, wanted: is_within(wanted, facts.completed_at)),
    "modalities": ("modality", lambda facts, wanted: not facts.modalities.isdisjoint(wanted)),
    "institution": ("institution", lambda facts, wanted: _is_like(facts.institutions, wanted)),
    "station": ("station", lambda facts, wanted: _is_like(facts.stations, wanted)),
    "body_part": ("body part", lambda facts, wanted: _is_like(facts.body_parts, wanted)),
}
"""The conditions of a rule by their keys; one that is empty asks nothing."""


def _failing(rule: RuleSettings, facts: Facts) -> list[str]:
    """Return the conditions that do not hold, each in words that quote the rule alone."""
    failing = []
    for key, (name, holds) in _CONDITIONS.items():
        wanted: tuple[str, ...] = getattr(rule, key)
        if wanted and not holds(facts, wanted):
            failing.append(f"the {name} is not {' or '.join(wanted)}")
    return failing
