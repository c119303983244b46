"""The compiled kernels and how they are called: nothing here knows what a bundle is."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_char_p, c_float, c_int8, c_int32, c_void_p
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from engine.errors import BackendUnavailable

NAME = "_kernels"


class Shape(ctypes.Structure):
    """Sizes of a model; ``cxr_shape_t``."""

    _fields_ = (
        *((name, c_int32) for name in ("num_layers", "width", "num_heads", "num_kv_heads")),
        *((name, c_int32) for name in ("head_dim", "hidden", "num_columns", "max_length")),
        ("num_threads", c_int32),
        ("epsilon", c_float),
    )


class Head(ctypes.Structure):
    """Rows whose logits are wanted over one range of columns; ``cxr_head_t``."""

    _fields_ = (
        *((name, c_int32) for name in ("num_rows", "first_column", "last_column")),
        ("logits", c_void_p),
    )


class Call(ctypes.Structure):
    """One forward pass; ``cxr_call_t``."""

    _fields_ = (
        ("num_rows", c_int32),
        ("embedded", c_void_p),
        ("positions", c_void_p),
        ("caches", c_void_p),
        ("num_wanted", c_int32),
        ("wanted", c_void_p),
        ("num_heads", c_int32),
        ("heads", POINTER(Head)),
    )


_MATRIX = (c_void_p, c_int32, c_char_p, POINTER(c_int8), POINTER(c_float), c_int32, c_int32)
_FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    "cxr_open": (c_void_p, (POINTER(Shape),)),
    "cxr_set_matrix": (c_int32, _MATRIX),
    "cxr_set_vector": (c_int32, (c_void_p, c_int32, c_char_p, POINTER(c_float), c_int32)),
    "cxr_open_cache": (c_void_p, (c_void_p,)),
    "cxr_close_cache": (None, (c_void_p,)),
    "cxr_forward": (c_int32, (c_void_p, POINTER(Call))),
    "cxr_close": (None, (c_void_p,)),
}


def open_library(folder: Path = Path(__file__).parent) -> Any:
    """Load the compiled kernels of a folder.

    Raises
    ------
    BackendUnavailable
        They were not compiled when the software was installed, or this processor lacks what they
        use.
    """
    path = next(_candidates(folder), None)
    if path is None:
        raise BackendUnavailable(
            "its kernels were not compiled",
            hint="install a C compiler (gcc), then cxr-node again: pip install --force-reinstall",
        )
    try:
        library = ctypes.CDLL(str(path))
    except OSError as fault:
        raise BackendUnavailable(f"{path.name} cannot be loaded: {fault}") from fault
    if not library.cxr_is_supported():
        raise BackendUnavailable("this processor has no AVX-512 VNNI")
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _candidates(folder: Path) -> Iterator[Path]:
    yield from (found for end in EXTENSION_SUFFIXES if (found := folder / f"{NAME}{end}").is_file())
