"""torch: the language model of a bundle in bfloat16 on a GPU.

On a CPU the same code computes in float32, which serves to compare other backends with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.backends.device import Call
from engine.backends.initializers import read_graph
from engine.backends.onnx_films import CPU, CUDA, import_onnxruntime
from engine.backends.recording import RecordedBackend, empty_caches, positions_of
from engine.backends.rows import BUCKETS
from engine.backends.torch_program import WANTED_FROM, Value, program_of
from engine.bundle import Bundle

NAME = "torch"


class TorchBackend(RecordedBackend):
    """The language model in torch; films by onnxruntime, on the GPU where it can.

    Raises
    ------
    BackendUnavailable
        The language model holds an operator that is not known here.
    """

    name = NAME

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        if num_threads:
            torch.set_num_threads(num_threads)
        is_cuda = torch.cuda.is_available()
        self.device = "cuda" if is_cuda else "cpu"
        self.buckets = BUCKETS if is_cuda else ()
        self.providers = film_providers(is_cuda)
        dtype = _precision(is_cuda)
        graph = read_graph(bundle.path("language_model"))
        self.program = program_of(graph, self.device, dtype)
        self.caches = empty_caches(bundle.cache, self.device, dtype)
        super().__init__(bundle, num_threads)

    def launch(self, call: Call, fed: Tensor) -> Tensor | None:
        """Start the computation of ids and starts [B, S + 1]; return the logits on the device."""
        inputs: dict[str, Value] = {
            "input_ids": fed[:, :-1],
            "position_ids": positions_of(fed),
            "write_indices": fed[:, -1],
            WANTED_FROM: call.wanted_from,
        }
        for name, cache in self.caches.items():
            inputs[name] = cache[call.rows.start : call.rows.stop]
        return self.program.run(inputs, call.head)


def film_providers(is_cuda: bool) -> tuple[str, ...]:
    """Return what onnxruntime looks at films with."""
    offered = import_onnxruntime().get_available_providers()
    return CUDA if is_cuda and CUDA[0] in offered else CPU


def _precision(is_cuda: bool) -> torch.dtype:
    """Return the precision of weights and caches; old GPUs have no bfloat16."""
    if not is_cuda:
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
