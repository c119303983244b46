"""Log lines: one event, one line, fields as `key=value` or as JSON, no patient data."""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

from engine.errors import CxrError
from node import redact
from node.errors import NodeError

_ROOT = "cxr_node"
_LIBRARIES = (
    *("pydicom", "pynetdicom", "highdicom", "procrastinate", "psycopg"),
    *("fpdf", "fontTools", "httpx", "httpcore", "uvicorn", "asyncio"),
    *("opentelemetry", "urllib3"),
)


LogFormat = Literal["console", "json"]

_EVENT, _FIELDS = "cxr_event", "cxr_fields"


class _LineFormatter(logging.Formatter):
    """`2026-11-22T04:33:48.123Z INFO instance.new study=… peer=…`, or the same as JSON.

    Parameters
    ----------
    shape
        `console`, or `json`: one object a line with `at`, `level`, `event` and the fields.
    """

    def __init__(self, shape: LogFormat) -> None:
        super().__init__()
        self._shape = shape

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line."""
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        at = f"{at.removesuffix('+00:00')}Z"
        if self._shape == "console":
            return f"{at} {record.levelname} {self._line(record)}"
        event, fields = self._content(record)
        shown = {name: redact.value(one) for name, one in fields.items()}
        return json.dumps({"at": at, "level": record.levelname, "event": event, **shown})

    def _line(self, record: logging.LogRecord) -> str:
        return record.getMessage().replace("\n", " ")

    def _content(self, record: logging.LogRecord) -> tuple[str, dict[str, object]]:
        """Return the event and its fields; a line that is not by `say` is its own event."""
        said = vars(record)
        if _EVENT in said:
            return said[_EVENT], said[_FIELDS]
        return self._line(record), {}


class _LibraryFormatter(_LineFormatter):
    """What broke inside a library and where, without the text, which may quote a patient."""

    def _line(self, record: logging.LogRecord) -> str:
        event, fields = self._content(record)
        return " ".join([event, *(f"{name}={redact.field(v)}" for name, v in fields.items())])

    def _content(self, record: logging.LogRecord) -> tuple[str, dict[str, object]]:
        error = record.exc_info[1] if record.exc_info else None
        reason = brief(error) if error else "?"
        return "library.error", {"source": record.name, "reason": reason}


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
        given = {name: value for name, value in fields.items() if value is not None}
        parts = [f"{name}={redact.field(value)}" for name, value in given.items()]
        line = " ".join([event, *parts])
        logger.log(level, "%s", line, extra={_EVENT: event, _FIELDS: given})


def set_up(level: str, stream: TextIO | None = None, *, shape: LogFormat = "console") -> None:
    """Send the node's events to `stream` (standard error), and of the libraries only faults."""
    _route(_ROOT, logging.getLevelName(level.upper()), _LineFormatter(shape), stream)
    silence_libraries(stream, shape=shape)


def silence_libraries(stream: TextIO | None = None, *, shape: LogFormat = "console") -> None:
    """Keep the text of the libraries out of the log.

    DICOM libraries quote element values in their messages and warnings, and an element value can
    be a patient's name.
    """
    for name in _LIBRARIES:
        handler = _route(name, logging.ERROR, _LibraryFormatter(shape), stream)
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


def line_formatter() -> logging.Formatter:
    """Return what makes one line of one event."""
    return _LineFormatter("console")


def root_logger() -> logging.Logger:
    """Return the logger above all of the node's."""
    return logging.getLogger(_ROOT)


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
