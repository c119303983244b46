"""The evidence map is added to a bundle of an earlier version, once, and nothing else changes."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest

from engine.bundle import DEMO, open_bundle
from engine.pipeline import Engine
from export.cli import main
from export.evidence import OUTPUT, GraphUnknown, add_evidence


@pytest.fixture
def earlier(tmp_path):
    """The demo bundle as it was before it could explain itself."""
    target = tmp_path / "bundle"
    shutil.copytree(DEMO, target)
    path = target / "classifier.onnx"
    model = onnx.load(path)
    graph = model.graph
    for node in [node for node in graph.node if any("evidence" in name for name in node.output)]:
        graph.node.remove(node)
    graph.output.remove(next(output for output in graph.output if output.name == OUTPUT))
    graph.initializer.remove(next(i for i in graph.initializer if i.name == "evidence_shape"))
    onnx.save(model, path)
    _restamp(target)
    return target


def _restamp(target):
    import json

    from engine.bundle import sha256_of

    manifest = json.loads((target / "bundle.json").read_text())
    manifest["files"]["classifier"]["sha256"] = sha256_of(target / "classifier.onnx")
    (target / "bundle.json").write_text(json.dumps(manifest))


def test_an_earlier_bundle_learns_to_explain_itself(earlier, capsys):
    image = np.zeros((1, 256, 256), np.float32)
    before = Engine.load(earlier)
    assert before.evidence(image) == {}
    assert main(["explain", "--bundle", str(earlier), "--version", "9.9"]) == 0
    after = Engine.load(earlier)
    assert (after.version, set(after.evidence(image))) == ("9.9", set(after.proven))
    assert after.findings(image) == before.findings(image)
    assert open_bundle(earlier).digest != before.digest


def test_it_is_added_once(earlier, capsys):
    verb = ["explain", "--bundle", str(earlier), "--version", "9.9"]
    assert main(verb) == 0
    assert main(verb) == 1
    assert "has an evidence map already" in capsys.readouterr().err


def test_another_kind_of_network_is_refused():
    graph = onnx.helper.make_graph([], "g", [], [])
    with pytest.raises(GraphUnknown, match="comes from nothing"):
        add_evidence(onnx.helper.make_model(graph))
