"""What the drafting asks of others: a model, a decoder, a search, and what people wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Unpack

from pydicom.dataset import Dataset

from engine.assessment import Assessment, Bands
from engine.pixels import Transform
from engine.results import Answer, DraftReport, Drawing, Evidence, Image, Inspection
from engine.scheduler import Urgency
from engine.study_input import Beside
from node.records import Claim, PriorAnswer
from node.revisions import Revision


class Drafter(Protocol):
    """What the pipeline asks of a model.

    Several threads may ask at a time. `engine.pipeline.Engine` is one, in this process;
    `node.inference.InferenceChild` is one in another.
    """

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> str:
        """Version of the model."""

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle."""

    @property
    def device_uid(self) -> str:
        """UID of this model as an observing device."""

    @property
    def transform(self) -> Transform:
        """How a film becomes an image."""

    @property
    def inputs(self) -> Sequence[str]:
        """The parts of a study that the model was trained with (`engine.study_input.Part`)."""

    def warm_up(self) -> None:
        """Do now what would otherwise be done for the first study."""

    def inspect(self, image: Image) -> Inspection:
        """Tell whether a film may be drafted from."""

    def report(
        self, image: Image, *, urgency: Urgency = Urgency.ROUTINE, **beside: Unpack[Beside]
    ) -> DraftReport:
        """Draft a report from a film and what is known beside it."""

    def ask(
        self,
        image: Image,
        question: str,
        *,
        urgency: Urgency = Urgency.ROUTINE,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Answer a question on a film and what is known beside it."""

    def follow(
        self,
        instruction: str,
        image: Image | None = None,
        *,
        text: str = "",
        options: Sequence[str] = (),
        max_new_tokens: int,
        urgency: Urgency = Urgency.ROUTINE,
    ) -> Answer:
        """Do what an instruction says about a film, or about a text alone."""

    def draw(self, text: str, *, seed: int, urgency: Urgency = Urgency.ILLUSTRATION) -> Drawing:
        """Draw a synthetic film."""

    def assess(self, image: Image, text: str, bands: Bands) -> tuple[Assessment, ...]:
        """Tell what the classifier sees of each finding beside what a draft says."""

    def evidence(self, image: Image) -> Mapping[str, Evidence]:
        """Tell where each finding's evidence lies; empty where the model cannot."""


class Renderer(Protocol):
    """What decodes pixels; `node.confined.ConfinedRenderer` is one."""

    def render(self, path: Path, transform: Transform) -> Image:
        """Render a stored film."""


class PriorSearch(Protocol):
    """What looks for an earlier film; `node.priors.Priors` is one."""

    def look(self, claim: Claim, source: Dataset) -> PriorAnswer:
        """Return what there is at peers, within a budget of time."""


class Revisions(Protocol):
    """What knows which generations are built from words that are there already."""

    def revision(self, study_uid: str, generation: int) -> Revision | None:
        """Return those words; None where the model drafts."""
