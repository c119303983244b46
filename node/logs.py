"""Log lines: one event, one line, `key=value` fields, no patient data."""

from __future__ import annotations

import logging
import resource
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from engine.errors import CxrError
from node import redact
from node.errors import NodeError

_ROOT = "cxr_node"
_LIBRARIES = (
    *("pydicom", "pynetdicom", "highdicom", "procrastinate", "psycopg"),
    *("fpdf", "fontTools", "httpx", "httpcore", "uvicorn", "asyncio"),
)


class _LineFormatter(logging.Formatter):
    """`2026-11-22T04:33:48.123Z INFO instance.new study=… peer=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line."""
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        return f"{at.removesuffix('+00:00')}Z {record.levelname} {self._message(record)}"

    def _message(self, record: logging.LogRecord) -> str:
        return record.getMessage().replace("\n", " ")


class _LibraryFormatter(_LineFormatter):
    """What broke inside a library and where, without the text, which may quote a patient."""

    def _message(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        reason = brief(error) if error else "?"
        return f"library.error source={record.name} reason={redact.field(reason)}"


class _OnlyFaults(logging.Filter):
    """Lets through what a library logs with an exception, unless it is an everyday one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is worth a line."""
        error = record.exc_info[1] if record.exc_info else None
        return error is not None and not isinstance(error, OSError | NodeError)


def brief(error: BaseException) -> str:
    """Say what broke and where; the text of an error that is not ours may quote a patient."""
    if isinstance(error, CxrError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"internal error: {type(error).__name__}{place}"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of one part of the node."""
    return logging.getLogger(f"{_ROOT}.{name}")


def say(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one event with its fields; a field that is None is left out.

    Values must carry no patient data: pass keys of UIDs, AE titles, addresses, reasons.
    """
    if logger.isEnabledFor(level):
        parts = [f"{name}={redact.field(v)}" for name, v in fields.items() if v is not None]
        logger.log(level, "%s", " ".join([event, *parts]))


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Send the node's events to `stream` (standard error), and of the libraries only faults."""
    _route(_ROOT, logging.getLevelName(level.upper()), _LineFormatter(), stream)
    silence_libraries(stream)


def silence_libraries(stream: TextIO | None = None) -> None:
    """Keep the text of the libraries out of the log.

    DICOM libraries quote element values in their messages and warnings, and an element value can
    be a patient's name.
    """
    for name in _LIBRARIES:
        handler = _route(name, logging.ERROR, _LibraryFormatter(), stream)
        handler.addFilter(_OnlyFaults())
    warnings.simplefilter("ignore")


def guard_crashes() -> None:
    """Let no crash write what memory holds: no core files, no text of errors that nobody caught."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logger = get_logger("crash")

    def on_error(error: BaseException | None, where: str) -> None:
        if error is not None:
            say(logger, "crash", level=logging.CRITICAL, where=where, reason=brief(error))

    sys.excepthook = lambda _kind, error, _trace: on_error(error, "main")
    threading.excepthook = lambda crash: on_error(
        crash.exc_value, crash.thread.name if crash.thread else "?"
    )
    sys.unraisablehook = lambda crash: on_error(crash.exc_value, "finalizer")


def _route(
    name: str, level: int, formatter: logging.Formatter, stream: TextIO | None
) -> logging.Handler:
    """Give a tree of loggers one handler of its own."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return handler
