"""Settings of the inference engine: the `engine:` key of config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EngineSettings(BaseModel):
    """Which model bundle runs, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path | None = None
    """Directory that holds bundle.json; null is the demo bundle that ships with the project."""
    backend: Literal["auto", "tensorrt", "torch", "onnx_cuda", "native", "onnx_cpu"] = "auto"
    num_threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of one inference; 0 lets the runtime choose."""
    challenger: Path | None = None
    """Directory of a second bundle that drafts a part of the studies beside the first; or none."""
    challenger_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The part of the studies that is the second bundle's, where no rule says otherwise."""

    @property
    def each(self) -> tuple[EngineSettings, ...]:
        """The settings of each model alone: the bundle first, then the challenger, if any."""
        bundles = [self.bundle, *([] if self.challenger is None else [self.challenger])]
        alone = {"challenger": None, "challenger_share": 0.0}
        return tuple(self.model_copy(update={**alone, "bundle": bundle}) for bundle in bundles)

    @model_validator(mode="after")
    def _share_is_somebodys(self) -> EngineSettings:
        if self.challenger_share and self.challenger is None:
            raise ValueError("challenger_share has nobody to go to: set challenger")
        return self
