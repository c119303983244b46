"""What an export is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from export.graph import Precision

INTENDED_USE = (
    "Research and non-commercial demonstration of drafting chest X-ray reports. Not a medical "
    "device, not for diagnosis; every draft must be read and corrected by a radiologist."
)
LICENSE = "Research and non-commercial demonstration only; see LICENSE-weights.txt"


@dataclass(frozen=True)
class ExportSettings:
    """From which run, to where, and under which name.

    ``stage``: whose language model is taken; None: the last stage of instruction tuning.
    ``parent_dir``: the bundle that the run goes on from, whose untrained networks are copied.
    """

    run_dir: Path
    output_dir: Path
    license_path: Path
    name: str = "cxr-node-demo"
    version: str = "0.1.0"
    precision: Precision = "int8"
    parent_dir: Path | None = None
    stage: str | None = None
    max_length: int = 640
    drawing: dict[str, float] = field(
        default_factory=lambda: {"temperature": 0.7, "top_p": 0.8, "guidance": 1.0}
    )
