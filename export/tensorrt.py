"""A bundle's graphs as TensorRT plans, built ahead of time.

TensorRT-RTX builds without a GPU, for every GPU that it knows or for named ones; the full TensorRT
builds on the GPU that will run the plan. The precision is that of the graphs and nothing else: the
language model in float16, the halves of the VQ-GAN in float32, so that codes are those of a CPU.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.backends.driver import gpu_capability
from engine.backends.rows import BUCKETS, MAX_WIDTH
from engine.backends.tensorrt_log import Log, log_of
from engine.backends.tensorrt_plan import (
    FILMS_AT_ONCE,
    ROLES,
    Flavour,
    Manifest,
    folder_of,
    load_flavour,
    plan_path,
)
from engine.bundle import Bundle, sha256_of
from engine.errors import BackendUnavailable
from engine.generation import PREFILL_CHUNK
from export.errors import ExportError
from export.half import half_graph
from export.language_model import save

PRECISION = "float16"
Shapes = dict[str, list[list[int]]]
"""By input its least, best and largest shape; of ``logits_from``, a shape itself, the values."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class PlanSettings:
    """What plans are built for.

    ``flavours``: by preference. ``capabilities``: GPUs such as SM89; empty: all that TensorRT-RTX
    knows. ``strip``: leave the weights out, the bundle has them.
    """

    flavours: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    strip: bool = False


def language_model_shapes(bundle: Bundle) -> list[Shapes]:
    """Return the two profiles: one row of a prompt, and many rows of few tokens."""
    longest = bundle.cache.max_length
    prefill = _step_shapes(bundle, (1, 1, 1), (1, min(PREFILL_CHUNK, longest), longest))
    decode = _step_shapes(bundle, (1, 8, BUCKETS[-1]), (1, 1, MAX_WIDTH))
    return [prefill, decode]


def _step_shapes(bundle: Bundle, rows: Sequence[int], tokens: Sequence[int]) -> Shapes:
    cache = bundle.cache
    ids = [list(pair) for pair in zip(rows, tokens, strict=True)]
    entry = [cache.num_kv_heads, cache.max_length, cache.head_dim]
    caches = [f"past_{kind}_{layer}" for layer in range(cache.num_layers) for kind in "kv"]
    return {
        "input_ids": ids,
        "position_ids": ids,
        "write_indices": [[count] for count in rows],
        "logits_from": [[0], [0], [tokens[-1] - 1]],
        **{name: [[count, *entry] for count in rows] for name in caches},
    }


def profiles_of(bundle: Bundle) -> dict[str, list[Shapes]]:
    """Return every profile of every plan."""
    films = [1, 1, FILMS_AT_ONCE]
    size = bundle.transform.size
    codes = (size // 16) ** 2
    return {
        "language_model": language_model_shapes(bundle),
        "encoder": [{"image": [[count, 1, size, size] for count in films]}],
        "decoder": [{"codes": [[count, codes] for count in films]}],
    }


@dataclass(frozen=True)
class Parsed:
    """A network and what its weights live in until it is built."""

    builder: Any
    network: Any
    parser: Any

    def layers(self) -> Counter[str]:
        """Return how many layers of each kind TensorRT made of the graph."""
        found = (self.network.get_layer(place) for place in range(self.network.num_layers))
        return Counter(layer.type.name for layer in found)


def parse(flavour: Flavour, path: Path, log: Log) -> Parsed:
    """Let TensorRT read a graph.

    Raises
    ------
    ExportError
        It cannot.
    """
    trt = flavour.module
    builder = trt.Builder(log.logger)
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(path)):
        raise ExportError(f"{flavour.name} cannot read {path.stem}: {log.reason()}")
    return Parsed(builder, network, parser)


def build(parsed: Parsed, flavour: Flavour, profiles: list[Shapes], wanted: PlanSettings) -> Any:
    """Build a plan; None if that fails."""
    config = parsed.builder.create_builder_config()
    trt = flavour.module
    config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of a product would move codes
    if wanted.strip:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if wanted.capabilities:
        config.num_compute_capabilities = len(wanted.capabilities)
        for place, name in enumerate(wanted.capabilities):
            config.set_compute_capability(trt.ComputeCapability.__members__[name], place)
    for shapes in profiles:
        profile = parsed.builder.create_optimization_profile()
        for name, sizes in shapes.items():
            is_shape = name == "logits_from"
            (profile.set_shape_input if is_shape else profile.set_shape)(name, *sizes)
        config.add_optimization_profile(profile)
    return parsed.builder.build_serialized_network(parsed.network, config)


@contextmanager
def graph_to_build(bundle: Bundle, role: str) -> Iterator[Path]:
    """Yield the graph that a plan is made of: that of the bundle, or its float16 form."""
    path = bundle.path(role)
    if role != "language_model":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / path.name
        save(half_graph(path), half)
        yield half


def plan_of(bundle: Bundle, role: str, flavour: Flavour, wanted: PlanSettings) -> Any:
    """Return the plan of one graph.

    Raises
    ------
    ExportError
        It cannot be built here.
    """
    log = log_of(flavour)
    with graph_to_build(bundle, role) as path:
        plan = build(parse(flavour, path, log), flavour, profiles_of(bundle)[role], wanted)
    if plan is None and wanted.strip:
        raise ExportError(
            f"{flavour.name} cannot leave the weights of {role} out here: {log.reason()}",
            hint="TensorRT-RTX can only on a machine with a GPU; leave --strip out",
        )
    if plan is None:
        raise ExportError(f"{flavour.name} cannot build {role}: {log.reason()}")
    return plan


def wanted_manifest(bundle: Bundle, flavour: Flavour, wanted: PlanSettings) -> Manifest:
    """Return the manifest that plans built now would have, but for their own hashes."""
    return Manifest(
        flavour=flavour.name,
        version=flavour.version,
        bundle=bundle.digest,
        precision=PRECISION,
        capabilities=wanted.capabilities,
        is_stripped=wanted.strip,
        profiles=profiles_of(bundle),
        onnx={role: str(bundle.manifest["files"][role]["sha256"]) for role in ROLES},
        plans={},
    )


def outdated(found: Manifest | None, wanted: Manifest, folder: Path) -> str:
    """Return why plans must be built anew; empty where they are as wanted and whole."""
    if found is None:
        return "there are none"
    for name in Manifest.__dataclass_fields__:
        if name != "plans" and getattr(found, name) != getattr(wanted, name):
            return f"{name} differs"
    for role, digest in found.plans.items():
        path = plan_path(folder, role)
        if not path.is_file() or sha256_of(path) != digest:
            return f"{path.name} is not the file that its manifest names"
    return ""


def targets(flavour: Flavour, wanted: PlanSettings) -> PlanSettings:
    """Return the settings with the GPUs that this flavour will build for.

    Raises
    ------
    ExportError
        A GPU is not known to it, or it builds for the one in this machine alone.
    """
    known = getattr(flavour.module, "ComputeCapability", None)
    if known is None:
        own = gpu_capability()
        if not own or set(wanted.capabilities) - {own}:
            raise ExportError(
                f"{flavour.name} builds for the GPU of this machine alone: {own or 'none'}",
                hint="build where the plans will run, or use tensorrt_rtx",
            )
        return replace(wanted, capabilities=(own,))
    names = [name for name in known.__members__ if name.startswith("SM")]
    if strange := sorted(set(wanted.capabilities) - set(names)):
        raise ExportError(
            f"{flavour.name} builds for no {', '.join(strange)}", hint=f"known: {', '.join(names)}"
        )
    return wanted


def build_plans(bundle: Bundle, settings: PlanSettings, say: Say) -> Path:
    """Build the plans of a bundle, unless they are there; return their folder.

    Raises
    ------
    ExportError
        There is no TensorRT, or a plan cannot be built.
    """
    try:
        flavour = load_flavour(settings.flavours)
    except BackendUnavailable as fault:
        raise ExportError(str(fault), hint=fault.hint) from fault
    settings = targets(flavour, settings)
    folder, wanted = folder_of(bundle, flavour.name), wanted_manifest(bundle, flavour, settings)
    reason = outdated(Manifest.read(folder), wanted, folder)
    if not reason:
        say(f"{flavour.name} {flavour.version}: the plans are up to date")
        return folder
    say(f"{flavour.name} {flavour.version}: building plans, for {reason}")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for role in ROLES:
        plan_path(partial, role).write_bytes(plan_of(bundle, role, flavour, settings))
    hashes = {role: sha256_of(plan_path(partial, role)) for role in ROLES}
    replace(wanted, plans=hashes).write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder
