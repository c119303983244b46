"""Multiple choice put to a bundle: predictions first, then accuracy by slice against chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.pipeline import Engine
from engine.pixels import render_file
from training.evaluate.bootstrap import Figure
from training.evaluate.vqa import rate
from training.progress import bar
from training.vqa.chexbench import UNPARSABLE, Item, choice


@dataclass(frozen=True)
class Chosen:
    """An item with what the model said and the option read from it (-1: unparsable, so wrong)."""

    item: Item
    prediction: str
    option: int

    @property
    def is_correct(self) -> bool:
        """Tell whether the right option was named."""
        return self.option == self.item.answer


def ask_all(items: Sequence[Item], engine: Engine) -> list[Chosen]:
    """Put every item to a bundle, each film through the bundle's own transform."""
    found = []
    with bar("items", len(items)) as progress:
        for item in items:
            image = render_file(Path(item.image_path), engine.transform)
            prediction = engine.ask(image, item.prompt()).text
            found.append(Chosen(item, prediction, choice(item, prediction)))
            progress.advance(progress.task_ids[0])
    return found


def figures(chosen: Sequence[Chosen]) -> dict[str, Figure]:
    """Return accuracy, chance and the share of unparsable answers by slice, over all films."""
    found = {}
    for name in sorted({one.item.slice for one in chosen}):
        members = [one for one in chosen if one.item.slice == name]
        films = [one.item.image_path for one in members]
        columns = {
            "accuracy": [float(one.is_correct) for one in members],
            "chance": [1 / len(one.item.options) for one in members],
            "unparsable": [float(one.option == UNPARSABLE) for one in members],
        }
        for what, values in columns.items():
            found[f"{name}, {what}"] = rate(np.asarray(values), films)
    return found


def evaluate_chexbench(
    items: Sequence[Item], bundle_dir: Path | None, output: Path
) -> dict[str, Figure]:
    """Ask a bundle all items; write ``predictions.parquet``, then ``metrics.json``.

    Raises
    ------
    BundleError, PixelError
        The bundle is refused, or a film cannot be read.
    """
    engine = Engine.load(bundle_dir)
    chosen = ask_all(items, engine)
    output.mkdir(parents=True, exist_ok=True)
    rows = [
        one.item.model_dump()
        | {"prediction": one.prediction, "option": one.option, "correct": one.is_correct}
        for one in chosen
    ]
    pq.write_table(pa.Table.from_pylist(rows), output / "predictions.parquet")
    found = figures(chosen)
    stored = {
        "dataset": "own items in CheXbench's format; unparsable answers are wrong",
        "bundle": engine.digest,
    } | {name: asdict(figure) for name, figure in found.items()}
    (output / "metrics.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return found
