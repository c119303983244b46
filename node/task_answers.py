"""A task put to the model of a draft: its reply, and what that is read as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from engine.generation import Advance, ignore
from engine.results import Answer, Image
from engine.scheduler import Urgency
from engine.study_input import Beside
from engine.tasks.api import Tasks
from engine.tasks.registry import TASKS
from node.offers import inputs_of
from node.ports import Drafter


def needs_film(name: str) -> bool:
    """Tell whether a task is about a film, and not about a text alone."""
    return name in TASKS and TASKS[name].num_films > 0


@dataclass(frozen=True)
class _Waited:
    """A model whose answers somebody waits for: they go before drafts."""

    engine: Drafter
    taught: frozenset[str] = frozenset()
    """The page offers no task that compares films: none needs to have been taught."""

    def follow(
        self,
        instruction: str,
        image: Image | None = None,
        *,
        text: str = "",
        options: Sequence[str] = (),
        max_new_tokens: int = 64,
        advance: Advance = ignore,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Do what an instruction says; a task of one film has nothing beside it."""
        return self.engine.follow(
            instruction,
            image,
            text=text,
            options=options,
            max_new_tokens=max_new_tokens,
            urgency=Urgency.STAT,
        )


def answer_task(
    engine: Drafter, task: Mapping[str, Any], image: Image | None
) -> tuple[str, dict[str, Any]]:
    """Return the reply to a task, and its provenance with what was read in the reply.

    A reply that answers nothing is kept as it is: it is no answer, least of all "no".

    Raises
    ------
    TaskError, EngineError
        The task cannot be put any more, or the model could not answer.
    """
    answered = Tasks(_Waited(engine)).run(task["name"], image, inputs_of(task["given"]))
    record = answered.as_json()
    provenance: dict[str, Any] = record.pop("provenance")
    del record["text"]
    return answered.text, provenance | {"task": record}
