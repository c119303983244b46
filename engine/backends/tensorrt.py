"""TensorRT: the plans that `cxr-export tensorrt` built from a bundle, run on an NVIDIA GPU.

The full TensorRT and TensorRT-RTX by the same code. Memory is torch's; the caches are written in
place, as TensorRT demands: what goes in and what comes out has one address.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.backends.base import CodeRows, Images
from engine.backends.device import Call
from engine.backends.driver import gpu_capability, refuse_no_gpu
from engine.backends.half import folded
from engine.backends.initializers import read_graph
from engine.backends.recording import RecordedBackend, empty_caches, positions_of
from engine.backends.rows import BUCKETS, MAX_WIDTH
from engine.backends.tensorrt_engine import Context, JitCache, Weights, load_engine, open_context
from engine.backends.tensorrt_log import log_of
from engine.backends.tensorrt_plan import (
    DECODE,
    FILMS_AT_ONCE,
    FLAVOURS,
    HOW,
    JIT_CACHE,
    PREFILL,
    Flavour,
    Manifest,
    folder_of,
    load_flavour,
    plan_path,
    unfit,
)
from engine.bundle import Bundle, sha256_of
from engine.errors import BackendUnavailable

NAME = "tensorrt"
WANTED_FROM = "logits_from"

ContextKey = tuple[int, int, int]
"""Rows, tokens a row, first wanted position: a recording keeps the context it was made with."""


@dataclass(frozen=True)
class Plans:
    """Plans that fit a bundle, and where they lie."""

    folder: Path
    manifest: Manifest


def plans_of(bundle: Bundle, flavour: Flavour) -> Plans:
    """Return the plans of a bundle.

    Raises
    ------
    BackendUnavailable
        There are none that were built from this bundle, for this flavour and for this GPU, or one
        is not the file that was built.
    """
    folder = folder_of(bundle, flavour.name)
    manifest = Manifest.read(folder)
    if reason := unfit(manifest, bundle, flavour):
        raise BackendUnavailable(reason, hint=HOW)
    assert manifest is not None
    own = gpu_capability()
    if manifest.capabilities and own and own not in manifest.capabilities:
        raise BackendUnavailable(
            f"the plans are for {', '.join(manifest.capabilities)}, this GPU is {own}", hint=HOW
        )
    for role, digest in manifest.plans.items():
        path = plan_path(folder, role)
        if not path.is_file() or sha256_of(path) != digest:
            raise BackendUnavailable(f"{path.name} is not the plan that was built", hint=HOW)
    return Plans(folder, manifest)


def fitting_plans(bundle: Bundle) -> tuple[Flavour, Plans]:
    """Return the first TensorRT that is here and has plans of a bundle.

    Raises
    ------
    BackendUnavailable
        None has.
    """
    reasons = []
    for name in FLAVOURS:
        try:
            flavour = load_flavour((name,))
            return flavour, plans_of(bundle, flavour)
        except BackendUnavailable as fault:
            reasons.append(str(fault))
    raise BackendUnavailable("; ".join(reasons), hint=HOW)


class TensorrtBackend(RecordedBackend):
    """Language model and both halves of the VQ-GAN by TensorRT, the classifier by onnxruntime.

    Raises
    ------
    BackendUnavailable
        There is no GPU, no TensorRT, or no plan that fits.
    """

    name = NAME
    buckets = BUCKETS
    film_roles = ("classifier",)
    device = "cuda"

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        self.refuse_machine()
        self.flavour, self.plans = fitting_plans(bundle)
        self.jit = JitCache(self.plans.folder / JIT_CACHE)
        self.engines = {role: self._engine(bundle, role) for role in self.plans.manifest.plans}
        self.prefill = self._context("language_model", PREFILL)
        self.film_contexts = {role: self._context(role) for role in ("encoder", "decoder")}
        self.decoding: dict[ContextKey, Context] = {}
        self.caches = empty_caches(bundle.cache, self.device, torch.float16)
        super().__init__(bundle, num_threads)

    def refuse_machine(self) -> None:
        """Refuse a machine, or a torch, without CUDA."""
        refuse_no_gpu()
        if not torch.cuda.is_available():
            raise BackendUnavailable("torch sees no GPU: is it the build for the CPU")

    def _engine(self, bundle: Bundle, role: str) -> object:
        weights = stored_weights(bundle, role) if self.plans.manifest.is_stripped else None
        path = plan_path(self.plans.folder, role)
        return load_engine(self.flavour, path, log_of(self.flavour), weights)

    def _context(self, role: str, profile: int = 0) -> Context:
        is_recorded = profile == DECODE
        engine = self.engines[role]
        made = open_context(engine, self.flavour, profile, self.jit, is_recorded=is_recorded)
        return replace(made, device=self.device)

    def reserve(self, num_rows: int) -> None:
        """Give the caches at least so many rows; see `RecordedBackend.reserve`."""
        super().reserve(num_rows)
        if not self.recordings:
            self.decoding.clear()

    def launch(self, call: Call, fed: Tensor) -> Tensor | None:
        """Start the computation of ids and starts [B, S + 1]; return the logits on the device."""
        inputs = {
            "input_ids": fed[:, :-1].contiguous(),
            "position_ids": positions_of(fed),
            "write_indices": fed[:, -1].contiguous(),
            WANTED_FROM: torch.tensor([self._wanted_from(call)]),  # a shape: read on the host
        }
        caches = {
            name: cache[call.rows.start : call.rows.stop] for name, cache in self.caches.items()
        }
        written = {name.replace("past_", "present_"): cache for name, cache in caches.items()}
        logits = self._context_of(call).run({**inputs, **caches}, written)["logits"]
        if call.head is None:
            return None
        return logits[..., call.head.start : call.head.stop].float()

    def _wanted_from(self, call: Call) -> int:
        """Return the first position of the logits; a plan computes some even if none is wanted."""
        return call.ids.shape[1] - 1 if call.head is None else call.wanted_from

    def _context_of(self, call: Call) -> Context:
        """Return the context of a call; each recorded kind of step has its own."""
        num_rows, width = call.ids.shape
        if num_rows == 1 and (width > MAX_WIDTH or call.rows.start):
            return self.prefill
        key = (num_rows, width, self._wanted_from(call))
        if key not in self.decoding:
            self.decoding[key] = self._context("language_model", DECODE)
        return self.decoding[key]

    def encode(self, images: Images) -> CodeRows:
        """Films [N, 1, 256, 256] -> codes [N, 256]."""
        return self._film("encoder", "image", "codes", images.astype(np.float32))

    def decode(self, codes: CodeRows) -> Images:
        """Codes [N, 256] -> films [N, 1, 256, 256]."""
        return self._film("decoder", "codes", "image", codes.astype(np.int64))

    def _film(self, role: str, source: str, result: str, values: np.ndarray) -> np.ndarray:
        """Run one half of the VQ-GAN, as many films at once as its plan takes."""
        found = []
        for start in range(0, len(values), FILMS_AT_ONCE):
            part = torch.from_numpy(values[start : start + FILMS_AT_ONCE]).to(self.device)
            found.append(self.film_contexts[role].run({source: part}, {})[result].cpu().numpy())
        return np.concatenate(found)


def stored_weights(bundle: Bundle, role: str) -> Weights:
    """Return the weights of a graph as its plan has them."""
    graph = read_graph(bundle.path(role))
    return folded(graph).weights if role == "language_model" else graph.tensors
