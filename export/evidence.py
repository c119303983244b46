"""The classifier's evidence map: where on the film each finding's logit comes from.

The network pools its last feature maps by their mean and applies one linear layer, so the logit
of a finding is the mean over the cells of ``scale * w . maps[cell]``, plus a constant: class
activation mapping (arXiv 1512.04150, section 2) is exact here. The graph gets that product as one
more output; nothing else of it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engine.bundle import MANIFEST, open_bundle, sha256_of
from engine.findings import FINDINGS
from export.errors import ExportError

OUTPUT = "evidence"
FINDINGS_OUTPUT = "p_findings"


class GraphUnknown(ExportError):
    """The classifier is not a mean-pooled network with a linear head."""

    default_hint = "export the bundle again with `cxr-export bundle`"


def add_evidence(model: onnx.ModelProto) -> None:
    """Add the output ``evidence`` [B, 14, H, W] to a classifier graph, in place.

    Raises
    ------
    GraphUnknown
        The findings do not come from pooled maps through one linear layer.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    calibrated = _first(made_by, FINDINGS_OUTPUT, "Sigmoid")
    scaled = _first(made_by, calibrated, "Add")
    linear = _first(made_by, scaled, "Mul")
    scale = _node(made_by, scaled, "Mul").input[1]
    gemm = _node(made_by, linear, "Gemm")
    maps = _first(made_by, gemm.input[0], "ReduceMean")
    shape = numpy_helper.from_array(np.array([len(FINDINGS), 1, 1], np.int64), "evidence_shape")
    model.graph.initializer.append(shape)
    model.graph.node.extend(
        [
            helper.make_node(
                "Einsum", [gemm.input[1], maps], ["evidence_raw"], equation="fc,bchw->bfhw"
            ),
            helper.make_node("Reshape", [scale, "evidence_shape"], ["evidence_scale"]),
            helper.make_node("Mul", ["evidence_raw", "evidence_scale"], [OUTPUT]),
        ]
    )
    dims: list[str | int | None] = ["batch", len(FINDINGS), "rows", "columns"]
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, dims))
    onnx.checker.check_model(model)


def explain_bundle(directory: Path, version: str) -> str:
    """Add the evidence map to a bundle that lacks it; return the digest of the new bundle.

    Raises
    ------
    ExportError
        The bundle has one already, or its classifier is another network.
    BundleError
        The bundle is not whole.
    """
    bundle = open_bundle(directory)
    path = bundle.path("classifier")
    model = onnx.load(path)
    if any(output.name == OUTPUT for output in model.graph.output):
        raise ExportError(f"{directory} has an evidence map already")
    add_evidence(model)
    onnx.save(model, path)
    entry = bundle.manifest["files"]["classifier"]
    entry |= {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    manifest = bundle.manifest | {"version": version}
    (directory / MANIFEST).write_text(
        json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return open_bundle(directory).digest


def _node(made_by: Mapping[str, NodeProto], name: str, kind: str) -> NodeProto:
    node = made_by.get(name)
    if node is None or node.op_type != kind:
        found = "nothing" if node is None else node.op_type
        raise GraphUnknown(f"{name} comes from {found}, not from {kind}")
    return node


def _first(made_by: Mapping[str, NodeProto], name: str, kind: str) -> str:
    """Return the first input of the node of a kind that makes a value."""
    return str(_node(made_by, name, kind).input[0])
