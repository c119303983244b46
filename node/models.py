"""The models of a node: the one that drafts, and a second one that drafts a part beside it."""

from __future__ import annotations

from dataclasses import dataclass

from node.config_rules import BundleChoice
from node.ports import Drafter
from node.routing import is_challengers


@dataclass(frozen=True)
class Models:
    """One model or two, and which of them a study meets.

    Parameters
    ----------
    incumbent
        The bundle `engine.bundle`, called `a` in rules.
    challenger
        The bundle `engine.challenger`, called `b`.
    share
        The part of the studies that is the challenger's.
    """

    incumbent: Drafter
    challenger: Drafter | None = None
    share: float = 0.0

    def of_study(self, study_uid: str, choice: BundleChoice = "split") -> Drafter:
        """Return the model that drafts a study, the same for a retry and a successor."""
        takes = {"a": False, "b": True, "split": is_challengers(study_uid, self.share)}
        chosen = self.challenger if takes[choice] else None
        return self.incumbent if chosen is None else chosen

    def of_bundle(self, digest: str) -> Drafter:
        """Return the model that made a draft; the incumbent where it runs here no more."""
        chosen = self.challenger
        return chosen if chosen is not None and chosen.digest == digest else self.incumbent

    def warm_up(self) -> None:
        """Do now what would otherwise be done for the first study.

        Raises
        ------
        BundleError, EngineError
            A model cannot be loaded.
        """
        self.incumbent.warm_up()
        if self.challenger is not None:
            self.challenger.warm_up()
