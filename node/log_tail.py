"""The last lines of the log, for the page that shows them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from node.logs import line_formatter, root_logger

_MAX_LINES = 1_000


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    level: str
    text: str


class LogTail(logging.Handler):
    """Keeps the latest lines; they hold no patient data, as the log itself."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(line_formatter())
        self._lines: deque[Line] = deque(maxlen=_MAX_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._lines.append(Line(record.levelname, self.format(record)))

    def lines(self, level: int = logging.NOTSET) -> list[Line]:
        """Return the lines of a level and above, newest first."""
        names = logging.getLevelNamesMapping()
        return [line for line in reversed(self._lines) if names[line.level] >= level]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is logged in the block."""
        logger = root_logger()
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
