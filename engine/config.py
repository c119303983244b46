"""Settings of the inference engine: the `engine:` key of config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class EngineSettings(BaseModel):
    """Which model bundle runs, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path | None = None
    """Directory that holds bundle.json; null is the demo bundle that ships with the project."""
    backend: Literal["auto", "tensorrt", "torch", "onnx_cuda", "native", "onnx_cpu"] = "auto"
    num_threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of one inference; 0 lets the runtime choose."""
