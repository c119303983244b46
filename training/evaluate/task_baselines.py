"""Answers that cost nothing: by chance, the commonest, and the nearest training film's.

Each is what a model must beat. All but the last never look at the film; all are replies in words,
read and scored as the model's are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from engine.nets.load import load_classifier
from engine.tasks.answers import Answer
from engine.tasks.registry import TASKS
from training.evaluate.baselines import unit_rows
from training.evaluate.judge import Floats, judge
from training.stages import Run
from training.tasks.table import Example
from training.vqa.phrasings import digest

RANDOM, MAJORITY, NEAREST = "random", "majority", "nearest neighbour"
Taught = Mapping[tuple[str, ...], Sequence[Example]]


def is_choice(row: Example) -> bool:
    """Tell whether a row asks for one of its options."""
    return TASKS[row.task].answer is Answer.CHOICE


def by_question(rows: Sequence[Example]) -> Taught:
    """Return training rows by task, and by task and what is asked about."""
    found: dict[tuple[str, ...], list[Example]] = {}
    for row in rows:
        for group in ((row.task,), (row.task, row.finding)):
            found.setdefault(group, []).append(row)
    return found


def bare(text: str) -> str:
    """Return a text as options are compared: without case and final stop."""
    return text.strip(" .").casefold()


def by_chance(asked: Example, taught: Taught) -> str:
    """Return an option, or one of the answers that training knows, each as likely."""
    place = digest(asked.study_id, asked.task, asked.instruction, RANDOM)
    if is_choice(asked):
        return asked.options[place % len(asked.options)]
    known: dict[str, str] = {}
    for row in taught.get((asked.task,), ()):
        known.setdefault(row.answer_key or row.response, row.response)
    responses = [known[key] for key in sorted(known)]
    return responses[place % len(responses)] if responses else ""


def by_majority(asked: Example, taught: Taught) -> str:
    """Return the commonest training answer, of options the one that is right most often."""
    if is_choice(asked):
        right = Counter(
            row.response.strip(" .").casefold() for row in taught.get((asked.task,), ())
        )
        return max(asked.options, key=lambda option: right[option.strip(" .").casefold()])
    rows = taught.get((asked.task, asked.finding)) or taught.get((asked.task,), ())
    counts = Counter(row.answer_key or row.response for row in rows)
    if not counts:
        return ""
    commonest = min(counts, key=lambda key: (-counts[key], key))
    return next(row.response for row in rows if (row.answer_key or row.response) == commonest)


class Neighbours:
    """The training films most alike a film, by the classifier's features (cosine)."""

    def __init__(self, run: Run, shown: Sequence[str], taught: Sequence[Example]) -> None:
        self.places = {film.image_id: row for row, film in enumerate(run.catalog.films)}
        known = sorted({row.image_ids[0] for row in taught if row.image_ids})
        self.known = [image for image in known if image in self.places]
        self.shown = {image: row for row, image in enumerate(dict.fromkeys(shown))}
        classifier = load_classifier(run.run_dir)

        def features(images: Sequence[str]) -> Floats:
            rows = [self.places[image] for image in images]
            return unit_rows(judge(classifier, np.asarray(run.images[rows])).features)

        found = bool(self.known and self.shown)
        self.alike = features(list(self.shown)) @ features(self.known).T if found else None

    def answer(self, asked: Example, taught: Taught) -> str:
        """Return the answer that the most alike film has to the same question, if any has one."""
        if not asked.image_ids or self.alike is None:
            return ""
        rows = taught.get((asked.task, asked.finding)) or taught.get((asked.task,), ())
        options = set(map(bare, asked.options))
        answers: dict[str, str] = {}
        for row in rows:
            if row.image_ids and (not is_choice(asked) or bare(row.response) in options):
                answers.setdefault(row.image_ids[0], row.response)
        alike = self.alike[self.shown[asked.image_ids[0]]]
        scored = [(alike[n], image) for n, image in enumerate(self.known) if image in answers]
        return answers[max(scored)[1]] if scored else ""
