"""Why a process of the model is ended, and what is said of it to those whose calls it owed."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from engine import errors
from engine.errors import CxrError
from node.children import reason_of
from node.errors import InferenceFault
from node.inference_child import MORE_MEMORY
from node.inference_wire import Message

TOO_SLOW = "raise node.work.draft_timeout_s if the model is slow here"

_DEATHS: Mapping[int, str] = {
    -signal.SIGKILL: "the system ended it, as it does where memory runs out",
    -signal.SIGABRT: "the runtime gave up, as it does where memory runs out",
    -signal.SIGSEGV: "the runtime crashed",
    -signal.SIGBUS: "the runtime crashed",
    -signal.SIGILL: "the runtime uses instructions that this processor does not know",
}
_CURES: Mapping[int, str] = {
    -signal.SIGKILL: "give the machine or the service more memory",
    -signal.SIGABRT: MORE_MEMORY,
}
_FAULTS: Mapping[str, type[CxrError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CxrError)
}
"""The errors that cross as what they are; any other arrives as `InferenceFault`."""
_REFUSAL = ("class", "reason", "hint")


class LostWithOthers(InferenceFault):
    """The process was lost under several calls: this one may well be innocent."""


@dataclass(frozen=True)
class Verdict:
    """Why a process is ended.

    Parameters
    ----------
    during
        The kind of the call that it ended in; empty where nobody can tell.
    fault
        What the call is told if it was the only one; None: that the model stopped.
    """

    reason: str
    hint: str = ""
    during: str = ""
    fault: CxrError | None = None

    def on(self, kind: str) -> CxrError:
        """Return what is said to the only call that was under way."""
        stopped = f"the model stopped ({kind}): {self.reason}"
        return self.fault or InferenceFault(stopped, hint=self.hint)

    def on_one(self, kind: str, kinds: str) -> LostWithOthers:
        """Return what is said to one call of several."""
        stopped = f"the model stopped ({self.during or kinds}): {self.reason}"
        return LostWithOthers(f"{stopped}; this call ({kind}) was lost with it", hint=self.hint)


STOPPED = Verdict("the node ended it")
NONSENSE = Verdict("its answer was none")


def too_slow(kind: str) -> Verdict:
    """Return the verdict on a process that does not answer a call in time."""
    return Verdict("it took too long", TOO_SLOW, kind)


def death(status: int) -> Verdict:
    """Return the verdict on a process that ended, with its exit status."""
    return Verdict(reason_of(status, _DEATHS), _CURES.get(status, ""))


def refused(kind: str, answer: Message) -> CxrError | Verdict:
    """Return why a call got no answer: an error of the engine's, or one that ends the process."""
    name, reason, hint = (str(answer.fields["error"][key]) for key in _REFUSAL)
    fault = _FAULTS.get(name, InferenceFault)(reason, hint=hint)
    return fault if name in _FAULTS and kind != "start" else Verdict(reason, hint, kind, fault)
