"""What a judge's rewards look like, and whether it prefers long texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas

from training.evaluate.plots import DPI, WIDTH_IN, save
from training.preferences.pairs import Pair, Preferences

NUM_BINS = 30


def distributions(made: Preferences, judge: str, path: Path) -> None:
    """Draw the rewards of all candidates, of the chosen and rejected, and the spread a film."""
    canvas = Canvas(figsize=(WIDTH_IN, 2.8), dpi=DPI)
    rewards, spread = canvas.subplots(1, 2)
    every = [one for own in made.rewards for one in own if np.isfinite(one)]
    sets = {
        "all candidates": every,
        "chosen": [pair.chosen_reward for pair in made.pairs],
        "rejected": [pair.rejected_reward for pair in made.pairs],
    }
    for name, values in sets.items():
        rewards.hist(values, bins=NUM_BINS, histtype="step", density=True, label=name)
    rewards.set_xlabel(f"reward ({judge})")
    rewards.set_ylabel("density")
    rewards.legend()
    known = ([one for one in own if np.isfinite(one)] for own in made.rewards)
    gaps = [max(own) - min(own) for own in known if len(own) > 1]
    spread.hist(gaps, bins=NUM_BINS, color="tab:grey")
    spread.set_xlabel("best minus worst of a film")
    spread.set_ylabel(f"films ({100 * made.dropped_share:.1f} % give no pair)")
    save(canvas, path)


def lengths(pairs: Sequence[Pair], path: Path) -> None:
    """Draw by how many words the chosen text is longer, against by how much it is better."""
    canvas = Canvas(figsize=(WIDTH_IN, 2.8), dpi=DPI)
    histogram, cloud = canvas.subplots(1, 2)
    longer = [len(pair.chosen.split()) - len(pair.rejected.split()) for pair in pairs]
    better = [pair.chosen_reward - pair.rejected_reward for pair in pairs]
    histogram.hist(longer, bins=NUM_BINS, color="tab:blue")
    mean = float(np.mean(longer)) if longer else 0.0
    histogram.axvline(mean, color="black", linewidth=1)
    histogram.set_xlabel(f"words: chosen minus rejected (mean {mean:+.1f})")
    histogram.set_ylabel("pairs")
    cloud.plot(longer, better, ".", markersize=2, alpha=0.4)
    cloud.set_xlabel("words: chosen minus rejected")
    cloud.set_ylabel("reward: chosen minus rejected")
    save(canvas, path)
