"""What every section of the configuration is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from node import hours


def _check_ae_title(text: str) -> str:
    """Check an application entity title (PS3.5 table 6.2-1, VR AE)."""
    title = text.strip(" ")
    if not title or len(title) > 16:
        raise ValueError("an AE title has 1 to 16 characters, outer spaces not counted")
    if "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title holds no backslash, control or non-ASCII character")
    return title


AeTitle = Annotated[str, AfterValidator(_check_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1, max_length=253)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Hours = Annotated[str, AfterValidator(hours.checked)]
"""Hours of the day, `22:00-05:00`."""

Place = tuple[str | int, ...]
"""Where a setting stands: its keys and positions from the top."""


class Section(BaseModel):
    """A frozen part of the configuration in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def faults_at(faults: Iterable[tuple[Place, str]]) -> ValidationError:
    """Return what a validator raises for faults that stand somewhere below its section."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("setting", "{text}", {"text": text}), loc=place, input=None
        )
        for place, text in faults
    ]
    return ValidationError.from_exception_data("settings", details)
