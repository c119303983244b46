"""A plan in memory: loaded, its weights put back where it was built without, ready to run.

Kernels that TensorRT-RTX compiles on first use are kept in a file beside the plans, so that only
the first start of a node waits for them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.backends.tensorrt_log import Log
from engine.backends.tensorrt_plan import Flavour
from engine.errors import BackendUnavailable, GenerationFault

log = logging.getLogger(__name__)

Weights = Mapping[str, NDArray[Any]]


@dataclass
class JitCache:
    """The file of compiled kernels; the full TensorRT compiles none and has none."""

    path: Path
    shared: Any = None
    num_bytes: int = 0

    def config_for(self, engine: Any, flavour: Flavour, *, is_recorded: bool) -> Any:
        """Return the runtime configuration of a context, None for a flavour without one.

        What is recorded is never compiled again, so its kernels must be the best from the start.
        """
        if not hasattr(flavour.module, "IRuntimeCache"):
            return None
        config = engine.create_runtime_config()
        strategies = flavour.module.DynamicShapesKernelSpecializationStrategy
        chosen = strategies.EAGER if is_recorded else strategies.LAZY
        config.dynamic_shapes_kernel_specialization_strategy = chosen
        if self.shared is None:
            self.shared = config.create_runtime_cache()
            if self.path.is_file():
                self.shared.deserialize(self.path.read_bytes())
        config.set_runtime_cache(self.shared)
        return config

    def save(self) -> None:
        """Write the kernels that are compiled by now; a folder that is read-only has no cache."""
        if self.shared is None:
            return
        kernels = bytes(self.shared.serialize())
        if len(kernels) == self.num_bytes:
            return
        self.num_bytes = len(kernels)
        partial = self.path.with_suffix(".partial")
        try:
            partial.write_bytes(kernels)
            partial.replace(self.path)
        except OSError as fault:
            log.info("compiled kernels are not kept: %s", fault)


@dataclass
class Context:
    """One way to run an engine: a profile, with tensors of its own."""

    engine: Any
    context: Any
    cache: JitCache
    device: str = "cuda"
    kept: dict[str, Tensor] = field(default_factory=dict)
    seen: set[tuple[torch.Size, ...]] = field(default_factory=set)

    def run(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Start the computation on the current stream; return every output.

        ``outputs`` that are given are written in place; others are allocated.

        Raises
        ------
        GenerationFault
            TensorRT refuses the shapes, or the GPU the work.
        """
        self.kept = {**inputs}
        for name, value in inputs.items():
            if self.engine.is_shape_inference_io(name):
                self.context.set_tensor_address(name, value.data_ptr())
                continue
            self.context.set_input_shape(name, tuple(value.shape))
            self.context.set_tensor_address(name, value.data_ptr())
        names = self._outputs()
        found = {n: outputs[n] if n in outputs else self._output(n) for n in names}
        for name, value in found.items():
            self.context.set_tensor_address(name, value.data_ptr())
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise GenerationFault("TensorRT could not run the model")
        shapes = tuple(value.shape for value in inputs.values())
        if shapes not in self.seen:
            self.seen.add(shapes)
            self.cache.save()
        return found

    def _outputs(self) -> list[str]:
        names = [self.engine.get_tensor_name(place) for place in range(self.engine.num_io_tensors)]
        return [name for name in names if self.engine.get_tensor_mode(name).name == "OUTPUT"]

    def _output(self, name: str) -> Tensor:
        shape = tuple(self.context.get_tensor_shape(name))
        kind = DTYPES[self.engine.get_tensor_dtype(name).name]
        return torch.empty(shape, dtype=kind, device=self.device)


DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "INT32": torch.int32,
    "INT64": torch.int64,
}


def load_engine(flavour: Flavour, path: Path, said: Log, weights: Weights | None = None) -> Any:
    """Load a plan; with ``weights``, put them into one that was built without.

    Raises
    ------
    BackendUnavailable
        It cannot be loaded here.
    """
    trt = flavour.module
    runtime = trt.Runtime(said.logger)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise BackendUnavailable(f"{flavour.name} cannot load {path.name}: {said.reason()}")
    if weights is not None:
        _refit(trt.Refitter(engine, said.logger), flavour, path, weights)
    return engine


def _refit(refitter: Any, flavour: Flavour, path: Path, weights: Weights) -> None:
    """Put weights into an engine by their names."""
    trt, held = flavour.module, []
    for name in refitter.get_all_weights():
        if name in weights:
            held.append(np.ascontiguousarray(weights[name]))  # read until the refit is done
            refitter.set_named_weights(name, trt.Weights(held[-1]))
    if missing := refitter.get_missing_weights():
        raise BackendUnavailable(
            f"{path.name} was built without weights and asks for {missing[0]}, which the bundle "
            "does not have",
            hint="build the plans again, without --strip",
        )
    if not refitter.refit_cuda_engine():
        raise BackendUnavailable(f"{flavour.name} cannot put weights into {path.name}")


def open_context(
    engine: Any, flavour: Flavour, profile: int, cache: JitCache, *, is_recorded: bool
) -> Context:
    """Return a way to run one profile of an engine.

    Raises
    ------
    BackendUnavailable
        There is no memory for it.
    """
    config = cache.config_for(engine, flavour, is_recorded=is_recorded)
    made = (
        engine.create_execution_context()
        if config is None
        else engine.create_execution_context(config)
    )
    if made is None:
        raise BackendUnavailable("the GPU has no memory for the plan")
    made.set_optimization_profile_async(profile, torch.cuda.current_stream().cuda_stream)
    return Context(engine, made, cache)
