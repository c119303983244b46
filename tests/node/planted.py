"""A node in a process of its own that is fed planted patient values, and where they must not be."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.films import phantom

MARKER = "QZPLANTEDZQ"
BIRTH = "18990417"
"""No log has another reason to hold these."""

_GROUPS = (0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040, 0x4008)
_TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC")
_KEPT = {
    "Manufacturer": "what the node knows its own objects by",
    "SpecificCharacterSet": "how the texts are encoded",
}


def plant(ds: Dataset) -> Dataset:
    """Write a marked value into every attribute of text that can name a patient."""
    for tag, (vr, multiplicity, _, retired, keyword) in DicomDictionary.items():
        group = Tag(tag).group
        if group in _GROUPS and vr in _TEXTS and not retired and keyword not in _KEPT:
            text = f"{MARKER}^{keyword_for_tag(tag)}"[: 16 if vr == "SH" else 60]
            setattr(ds, keyword, text if multiplicity.startswith("1") else [text, text])
    ds.PatientBirthDate = ds.StudyDate = BIRTH
    ds.EthnicGroup = MARKER
    ds.add_new(0x00110010, "LO", MARKER)
    ds.add_new(0x00111001, "LO", f"{MARKER} private")
    other = Dataset()
    other.PatientName, other.PatientID = f"{MARKER}^Nested", MARKER
    ds.OtherPatientIDsSequence = [other]
    return ds


def films() -> Iterator[Dataset]:
    """Yield the films to send: one good, and one for each way in which a study ends badly."""
    yield plant(phantom("good"))
    yield plant(phantom("good", SOPInstanceUID="1.2.3.4.5", ViewPosition="AP"))
    yield plant(phantom("hand", BodyPartExamined="HAND"))
    truncated = plant(phantom("truncated"))
    truncated.PixelData = truncated.PixelData[:10]
    yield truncated
    yield plant(phantom("synthetic", SyntheticData="YES"))
    broken = plant(phantom("crash"))
    broken.ContentDate = "notadate"
    yield broken
    conflict = plant(phantom("good"))
    conflict.InstanceNumber = 99
    yield conflict
    bad = plant(phantom("bad uid"))
    bad.StudyInstanceUID = MARKER
    yield bad


def traces(content: bytes) -> list[str]:
    """Return the encodings in which a planted value stands in some bytes."""
    haystack = content.lower()
    return [name for name, needle in _NEEDLES.items() if needle.lower() in haystack]


def _needles() -> Iterator[tuple[str, bytes]]:
    for text in (MARKER, BIRTH):
        plain = text.encode()
        yield f"{text} plain", plain
        yield f"{text} reversed", plain[::-1]
        yield f"{text} utf-16", text.encode("utf-16-le")[:-1]
        yield f"{text} hex", plain.hex().encode()
        yield f"{text} escaped", "".join(f"\\x{byte:02x}" for byte in plain).encode()
        yield f"{text} quoted", quote(text, safe="").encode()
        for shift in range(3):
            # the middle of the base64 form, which the neighbours do not touch
            inner = base64.b64encode(b"\0" * shift + plain)[(4 if shift else 0) :]
            yield f"{text} base64 +{shift}", inner[: len(inner) // 4 * 4 - 4]


_NEEDLES = dict(_needles())


def main(config: str) -> None:
    """Run a node whose pipeline and threads break over planted values."""
    import node.makers
    from node import logs
    from node.app import Node
    from node.config_file import load_settings
    from node.running import run_until_signalled
    from node.sr_document import Basis
    from tests.fakes import FakeEngine

    settings = load_settings(Path(config), {})
    logs.set_up("debug")
    logs.guard_crashes()
    build: Any = node.makers.build_draft_sr

    def breaking(basis: Basis, *arguments: Any) -> Dataset:
        ds = basis.source
        if "ContentDate" in ds:
            threading.Thread(target=_crash, args=(ds,), name="crashing").start()
            raise ValueError(f"cannot draft {ds.PatientName} {ds.PatientBirthDate}")
        made: Dataset = build(basis, *arguments)
        return made

    node.makers.build_draft_sr = breaking
    run_until_signalled(Node(settings, FakeEngine()))


def _crash(ds: Dataset) -> None:
    raise RuntimeError(f"{ds.PatientName}")


if __name__ == "__main__":
    main(sys.argv[1])
