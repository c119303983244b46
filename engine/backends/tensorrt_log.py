"""What TensorRT says while it works: its errors become reasons, the rest stays quiet."""

from __future__ import annotations

from typing import Any

from engine.backends.tensorrt_plan import Flavour

MAX_REASON = 300


class Log:
    """The errors that TensorRT reported, and the logger that it reports them to."""

    def __init__(self) -> None:
        self.logger: Any = None
        self.errors: list[str] = []

    def reason(self) -> str:
        """Return the first of the errors: the others follow from it."""
        return self.errors[0][:MAX_REASON] if self.errors else "no reason was given"


def log_of(flavour: Flavour) -> Log:
    """Return a log of this flavour's kind."""
    found = Log()
    base: Any = flavour.module.ILogger

    class Collector(base):  # type: ignore[misc]
        """Keeps errors."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """Take one line."""
            if severity in (base.INTERNAL_ERROR, base.ERROR):
                found.errors.append(" ".join(message.split()))

    found.logger = Collector()
    return found
