"""Preferences of readers: the lines that ``cxr-node feedback export`` prints, as pairs and singles.

An edit prefers the corrected text to the draft; an accepted draft is wanted and a rejected one is
not, each alone, which is what KTO learns from. A line names its film by the one-way key of its SOP
Instance UID, so films must carry that UID as ``id`` in the manifest of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from engine.keys import key
from training.catalog import Film
from training.errors import PreferenceError
from training.json_lines import read_records
from training.preferences.pairs import READER, Pair, Preferences, Single, halves
from training.preferences.prompted import prompted
from training.sections import Report, mentions_prior, sentences

UNKNOWN, HELD_OUT, EMPTY, HISTORY, REVISED = (
    "the film is not in this run",
    "the film is a validation film",
    "a text is empty",
    "the text speaks of another examination",
    "a later verdict on the same draft",
)
TAKEN, REFUSED = 1.0, 0.0


class Sections(BaseModel):
    """The sentences of a draft."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    findings: tuple[str, ...]
    impression: tuple[str, ...]

    @property
    def text(self) -> str:
        """The report as a model is taught to write it."""
        return Report(" ".join(self.findings), " ".join(self.impression)).text


class Verdict(BaseModel):
    """One line of an export; see docs/how-to/pages.md."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: str
    film: str
    generation: int
    verdict: Literal["accept", "edit", "reject"]
    bundle: str
    draft: Sections
    edited: Sections | None = None
    at: float


def read(path: Path) -> list[Verdict]:
    """Read an export.

    Raises
    ------
    PreferenceError
        There is none, or a line is no verdict; the line is named.
    """
    if not path.is_file():
        raise PreferenceError(
            f"no feedback at {path}", hint="write it with `cxr-node feedback export > FILE`"
        )
    line_is = "it must be a line as `cxr-node feedback export` prints it"
    return read_records(Verdict, path, PreferenceError, "a verdict of a reader", line_is)


def preferred(
    verdicts: Iterable[Verdict], films: list[Film], context: Callable[[int], str]
) -> Preferences:
    """Return what readers prefer; of several verdicts on a draft the last one counts.

    Parameters
    ----------
    context
        A film's place in ``films`` -> the words that its prompt holds beside it.
    """
    given = list(verdicts)
    dropped: Counter[str] = Counter()
    places = {key(film.image_id): place for place, film in enumerate(films)}
    pairs: list[Pair] = []
    singles: list[Single] = []
    for one in last_of_each(given, dropped):
        reason = why_not(one, films, places)
        if reason:
            dropped[reason] += 1
            continue
        place = places[one.film]
        if one.edited is not None:
            pair = as_pair(one, one.edited, films[place], context(place))
            pairs.append(pair)
            singles += halves(pair)
        else:
            singles.append(as_single(one, films[place], context(place)))
    return Preferences(pairs, singles, dict(dropped))


def last_of_each(verdicts: Iterable[Verdict], dropped: Counter[str]) -> list[Verdict]:
    """Return the last verdict on each draft, the oldest draft first; count the others."""
    last: dict[tuple[str, int], Verdict] = {}
    for one in sorted(verdicts, key=lambda verdict: verdict.at):
        if (one.study, one.generation) in last:
            dropped[REVISED] += 1
        last[one.study, one.generation] = one
    return list(last.values())


def why_not(one: Verdict, films: list[Film], places: Mapping[str, int]) -> str:
    """Return why a verdict cannot be learned from, empty where it can.

    A draft that is only refused may say anything: what is wanted may not tell of films that the
    model is not shown.
    """
    wanted = one.edited or (one.draft if one.verdict == "accept" else None)
    texts = [one.draft.text, *([one.edited.text] if one.edited else [])]
    checks = (
        (UNKNOWN, one.film not in places),
        (HELD_OUT, one.film in places and films[places[one.film]].split != "train"),
        (EMPTY, not all(texts)),
        (HISTORY, wanted is not None and any(map(mentions_prior, sentences(wanted.text)))),
    )
    return next((reason for reason, holds in checks if holds), "")


def as_pair(one: Verdict, edited: Sections, film: Film, context: str) -> Pair:
    """Return an edit as a pair."""
    return Pair(
        *prompted(film, context),
        reference=edited.text,
        chosen=edited.text,
        rejected=one.draft.text,
        chosen_reward=TAKEN,
        rejected_reward=REFUSED,
        judge=READER,
    )


def as_single(one: Verdict, film: Film, context: str) -> Single:
    """Return an accepted or rejected draft."""
    accepted = one.verdict == "accept"
    return Single(
        *prompted(film, context),
        text=one.draft.text,
        desirable=accepted,
        reward=TAKEN if accepted else REFUSED,
        judge=READER,
    )
