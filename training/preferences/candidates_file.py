"""The candidates of a run as JSON lines: a film a line, so a killed run goes on after the last.

The first line says what made them. Lines are flushed to the disk a part at a time; a line that a
kill tore is cut away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.errors import PreferenceError
from training.preferences.sampling import Candidates


@dataclass(frozen=True)
class CandidatesFile:
    """``RUN/preferences/candidates.jsonl``."""

    path: Path

    def begin(self, made_by: Mapping[str, Any]) -> None:
        """Write the first line of a fresh file, or check that of a begun one and mend its end.

        Raises
        ------
        PreferenceError
            The file was begun by another model or with other settings.
        """
        if not self.path.is_file():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append([dict(made_by)])
            return
        whole = [line for line in self._lines() if line.endswith("\n")]
        if not whole or json.loads(whole[0]) != json.loads(json.dumps(made_by)):
            raise PreferenceError(
                f"{self.path} was begun by another model or with other settings",
                hint="give them back, or remove the file to begin anew",
            )
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(whole), encoding="utf-8")
        partial.replace(self.path)

    def append(self, found: Sequence[Candidates]) -> None:
        """Add films; they are on the disk when this returns."""
        self._append([asdict(one) for one in found])

    def __iter__(self) -> Iterator[Candidates]:
        """Yield the films.

        Raises
        ------
        PreferenceError
            There are none yet.
        """
        if not self.path.is_file():
            raise PreferenceError(
                f"no candidates at {self.path}", hint="run `cxr-train preferences` first"
            )
        for line in self._lines()[1:]:
            if line.endswith("\n"):
                yield Candidates(**json.loads(line))

    def made_by(self) -> dict[str, Any]:
        """Return the first line."""
        found: dict[str, Any] = json.loads(self._lines()[0])
        return found

    def _lines(self) -> list[str]:
        with self.path.open(encoding="utf-8") as lines:
            return list(lines)

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            lines.flush()
            os.fsync(lines.fileno())
