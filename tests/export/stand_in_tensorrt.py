"""A stand-in for TensorRT's runtime: a plan is an ONNX graph, memory is reached by its address.

It holds the backend to what TensorRT demands: every tensor has an address before a run, shapes are
set beforehand, a cache comes out where it went in, and no profile gets more than it was built for.
"""

import ctypes
from types import SimpleNamespace

import numpy as np

from tests.engine.exact import exact_session

__version__ = "11.4"
KINDS = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}
DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64}


class ILogger:
    """What a log is made of."""

    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Runtime:
    """Loads plans."""

    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        return Engine(plan)


class Engine:
    """One graph."""

    def __init__(self, plan):
        self.session = exact_session(plan)
        ends = [(one, "INPUT") for one in self.session.get_inputs()]
        ends += [(one, "OUTPUT") for one in self.session.get_outputs()]
        self.ends = {one.name: (mode, KINDS[one.type], one.shape) for one, mode in ends}
        self.num_io_tensors = len(self.ends)

    def get_tensor_name(self, place):
        return list(self.ends)[place]

    def get_tensor_mode(self, name):
        return SimpleNamespace(name=self.ends[name][0])

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name=self.ends[name][1])

    def is_shape_inference_io(self, name):
        return name == "logits_from"

    def create_execution_context(self):
        return Context(self)


class Context:
    """One way to run a graph."""

    def __init__(self, engine):
        self.engine, self.addresses = engine, {}
        self.shapes = {"logits_from": (1,)} if "logits_from" in engine.ends else {}

    def set_optimization_profile_async(self, profile, stream):
        self.profile = profile

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def get_tensor_shape(self, name):
        batch = next(iter(self.shapes[one] for one in self.shapes if one != "logits_from"))[0]
        if name != "logits":
            return [batch, *self.engine.ends[name][2][1:]]
        start = int(self.seen("logits_from", (1,))[0])
        return [batch, self.shapes["input_ids"][1] - start, self.engine.ends[name][2][2]]

    def seen(self, name, shape):
        """Return the memory of a tensor."""
        dtype = np.dtype(DTYPES[self.engine.ends[name][1]])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    def execute_async_v3(self, stream):
        self.check_profile()
        given = {name: self.seen(name, shape).copy() for name, shape in self.shapes.items()}
        names = [name for name, end in self.engine.ends.items() if end[0] == "OUTPUT"]
        for name, value in zip(names, self.engine.session.run(names, given), strict=True):
            if name.startswith("present_"):
                assert self.addresses[name] == self.addresses[name.replace("present", "past")]
            self.seen(name, value.shape)[...] = value
        return True

    def check_profile(self):
        """Refuse what no profile was built for."""
        if "input_ids" not in self.shapes:
            return
        num_rows, width = self.shapes["input_ids"]
        assert num_rows == 1 if self.profile == 0 else (num_rows <= 32 and width <= 8)
