"""Is there an NVIDIA GPU? Asked of its driver, without any of the large libraries."""

from __future__ import annotations

import ctypes

from engine.errors import BackendUnavailable

_LIBRARY = "libcuda.so.1"
_REASONS = {
    2: "the driver gets no memory: for a GPU set node.work.engine_memory_mb to 0",
    100: "the NVIDIA driver finds no GPU",
    803: "the NVIDIA driver and its library are of different versions",
    999: "the NVIDIA driver fails: does `nvidia-smi` show the GPU",
}
"""What CUresult values mean to an admin (CUDA driver API, enum CUresult)."""

_CAPABILITY = 75, 76
"""Major and minor (enum CUdevice_attribute)."""


def lack_of_gpu(library: str = _LIBRARY) -> str:
    """Return why no NVIDIA GPU can be used; empty where one can."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver ({library})"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return _REASONS.get(status, f"the NVIDIA driver answers with error {status}")
    return "" if count.value else _REASONS[100]


def gpu_capability(library: str = _LIBRARY) -> str:
    """Return the compute capability of the first GPU, such as SM90; empty where there is none."""
    if lack_of_gpu(library):
        return ""
    driver, device, value = ctypes.CDLL(library), ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    parts = []
    for attribute in _CAPABILITY:
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    return "SM" + "".join(parts)


def refuse_no_gpu() -> None:
    """Refuse to go on without a GPU.

    Raises
    ------
    BackendUnavailable
        There is none, or it cannot be used.
    """
    if lack := lack_of_gpu():
        raise BackendUnavailable(lack)
