"""The model bundle: a directory whose ``bundle.json`` names every file with its hash.

Nothing in it is executable or pickled: ONNX graphs, a ``tokenizers`` file and JSON. Opening a
bundle reads every file once to check it; a bundle that disagrees with its own manifest is refused
in one line.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BundleCorrupt, BundleIncompatible, BundleMissing
from engine.pixels import Transform
from engine.prompts import STYLES
from engine.study_input import FRONTAL_ONLY, Part, inputs_of
from engine.vocabulary import NUM_CODES, Vocabulary

FORMAT = 1
MANIFEST = "bundle.json"
ROLES = ("encoder", "decoder", "language_model", "classifier", "tokenizer", "license")
DEMO = Path(__file__).parent / "bundles" / "demo"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class CacheShape:
    """The static key/value cache of the language model: layers, heads, entries, head size."""

    num_layers: int
    num_kv_heads: int
    max_length: int
    head_dim: int


@dataclass(frozen=True)
class DrawingSettings:
    """How films are drawn: what is sampled from, and how far a drawing is guided to its text."""

    temperature: float = 0.7
    top_p: float = 0.8
    guidance: float = 1.0


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where its files are and what its manifest says."""

    directory: Path
    digest: str
    manifest: dict[str, Any]
    transform: Transform
    vocabulary: Vocabulary
    cache: CacheShape

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The model's version."""
        return str(self.manifest["version"])

    @property
    def prompt_version(self) -> str:
        """The prompt style that the model was trained with."""
        return str(self.manifest["prompt_version"])

    @property
    def drawing(self) -> DrawingSettings:
        """How the bundle's films are drawn."""
        stated: dict[str, Any] = self.manifest.get("drawing", {})
        names = DrawingSettings.__dataclass_fields__.keys() & stated.keys()
        return DrawingSettings(**{name: float(stated[name]) for name in names})

    @property
    def inputs(self) -> tuple[Part, ...]:
        """The parts of a study that the model was trained with."""
        return inputs_of(self.manifest.get("inputs", FRONTAL_ONLY))

    def has(self, role: str) -> bool:
        """Tell whether a file plays a role that not every bundle has."""
        return role in self.manifest["files"]

    def path(self, role: str) -> Path:
        """Return the file that plays a role."""
        return self.directory / str(self.manifest["files"][role]["path"])


def device_uid_of(digest: str) -> str:
    """Return the UID, as an observing device, of the model whose bundle has this digest."""
    return f"2.25.{uuid.UUID(bytes=bytes.fromhex(digest)[:16], version=5).int}"


def open_bundle(directory: Path | None = None) -> Bundle:
    """Open and check a bundle; ``None`` is the demo bundle that ships with the software.

    Raises
    ------
    BundleMissing, BundleCorrupt, BundleIncompatible
        It is not there, a file is not the one named, or it was made for other software.
    """
    root = directory or DEMO
    manifest = read_manifest(root / MANIFEST)
    check_format(manifest)
    check_files(root, manifest)
    vocabulary = Vocabulary.from_json(manifest["vocabulary"])
    check_vocabulary(vocabulary, manifest)
    return Bundle(
        directory=root,
        digest=sha256_of(root / MANIFEST),
        manifest=manifest,
        transform=Transform.from_json(manifest["transform"]),
        vocabulary=vocabulary,
        cache=CacheShape(**manifest["cache"]),
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read ``bundle.json``."""
    if not path.is_file():
        raise BundleMissing(f"no model bundle at {path.parent}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise BundleCorrupt(f"{path} is not JSON: {fault}") from fault
    if not isinstance(manifest, dict):
        raise BundleCorrupt(f"{path} does not hold a JSON object")
    return manifest


def check_format(manifest: dict[str, Any]) -> None:
    """Refuse another format version, unknown prompts, or a manifest that lacks a part."""
    if manifest.get("format") != FORMAT:
        raise BundleIncompatible(
            f"bundle format {manifest.get('format')} is not {FORMAT}, which this version reads"
        )
    required = ("name", "version", "transform", "vocabulary", "cache", "prompt_version", "files")
    missing = [key for key in required if key not in manifest]
    missing += [role for role in ROLES if role not in manifest.get("files", {})]
    if missing:
        raise BundleIncompatible(f"bundle.json lacks {', '.join(missing)}")
    if manifest["prompt_version"] not in STYLES:
        raise BundleIncompatible(f"unknown prompt version {manifest['prompt_version']}")
    check_inputs(manifest)


def check_inputs(manifest: dict[str, Any]) -> None:
    """Refuse parts of a study that this version, or the bundle's own prompts, cannot hold."""
    stated = manifest.get("inputs", FRONTAL_ONLY)
    try:
        inputs = inputs_of(stated)
    except (TypeError, ValueError) as fault:
        raise BundleIncompatible(f"bundle.json names unknown inputs: {stated}") from fault
    if Part.FRONTAL not in inputs:
        raise BundleIncompatible("the inputs of bundle.json lack the frontal film")
    if inputs != FRONTAL_ONLY and not STYLES[manifest["prompt_version"]].has_parts:
        raise BundleIncompatible(
            f"prompts {manifest['prompt_version']} cannot hold the inputs {', '.join(inputs)}"
        )


def check_files(root: Path, manifest: dict[str, Any]) -> None:
    """Compare every file with the hash that the manifest gives."""
    for role, entry in manifest["files"].items():
        name = str(entry["path"])
        if Path(name).name != name:
            raise BundleCorrupt(f"the path of {role} leaves the bundle")
        path = root / name
        if not path.is_file():
            raise BundleCorrupt(f"{name} is missing from the bundle")
        if sha256_of(path) != entry["sha256"]:
            raise BundleCorrupt(f"{name} is not the file that bundle.json names (sha256 differs)")


def check_vocabulary(vocabulary: Vocabulary, manifest: dict[str, Any]) -> None:
    """Refuse a codebook size or a code offset that the engine does not work with."""
    if vocabulary.num_codes != NUM_CODES:
        raise BundleIncompatible(f"{vocabulary.num_codes} image codes, not {NUM_CODES}")
    marks = (vocabulary.end_id, vocabulary.image_open_id, vocabulary.image_close_id)
    if not all(0 <= mark < vocabulary.num_text for mark in marks):
        raise BundleIncompatible("a special token lies outside the text vocabulary")
