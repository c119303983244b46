"""Programs whose output goes into a pipe end with its reader, as `head` does after ten lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

Words = ParamSpec("Words")


def ends_with_its_reader(main: Callable[Words, int]) -> Callable[Words, int]:
    """Return an entry point that is no failure where its reader has seen enough."""

    @wraps(main)
    def ending(*args: Words.args, **kwargs: Words.kwargs) -> int:
        try:
            status = main(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # what is still buffered would fail once more when the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status

    return ending
