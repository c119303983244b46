"""Text-only exchanges: what keeps the model answering where no film is shown.

A file of the published kind (databricks-dolly-15k: one JSON object a line with ``instruction``,
``context`` and ``response``) is read where a recipe names one; else the project's own glossary of
chest radiography is asked in turn.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import TrainingError
from training.glossary import GLOSSARY


class Exchange(BaseModel):
    """An instruction, what it refers to (may be empty), and its answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instruction: str
    context: str = ""
    response: str


def glossary() -> list[Exchange]:
    """Return the glossary as questions and answers."""
    return [
        Exchange(instruction=f"Explain the term {term} in one sentence.", response=meaning)
        for term, meaning in GLOSSARY
    ]


def read(path: Path) -> list[Exchange]:
    """Read exchanges from JSON lines.

    Raises
    ------
    TrainingError
        The file is missing, or a line is no exchange; the line is named.
    """
    if not path.is_file():
        raise TrainingError(
            f"no text file at {path}", hint="set sft.text_file to a JSON-lines file"
        )
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(Exchange.model_validate_json(line))
        except ValidationError as fault:
            raise TrainingError(
                f"{path.name} line {number} is no exchange",
                hint="a line is a JSON object with instruction, context and response",
            ) from fault
    return found
