"""What can go wrong while exporting, on the project's one tree."""

from __future__ import annotations

from engine.errors import CxrError


class ExportError(CxrError):
    """The checkpoint cannot be exported."""


class ParityError(ExportError):
    """The exported bundle does not answer as the float32 reference does."""

    default_hint = "do not ship it; export with `--precision float32` to see which part differs"
