"""Who a model is: what its bundle says of it, told by whatever runs the bundle."""

from __future__ import annotations

from engine.bundle import Bundle, device_uid_of
from engine.pixels import Transform
from engine.study_input import Part


class Identified:
    """What runs a bundle, and is known by it."""

    bundle: Bundle

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.bundle.version

    @property
    def digest(self) -> str:
        """The sha256 of ``bundle.json``: names this model and no other."""
        return self.bundle.digest

    @property
    def device_uid(self) -> str:
        """A UID for this very model, new whenever it is retrained (PS3.5 B.2)."""
        return device_uid_of(self.digest)

    @property
    def license(self) -> str:
        """The licence of the weights."""
        return str(self.bundle.manifest["license"])

    @property
    def intended_use(self) -> str:
        """What the model may be used for."""
        return str(self.bundle.manifest["intended_use"])

    @property
    def transform(self) -> Transform:
        """The image transform that training used."""
        return self.bundle.transform

    @property
    def inputs(self) -> tuple[Part, ...]:
        """The parts of a study that the model was trained with; others do not reach its prompt."""
        return self.bundle.inputs

    @property
    def taught(self) -> frozenset[str]:
        """The tasks of the registry that the model was trained on."""
        return frozenset((self.bundle.manifest.get("instructions") or {}).get("tasks", ()))
