"""Which files of a parent bundle a run left as they are, so that they are copied, not written anew.

A run that goes on from a bundle (`cxr-train adopt`) need not train all of its networks. What it
did not train keeps its bytes and with them its hash: a new version then shows what is new in it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from engine.bundle import Bundle, open_bundle
from engine.nets.checkpoints import newest
from engine.nets.load import (
    CALIBRATION,
    CLASSIFIER,
    LANGUAGE_MODELS,
    TOKENIZER,
    TOKENIZER2,
    last_of,
)
from export.errors import ExportError

FIGURES_OF: Final[dict[str, tuple[str, ...]]] = {
    "classifier": ("classifier",),
    "guard": ("classifier",),
    "tokenizer": ("encoder", "decoder"),
}
"""Which networks an evaluation measures, where the language model is none of them."""


@dataclass(frozen=True)
class Kept:
    """What of a parent bundle stays: files by role, and figures of networks that are all kept.

    Of its guard the limits, of its cache the tokens.
    """

    files: dict[str, Path]
    guard: dict[str, float]
    max_length: int
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run_dir: Path, parent_dir: Path, stage: str | None = None) -> Self:
        """Compare a run with the bundle that it goes on from.

        Raises
        ------
        ExportError
            It goes on from another.
        """
        bundle = open_bundle(parent_dir)
        if not any(adopted(stamp, bundle) for stamp in stamps(run_dir, CLASSIFIER, TOKENIZER)):
            raise ExportError(
                f"{run_dir} does not go on from {bundle.name} {bundle.version}",
                hint="leave --parent out, or name the bundle that `cxr-train adopt` read",
            )
        files = {role: bundle.path(role) for role in untouched(run_dir, bundle, stage)}
        metrics = {
            name: figures
            for name, figures in bundle.manifest.get("metrics", {}).items()
            if name in FIGURES_OF and files.keys() >= set(FIGURES_OF[name])
        }
        return cls(files, dict(bundle.manifest["guard"]), bundle.cache.max_length, metrics)

    def has(self, *roles: str) -> bool:
        """Tell whether the files of all these roles stay."""
        return self.files.keys() >= set(roles)

    def copy(self, directory: Path) -> None:
        """Copy the files that stay; their names are the same in every bundle."""
        for path in self.files.values():
            shutil.copyfile(path, directory / path.name)


NOTHING = Kept({}, {}, 0)


def stamps(run_dir: Path, *stages: str) -> list[dict[str, Any]]:
    """Return the newest stamp of each stage."""
    return [newest(run_dir, stage).values for stage in stages]


def adopted(stamp: dict[str, Any], bundle: Bundle) -> bool:
    """Tell whether a checkpoint is a bundle's own, not trained since."""
    return stamp.get("adopted") == bundle.digest


def untouched(run_dir: Path, bundle: Bundle, stage: str | None = None) -> list[str]:
    """Return the roles whose networks a run has not trained."""
    coder = last_of(run_dir, TOKENIZER, TOKENIZER2)
    (stamp,) = stamps(run_dir, coder)
    same = {
        "language_model": stamps(run_dir, stage or last_of(run_dir, *LANGUAGE_MODELS)),
        "classifier": stamps(run_dir, CLASSIFIER, CALIBRATION),
        "decoder": [stamp],
        "encoder": [stamp],
    }
    if stamp["recipe"][coder].get("trained") == "decoder":
        # every code is as it was
        same["encoder"] = stamps(run_dir, TOKENIZER)
    return [role for role, found in same.items() if all(adopted(one, bundle) for one in found)]
