"""Text-only exchanges: what keeps the model answering where no film is shown.

A file of the published kind (databricks-dolly-15k: one JSON object a line with ``instruction``,
``context`` and ``response``) is read where a recipe names one; else the project's own glossary of
chest radiography is asked in turn.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.errors import TrainingError
from training.glossary import GLOSSARY
from training.json_lines import read_records


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
    line_is = "a line is a JSON object with instruction, context and response"
    return read_records(Exchange, path, TrainingError, "an exchange", line_is)
