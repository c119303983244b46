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


def radgraph_scorer(weights: Path) -> Any:
    """Return the scorer of RadGraph-XL rewards: simple, partial, complete."""
    module = importlib.import_module("radgraph")
    return module.F1RadGraph(
        reward_level="all", model_type="radgraph-xl", model_cache_dir=str(weights)
    )


def radgraph(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return the mean RadGraph-XL rewards."""
    means = radgraph_scorer(weights)(hyps=predicted, refs=reference)[0]
    return dict(zip(("simple", "partial", "complete"), map(float, means), strict=True))


def radgraph_each(weights: Path, predicted: Texts, reference: Texts) -> list[float]:
    """Return the partial RadGraph-XL reward of each report, the usual one of the three."""
    each = radgraph_scorer(weights)(hyps=predicted, refs=reference)[1]
    return [float(one) for one in each[1]]


def green_each(weights: Path, predicted: Texts, reference: Texts) -> list[float]:
    """Return the judge's score of each report, NaN where it left one without."""
    module = importlib.import_module("green_score")
    cpu = not importlib.import_module("torch").cuda.is_available()
    judge = module.GREEN(str(weights), cpu=cpu, compute_summary_stats=False)
    found = judge(reference, predicted)[2]
    return [float("nan") if one is None else float(one) for one in found]


def green(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return the mean of the judge's scores and how many reports it left without one."""
    scores = green_each(weights, predicted, reference)
    valid = [one for one in scores if one == one]
    return {
        "mean": sum(valid) / len(valid) if valid else float("nan"),
        "without a score": float(len(scores) - len(valid)),
    }


def bertscore_each(weights: Path, predicted: Texts, reference: Texts) -> list[float]:
    """Return BERTScore F1 of each report, at the layer that its package knows for the model.

    A model of which the package knows nothing is read at its last layer.
    """
    module = importlib.import_module("bert_score")
    layers: dict[str, int] = importlib.import_module("bert_score.utils").model2layers
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    layer = layers.get(config.get("_name_or_path", ""), config["num_hidden_layers"])
    found = module.score(predicted, reference, model_type=str(weights), num_layers=layer)[2]
    return [float(one) for one in found]


def bertscore(weights: Path, predicted: Texts, reference: Texts) -> Scores:
    """Return the mean BERTScore F1, not rescaled."""
    scores = bertscore_each(weights, predicted, reference)
    return {"F1": sum(scores) / len(scores)}


METRICS: dict[str, Callable[[Path, Texts, Texts], Scores]] = {
    "chexbert": chexbert,
    "radgraph": radgraph,
    "green": green,
    "bertscore": bertscore,
}
EACH: dict[str, Callable[[Path, Texts, Texts], list[float]]] = {
    "radgraph": radgraph_each,
    "green": green_each,
    "bertscore": bertscore_each,
}
"""Metrics that can tell two reports apart: one value a report."""


def main(request_path: Path, answer_path: Path) -> None:
    """Answer one request file: versions, or scores of a metric."""
    request: dict[str, Any] = json.loads(request_path.read_text(encoding="utf-8"))
    if "versions" in request:
        answer: dict[str, Any] = dict(versions(request["versions"]))
    else:
        texts = Path(request["weights"]), request["predicted"], request["reference"]
        if request["each"]:
            answer = {"each": EACH[request["metric"]](*texts)}
        else:
            answer = dict(METRICS[request["metric"]](*texts))
    answer_path.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    # the neighbours of this file are ours and must not pass for the package's modules
    sys.path.pop(0)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
