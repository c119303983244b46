"""Who may put a call to the model now: several together, or one that is to have it alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from node.errors import InferenceFault
from node.inference_verdict import TOO_SLOW


class Turns:
    """Lets so many in at one time; who wants to be alone waits for the others, and they for it."""

    def __init__(self, num_together: int) -> None:
        self._num_together = num_together
        self._changed = threading.Condition()
        self._num_inside = 0
        self._num_wanting_alone = 0
        self._is_taken_alone = False

    @contextmanager
    def turn(self, timeout_s: float, *, alone: bool = False) -> Iterator[None]:
        """Have a turn for the length of a block.

        Raises
        ------
        InferenceFault
            There was none in time.
        """
        if not self.take(timeout_s, alone=alone):
            raise InferenceFault(f"the model was busy for {timeout_s:g} s", hint=TOO_SLOW)
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._is_taken_alone = False
                self._changed.notify_all()

    def take(self, timeout_s: float, *, alone: bool = False) -> bool:
        """Take a turn, outside of a block for good; tell whether there was one in time."""
        with self._changed:
            self._num_wanting_alone += alone
            may_enter = self._is_empty if alone else self._has_room
            has_turn = self._changed.wait_for(may_enter, timeout_s)
            self._num_wanting_alone -= alone
            self._num_inside += has_turn
            self._is_taken_alone = (has_turn and alone) or self._is_taken_alone
            self._changed.notify_all()
            return has_turn

    def _is_empty(self) -> bool:
        return self._num_inside == 0

    def _has_room(self) -> bool:
        """Tell whether one more may join; those who want to be alone go first."""
        is_barred = self._is_taken_alone or self._num_wanting_alone > 0
        return not is_barred and self._num_inside < self._num_together
