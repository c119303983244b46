"""From judged candidates to preferences: best against worst, ties dropped, every drop counted.

A pair is words only: the film's identity, the prompt's words and two texts with their rewards. No
token id stands in it, so one table serves models with other tokenizers (the published pair files
are bound to one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.config import PreferencesSection
from training.preferences.judges import Judge, Rewards
from training.preferences.prompted import Prompted
from training.preferences.sampling import Candidates

MIN_JUDGED = 2
READER = "reader"
"""The judge of preferences that a person stated: rewards are 1 for taken and 0 for not."""
TIE, UNJUDGED, UNENDED, LONG = (
    "no candidate is better than another",
    "the judge had nothing to go by",
    "no candidate came to its end",
    "the chosen text is much longer",
)


@dataclass(frozen=True)
class Pair(Prompted):
    """Two reports of one film, the first preferred. ``rejected_ended``: the model ended it."""

    reference: str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    judge: str
    rejected_ended: bool = True


@dataclass(frozen=True)
class Single(Prompted):
    """One report of one film, wanted or not: what KTO learns from."""

    text: str
    desirable: bool
    reward: float
    judge: str
    ended: bool = True


@dataclass(frozen=True)
class Preferences:
    """Pairs, singles and, by reason, how many films gave none.

    ``rewards`` are those of all candidates: what a plot of the judge's spread shows.
    """

    pairs: list[Pair]
    singles: list[Single]
    dropped: dict[str, int] = field(default_factory=dict)
    rewards: list[list[float]] = field(default_factory=list)

    @property
    def dropped_share(self) -> float:
        """The share of films that gave no preference."""
        lost = sum(self.dropped.values())
        return lost / max(lost + len(self.singles) - len(self.pairs), 1)


def judged(
    candidates: Iterable[Candidates], name: str, judge: Judge, settings: PreferencesSection
) -> Preferences:
    """Return the pairs that a judge makes of candidates, in order."""
    films = list(candidates)
    texts = [text for film in films for text in film.texts]
    references = [film.reference for film in films for _ in film.texts]
    bounds = np.cumsum([len(film.texts) for film in films])[:-1]
    rewards = np.split(judge(texts, references), bounds) if films else []
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for film, own in zip(films, rewards, strict=True):
        found = best_and_worst(film, own, name, settings)
        if isinstance(found, str):
            dropped[found] += 1
        else:
            pairs.append(found)
    singles = [single for pair in pairs for single in halves(pair)]
    return Preferences(pairs, singles, dict(dropped), [list(map(float, own)) for own in rewards])


def best_and_worst(
    film: Candidates, rewards: Rewards, judge: str, settings: PreferencesSection
) -> Pair | str:
    """Return the pair of one film, or why there is none.

    Candidates of which the judge can say nothing are passed over. A text that was cut off is never
    chosen: it would teach to go on without an end.
    """
    known = ~np.isnan(rewards)
    ended = known & np.asarray(film.ended, bool)
    if known.sum() < MIN_JUDGED:
        return UNJUDGED
    if not ended.any():
        return UNENDED
    best = int(np.argmax(np.where(ended, rewards, -np.inf)))
    worst = int(np.argmin(np.where(known, rewards, np.inf)))
    if rewards[best] - rewards[worst] <= settings.min_spread:
        return TIE
    chosen, rejected = film.texts[best], film.texts[worst]
    if too_long(chosen, rejected, settings.max_length_ratio):
        return LONG
    return Pair(
        *film.prompt,
        film.reference,
        chosen,
        rejected,
        float(rewards[best]),
        float(rewards[worst]),
        judge,
        film.ended[worst],
    )


def too_long(chosen: str, rejected: str, limit: float | None) -> bool:
    """Tell whether a chosen text has more than ``limit`` times the words of the rejected one."""
    return limit is not None and len(chosen.split()) > limit * max(len(rejected.split()), 1)


def halves(pair: Pair) -> Sequence[Single]:
    """Return a pair as two texts, the one wanted and the other not."""
    return (
        Single(*pair.prompt, pair.chosen, True, pair.chosen_reward, pair.judge),
        Single(*pair.prompt, pair.rejected, False, pair.rejected_reward, pair.judge,
               pair.rejected_ended),
    )  # fmt: skip
