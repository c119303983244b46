"""Trainers of the transformers family, resumed exactly.

Preference tuning runs under trainers of others. transformers 5.23 saves a GPT-NeoX head under its
older name and reloads checkpoints with a lax `load_state_dict`: the trained head is dropped and
the one at hand stays, with no more than a log line (its issues 43701 and 48805).
`from_pretrained` knows both names, so weights go through it and must then fit exactly.
"""

from __future__ import annotations

from typing import Any

from peft import PeftModel
from transformers import Trainer

from training.errors import TrainingError


def reload(model: Any, directory: str) -> None:
    """Put the weights of a saved model into ``model``, in place.

    Raises
    ------
    TrainingError
        The directory lacks a weight of the model or holds one that it has not.
    """
    saved, found = type(model).from_pretrained(directory, output_loading_info=True)
    wrong = sorted(str(key) for kind in found.values() for key in kind)
    if wrong:
        raise TrainingError(
            f"the checkpoint at {directory} does not hold this model: {', '.join(wrong)}",
            hint="start from another checkpoint, or from the model that this one was made of",
        )
    model.load_state_dict(saved.state_dict(), strict=True)
    model.tie_weights()


class ExactResume(Trainer):
    """A mixin: name it before the trainer, as in ``class Tuner(ExactResume, DPOTrainer)``.

    Adapters and sharded models are reloaded by their own libraries, which do not rename weights.
    """

    @property
    def is_plain(self) -> bool:
        """Tell whether a checkpoint holds the whole model in one piece."""
        foreign = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return not (foreign or isinstance(self.model, PeftModel))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_plain:
            reload(self.model if model is None else model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if self.is_plain and best is not None:
            reload(self.model, best)
        else:
            super()._load_best_model()
