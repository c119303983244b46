"""The `outputs.rules` list: what becomes of which studies; the first rule that matches counts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from node.config_kinds import Kind, kinds_for
from node.config_section import AeTitle, Hours, Place, Section

_RULE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,31}")


def _check_name(text: str) -> str:
    """Check the name by which timelines and logs call a rule."""
    if not _RULE_NAME.fullmatch(text):
        raise ValueError("a rule's name is 1 to 32 letters, digits, spaces, `-` and `_`")
    return text


def _check_wildcards(text: str) -> str:
    """Check what a header value is compared with: no regular expression, which can run for ever."""
    if not text.strip() or len(text) > 64 or "\\" in text or not text.isprintable():
        raise ValueError("write 1 to 64 printable characters without backslash; `*` and `?` match")
    return text.strip()


RuleName = Annotated[str, AfterValidator(_check_name)]
Wildcards = Annotated[str, AfterValidator(_check_wildcards)]
"""A value in which `*` stands for any characters and `?` for one, as in C-FIND; case is one."""
Modality = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
BundleChoice = Literal["a", "b", "split"]
Kinds = tuple[Kind, ...]


class RuleSettings(Section):
    """One rule: conditions that must all hold, and what is done where they do."""

    name: RuleName
    called_aet: tuple[AeTitle, ...] = ()
    peers: tuple[str, ...] = ()
    hours: tuple[Hours, ...] = ()
    modalities: tuple[Modality, ...] = ()
    institution: tuple[Wildcards, ...] = ()
    station: tuple[Wildcards, ...] = ()
    body_part: tuple[Wildcards, ...] = ()
    draft: bool = True
    shadow: bool = False
    priority: Literal["routine", "stat"] = "routine"
    bundle: BundleChoice = "split"
    send: dict[str, Kinds] | None = None


def rule_faults(
    rules: tuple[RuleSettings, ...],
    *,
    ae_titles: Collection[str],
    peers: Collection[str],
    channels: Mapping[str, str],
    has_challenger: bool,
) -> Iterator[tuple[Place, str]]:
    """Yield what rules name and the rest of the configuration has not, each with its place.

    Parameters
    ----------
    channels
        The destinations that are no peers, each with its address; empty where it has none.
    """
    names = [rule.name for rule in rules]
    for number, rule in enumerate(rules):
        here = (number,)
        if rule.name in names[:number]:
            yield (*here, "name"), f"another rule is called {rule.name}"
        for place, title in enumerate(rule.called_aet):
            if title not in ae_titles:
                yield (*here, "called_aet", place), f"{title} is none of node.ae_titles"
        for place, name in enumerate(rule.peers):
            if name not in peers:
                yield (*here, "peers", place), f"there is no peer {name}"
        if rule.bundle == "b" and not has_challenger:
            yield (*here, "bundle"), "there is no second bundle: set engine.challenger"
        for name, kinds in (rule.send or {}).items():
            yield from _send_faults((*here, "send", name), name, kinds, peers, channels)


def _send_faults(
    here: Place, name: str, kinds: Kinds, peers: Collection[str], channels: Mapping[str, str]
) -> Iterator[tuple[Place, str]]:
    known = ", ".join([*peers, *channels])
    if name not in peers and name not in channels:
        yield here, f"there is no destination {name}; there are {known}"
    elif name in channels and not channels[name]:
        key = "host" if name == "hl7" else "url"
        yield here, f"{name} has no address: set outputs.{name}.{key}"
    for place, kind in enumerate(kinds):
        if kind not in kinds_for(name):
            yield (*here, place), f"{name} takes {', '.join(kinds_for(name))}"
