"""Preferences of a run: sample once, judge as often as wanted.

``RUN/preferences/candidates.jsonl`` holds what was sampled, ``RUN/preferences/JUDGE/`` what a judge
made of it. Sampling takes long and resumes; judging by our own judges takes seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.pipeline import Engine
from training.config import PreferencesSection
from training.errors import PreferenceError
from training.preferences import feedback, plots, table
from training.preferences.candidates_file import CandidatesFile
from training.preferences.judges import Judge
from training.preferences.pairs import READER, Preferences, judged
from training.preferences.sampling import Candidates, Sampler
from training.progress import bar
from training.stages import Run
from training.vqa.phrasings import digest

FOLDER, CANDIDATES = "preferences", "candidates.jsonl"


def folder(run: Run, judge: str = "") -> Path:
    """Return the folder of a run's preferences, or of one judge's."""
    return run.run_dir / FOLDER / judge


def candidates_of(run: Run) -> CandidatesFile:
    """Return the file of a run's candidates."""
    return CandidatesFile(folder(run) / CANDIDATES)


def films_asked(run: Run, limit: int) -> NDArray[np.int64]:
    """Return the rows of training films to sample: one a study, in an order that hashes fix.

    Another limit takes more or fewer of the same order.
    """
    films = run.catalog.films
    first: dict[str, int] = {}
    for row in run.reported("train").tolist():
        first.setdefault(films[row].study_id, row)
    rows = sorted(first.values(), key=lambda row: digest(films[row].image_id, FOLDER))
    return np.asarray(rows[: limit or None], np.int64)


def settings_of(engine: Engine, settings: PreferencesSection, seed: int) -> dict[str, Any]:
    """Return what decides the samples of a film."""
    return {
        "bundle": engine.digest,
        "backend": engine.backend.name,
        "num_samples": settings.num_samples,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": seed,
    }


def sample(run: Run, engine: Engine, limit: int = 0) -> CandidatesFile:
    """Sample the training films of a run; those that have been sampled are not asked again.

    Raises
    ------
    PreferenceError
        The samples at hand are another model's.
    """
    settings = run.recipe.preferences
    found = candidates_of(run)
    found.begin(settings_of(engine, settings, run.recipe.seed))
    known = {one.image_id for one in found}
    films = run.catalog.films
    rows = films_asked(run, limit).tolist()
    left = [row for row in rows if films[row].image_id not in known]
    sampler = Sampler(run, engine, settings)
    with bar("sampling", len(rows)) as progress:
        progress.advance(progress.task_ids[0], len(rows) - len(left))
        fresh = sampler.each(left)
        while part := list(islice(fresh, settings.films_per_part)):
            found.append(part)
            progress.advance(progress.task_ids[0], len(part))
    return found


def prefer(run: Run, name: str, judge: Judge) -> Preferences:
    """Judge a run's candidates; write pairs, singles, statistics and plots."""
    candidates = list(candidates_of(run))
    check_split(run, candidates)
    made = judged(candidates, name, judge, run.recipe.preferences)
    output = folder(run, name)
    plots.distributions(made, name, output / "rewards.png")
    store(made, {"made_by": candidates_of(run).made_by(), **statistics_of(made, name)}, output)
    return made


def of_readers(run: Run, engine: Engine, path: Path) -> Preferences:
    """Turn what readers made of drafts into preferences; write them as a judge's.

    Raises
    ------
    PreferenceError
        The file is no export, or nothing in it can be learned from.
    """
    verdicts = feedback.read(path)

    def context(row: int) -> str:
        return engine.context(run.film(row))

    made = feedback.preferred(verdicts, run.catalog.films, context)
    if not made.singles:
        raise PreferenceError(
            f"none of {len(verdicts)} verdicts can be learned from: {made.dropped}",
            hint="films of this run must carry their SOP Instance UID as id in manifest.jsonl",
        )
    bundles = Counter(one.bundle for one in verdicts)
    store(made, {"bundles": bundles, **statistics_of(made, READER)}, folder(run, READER))
    return made


def store(made: Preferences, statistics: dict[str, Any], output: Path) -> None:
    """Write tables, statistics and what lengths look like."""
    table.write(made, statistics, output)
    plots.lengths(made.pairs, output / "lengths.png")


def check_split(run: Run, candidates: Sequence[Candidates]) -> None:
    """Refuse candidates on films that are not this run's training films."""
    train = {film.image_id for film in run.catalog.films if film.split == "train"}
    strange = sum(one.image_id not in train for one in candidates)
    if strange:
        raise PreferenceError(
            f"{strange} candidates are not on training films of this run",
            hint="preferences on validation films would make every later figure worthless",
        )


def statistics_of(made: Preferences, name: str) -> dict[str, Any]:
    """Return what a set of preferences is like."""
    words = [[len(text.split()) for text in (p.chosen, p.rejected)] for p in made.pairs]
    rewards = [[p.chosen_reward, p.rejected_reward] for p in made.pairs]
    empty = [float("nan")] * 2
    mean_words = np.mean(words, 0) if words else empty
    mean_rewards = np.mean(rewards, 0) if rewards else empty
    return {
        "judge": name,
        "pairs": len(made.pairs),
        "singles": len(made.singles),
        "dropped": made.dropped,
        "dropped_share": made.dropped_share,
        "mean_reward_chosen": float(mean_rewards[0]),
        "mean_reward_rejected": float(mean_rewards[1]),
        "mean_words_chosen": float(mean_words[0]),
        "mean_words_rejected": float(mean_words[1]),
    }
