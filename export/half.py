"""A bundle's language model as a graph in half precision: what TensorRT makes a plan of."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.backends.half import folded
from engine.backends.initializers import read_graph
from export.graph import PROTOBUF_LIMIT, stored_bytes


def half_graph(path: Path) -> onnx.ModelProto:
    """Return a language model's graph in float16: weights, what is computed, and the caches."""
    made = folded(read_graph(path))
    model = onnx.load(path, load_external_data=False)
    nodes = []
    for node in model.graph.node:
        result = node.output[0]
        if result in made.looked_up:
            kind, inputs = "Gather", list(made.looked_up[result])
            nodes.append(helper.make_node(kind, inputs, [result], name=node.name, axis=0))
        elif result not in made.gone:
            nodes.append(node)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    weights = [numpy_helper.from_array(values, name) for name, values in made.weights.items()]
    ends = list(model.graph.input), list(model.graph.output)
    graph = helper.make_graph(nodes, model.graph.name, *ends, weights)
    half = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    if stored_bytes(half) < PROTOBUF_LIMIT:  # the checker reads no more than one message
        onnx.checker.check_model(half)
    return half
