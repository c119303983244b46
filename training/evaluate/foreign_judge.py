"""Runs a published report metric inside the environment that it was written for.

Started as a file by `training.evaluate.adapters`, with an interpreter that need not be ours: the
standard library and the metric's own package only. Reads pairs as JSON, writes scores as JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Texts = list[str]
Scores = dict[str, float]


def versions(names: list[str]) -> dict[str, str | None]:
    """Return the installed version of Python and of each distribution, None where absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def chexbert(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return F1CheXbert over 14 and 5 findings, averaged as its package does."""
    module: Any = importlib.import_module("f1chexbert.f1chexbert")
    module.CACHE_DIR = str(weights)
    _, _, all_findings, five = module.F1CheXbert()(hyps=predicted, refs=reference)
    return {
        f"{average} F1, {name}": float(report[f"{average} avg"]["f1-score"])
        for name, report in (("14 findings", all_findings), ("5 findings", five))
        for average in ("micro", "macro", "weighted")
    }


def radgraph(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return the mean RadGraph-XL rewards: simple, partial, complete."""
    module = importlib.import_module("radgraph")
    scorer = module.F1RadGraph(
        reward_level="all", model_type="radgraph-xl", model_cache_dir=str(weights)
    )
    means = scorer(hyps=predicted, refs=reference)[0]
    return dict(zip(("simple", "partial", "complete"), map(float, means), strict=True))


def green(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return the mean of the judge's scores and how many reports it left without one."""
    module = importlib.import_module("green_score")
    cpu = not importlib.import_module("torch").cuda.is_available()
    judge = module.GREEN(str(weights), cpu=cpu, compute_summary_stats=False)
    scores = [None if one is None else float(one) for one in judge(reference, predicted)[2]]
    valid = [one for one in scores if one is not None]
    return {
        "mean": sum(valid) / len(valid) if valid else float("nan"),
        "without a score": float(len(scores) - len(valid)),
    }


METRICS: dict[str, Callable[[Path, Texts, Texts], Scores]] = {
    "chexbert": chexbert,
    "radgraph": radgraph,
    "green": green,
}


def main(request_path: Path, answer_path: Path) -> None:
    """Answer one request file: versions, or scores of a metric."""
    request: dict[str, Any] = json.loads(request_path.read_text(encoding="utf-8"))
    if "versions" in request:
        answer: dict[str, Any] = dict(versions(request["versions"]))
    else:
        metric = METRICS[request["metric"]]
        weights = Path(request["weights"])
        answer = dict(metric(weights, request["predicted"], request["reference"]))
    answer_path.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    # the neighbours of this file are ours and must not pass for the package's modules
    sys.path.pop(0)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
