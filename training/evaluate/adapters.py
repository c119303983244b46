"""Published report metrics with weights of their own: CheXbert, RadGraph, GREEN, BERTScore.

Each loads from a local folder or says why it cannot; nothing is ever downloaded and no figure is
made up. Their packages pin versions of transformers and torch that training cannot live with, so
each runs under the interpreter that is named for it, in its own process, with the hub switched off.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.errors import TrainingError
from training.evaluate import foreign_judge

Scores = foreign_judge.Scores
Version = tuple[int, ...]

_JUDGE = Path(foreign_judge.__file__)
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True)
class Package:
    """What a metric needs: its distribution, versions below or equal to, files in its folder.

    A version limit is ``("<", (5,))`` or ``("==", (4, 40, 0))``, by distribution or "python".
    """

    distribution: str
    limits: Mapping[str, tuple[str, Version]]
    files: Sequence[str]


PACKAGES: dict[str, Package] = {
    "chexbert": Package(
        "f1chexbert",
        {"transformers": ("<", (5,))},
        ("chexbert.pth", "bert-base-uncased/config.json", "bert-base-uncased/vocab.txt"),
    ),
    "radgraph": Package(
        "radgraph",
        {"transformers": ("<", (5,))},
        ("radgraph-xl/config.json", "radgraph-xl/weights.th", "radgraph-xl/vocabulary"),
    ),
    "green": Package(
        "green-score",
        {
            "python": ("==", (3, 12, 1)),
            "torch": ("==", (2, 2, 2)),
            "transformers": ("==", (4, 40, 0)),
        },
        ("config.json", "tokenizer_config.json"),
    ),
    "bertscore": Package("bert-score", {}, ("config.json", "tokenizer_config.json")),
}
"""By metric. A base model that a package asks for by name stands in the folder under that name."""


@dataclass(frozen=True)
class Unavailable:
    """A metric that cannot be measured here, and why."""

    metric: str
    reason: str

    def __str__(self) -> str:
        return f"{self.metric}: not available ({self.reason})"


@dataclass(frozen=True)
class Adapter:
    """A metric whose package, versions and files are all there."""

    metric: str
    weights: Path
    python: Path
    versions: dict[str, str | None] = field(default_factory=dict)

    def score(self, predicted: Sequence[str], reference: Sequence[str]) -> Scores:
        """Return the metric's own figures for these reports, in order.

        Raises
        ------
        TrainingError
            The package fails; its last line is in the message.
        """
        answer = self._ask(predicted, reference, each=False)
        return {name: float(value) for name, value in answer.items()}

    def score_each(self, predicted: Sequence[str], reference: Sequence[str]) -> list[float]:
        """Return one value a report, NaN where the metric has none.

        Raises
        ------
        TrainingError
            The package fails, or the metric (chexbert) has no value for a single report.
        """
        return [float(value) for value in self._ask(predicted, reference, each=True)["each"]]

    def _ask(
        self, predicted: Sequence[str], reference: Sequence[str], *, each: bool
    ) -> dict[str, Any]:
        request = {
            "metric": self.metric,
            "each": each,
            "weights": str(self.weights.resolve()),
            "predicted": list(predicted),
            "reference": list(reference),
        }
        return _ask(self.python, request, self.weights)


def open_adapter(
    metric: str, weights: Path | None, python: Path | None = None
) -> Adapter | Unavailable:
    """Return a metric of `PACKAGES` ready to score, or the reason why it is not available.

    Parameters
    ----------
    weights
        Local folder with the files that `PACKAGES` names; None: not configured.
    python
        Interpreter that has the package; None: this one.
    """
    package = PACKAGES[metric]
    if weights is None:
        return Unavailable(metric, "no path to its weights is configured")
    absent = [name for name in package.files if not (weights / name).exists()]
    if absent:
        return Unavailable(metric, f"{weights} lacks {', '.join(absent)}")
    interpreter = python or Path(sys.executable)
    try:
        versions = _versions(interpreter, package, weights)
    except TrainingError as fault:
        return Unavailable(metric, str(fault))
    reason = conflict(package, versions)
    return (
        Unavailable(metric, reason) if reason else Adapter(metric, weights, interpreter, versions)
    )


def conflict(package: Package, versions: Mapping[str, str | None]) -> str:
    """Return why a package cannot run beside these versions, or nothing."""
    if versions.get(package.distribution) is None:
        return f"the package {package.distribution} is not installed"
    wrong = [
        f"{name} {versions.get(name) or 'is missing'}, it needs {relation}{_dotted(limit)}"
        for name, (relation, limit) in package.limits.items()
        if not _within(versions.get(name), relation, limit)
    ]
    return f"version conflict: {'; '.join(wrong)}" if wrong else ""


def _within(found: str | None, relation: str, limit: Version) -> bool:
    if found is None:
        return False
    numbers = tuple(int(part) for part in re.findall(r"\d+", found.partition("+")[0]))
    return numbers[: len(limit)] == limit if relation == "==" else numbers < limit


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _versions(python: Path, package: Package, folder: Path) -> dict[str, str | None]:
    names = [package.distribution, *(name for name in package.limits if name != "python")]
    found: dict[str, str | None] = _ask(python, {"versions": names}, folder)
    return found


def _ask(python: Path, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run the judge with a request in the folder of its weights; return its answer."""
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch, "request.json"), Path(scratch, "answer.json")
        question.write_text(json.dumps(request), encoding="utf-8")
        command = [str(python), str(_JUDGE), str(question), str(answer)]
        try:
            subprocess.run(
                command, cwd=folder, env={**os.environ, **_OFFLINE},
                check=True, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        except OSError as fault:
            raise TrainingError(f"{python} cannot be started: {fault.strerror}") from fault
        except subprocess.CalledProcessError as fault:
            last = (fault.stderr.strip().splitlines() or ["no message"])[-1]
            raise TrainingError(f"{python} failed: {last}") from fault
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found
