"""onnxruntime on an NVIDIA GPU: the same graphs, the caches in the memory of the GPU.

What onnxruntime has no CUDA kernel for it computes on the CPU, so this is the fallback of the GPU
backends and not the fastest of them.
"""

from __future__ import annotations

from typing import Any

from engine.backends.driver import refuse_no_gpu
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.backends.onnx_films import CUDA, import_onnxruntime
from engine.bundle import Bundle
from engine.errors import BackendUnavailable

NAME = "onnx_cuda"
STAND_IN = "install onnxruntime-gpu by the stand-in; see docs/how-to/gpu.md"


def lack_of_cuda(runtime: Any) -> str:
    """Return why this onnxruntime cannot use a GPU; empty where it can."""
    offered = runtime.get_available_providers()
    if CUDA[0] in offered:
        return ""
    return f"onnxruntime {runtime.__version__} has no {CUDA[0]}, only {', '.join(offered)}"


class OnnxCudaBackend(OnnxCpuBackend):
    """The four graphs of a bundle as onnxruntime sessions on a GPU.

    Raises
    ------
    BackendUnavailable
        There is no GPU, or this onnxruntime does not use it.
    """

    name = NAME
    device = "cuda"
    providers = CUDA

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        refuse_no_gpu()
        runtime = import_onnxruntime()
        if lack := lack_of_cuda(runtime):
            raise BackendUnavailable(lack, hint=STAND_IN)
        runtime.preload_dlls()  # CUDA and cuDNN, where they came as wheels
        super().__init__(bundle, num_threads)

    def session(self, role: str) -> Any:
        """Open one graph of the bundle; onnxruntime would go on without the GPU and say nothing."""
        made = super().session(role)
        if made.get_providers()[0] != CUDA[0]:
            raise BackendUnavailable(
                f"{CUDA[0]} does not start: CUDA 13 or cuDNN 9 is missing, or too old a driver",
                hint=STAND_IN,
            )
        return made
