"""JSON lines as records that are checked one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from training.errors import TrainingError

Record = TypeVar("Record", bound=BaseModel)


def read_records(
    kind: type[Record], path: Path, refused: type[TrainingError], wanted: str, line_is: str
) -> list[Record]:
    """Read a record a line.

    Parameters
    ----------
    refused
        What a line that is none raises; its message names file and line.
    wanted
        What a line should be, as "an exchange".
    line_is
        The hint: how such a line looks.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as fault:
            raise refused(f"{path.name} line {number} is not {wanted}", hint=line_is) from fault
    return found
