"""From a reader's click on the page to weights that have learned from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.nets.checkpoints import newest
from node.app import Node
from node.cli import main
from node.redact import key
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for_state
from tests.node.web_client import Client, web_settings
from tests.training.conftest import base_dir, bundle_dir, films_dir, recipe, trained
from training import catalog, cli
from training.preferences import build, table
from training.stages import Run

__all__ = ["base_dir", "bundle_dir", "films_dir", "recipe", "trained"]
EDIT = {"findings": ["There is a small left pleural effusion."], "impression": ["Effusion."]}


def named_as(run: Run, uids: list[str], target: Path) -> Run:
    """Return a copy of a run whose first training films are the instances that were drafted."""
    shutil.copytree(run.run_dir, target)
    films = list(run.catalog.films)
    train = [row for row, film in enumerate(films) if film.split == "train"]
    for row, uid in zip(train, uids, strict=False):
        films[row] = replace(films[row], image_id=uid)
    catalog.write(catalog.Catalog(films, {}), target / "catalog.parquet")
    return Run(run.recipe, target)


def test_what_readers_do_on_the_page_is_learned(
    start_node: Callable[..., Node],
    tmp_path: Path,
    pacs: Pacs,
    trained: Any,
    bundle_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = start_node(web_settings(tmp_path, pacs.port))
    client = Client(node.settings.node.web.port)
    studies = [phantom(name) for name in ("edited", "rejected")]
    for ds in studies:
        send(node, ds)
        wait_for_state(node, ds, "DONE")
    forms: list[dict[str, Any]] = [
        {"verdict": "edit", "reason": ["omission"], **EDIT},
        {"verdict": "reject", "reason": ["false_finding"]},
    ]
    for ds, form in zip(studies, forms, strict=True):
        path = f"/studies/{key(ds.StudyInstanceUID)}/feedback"
        assert client.call("POST", path, form).status == 201

    config = tmp_path / "config.yaml"
    config.write_text(f"node: {{storage: {{root: {tmp_path / 'root'}}}}}")
    capsys.readouterr()
    assert main(["feedback", "export", "-c", str(config)]) == 0
    exported = tmp_path / "feedback.jsonl"
    exported.write_text(capsys.readouterr().out)

    run = named_as(trained, [ds.SOPInstanceUID for ds in studies], tmp_path / "run")
    settings = tmp_path / "recipe.yaml"
    settings.write_text(run.recipe.model_dump_json())
    common = ["--recipe", str(settings), "--run", str(run.run_dir)]
    options = ["--bundle", str(bundle_dir), "--feedback", str(exported)]
    assert cli.main(["preferences", *common, *options]) == 0

    folder = build.folder(run, "reader")
    (pair,) = table.read_pairs(folder)
    assert pair.image_id == studies[0].SOPInstanceUID
    assert pair.chosen == "Findings: There is a small left pleural effusion.\nImpression: Effusion."
    assert [one.desirable for one in table.read_singles(folder)] == [True, False, False]

    tune = ["--set=align.batch_size=4", "--set=align.watch=0", "--set=align.epochs=4"]
    learn = ["--method", "kto", "--preferences", str(folder), *tune]
    assert cli.main(["align", *common, *learn]) == 0
    assert newest(run.run_dir, "align/kto-0.1").values["preferences"] == len(studies)
