"""The inside of the process that the model runs in: it may hang, swell or crash.

It loads the bundle, warms up, says who it is, then answers requests until standard input ends: each
on a thread of its own, so that the engine steps them together. Standard output carries the answers
(`node.inference_wire`) and nothing else: whatever a library prints goes nowhere. An error of our
tree crosses as class, reason and hint. Of any other only its kind and place cross, for its text may
quote a patient; and this process ends with it, without the answers that are still due: nobody knows
what such an error leaves behind.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from engine.assessment import Bands
from engine.errors import CxrError
from engine.scheduler import Urgency
from node import inference_wire as wire
from node.config import Settings
from node.inference_wire import HELLO, Head, Message
from node.loading import load_engine
from node.logs import brief, silence_libraries
from node.ports import Drafter

NO_MEMORY = "the model needs more memory than it may take"
MORE_MEMORY = "raise node.work.engine_memory_mb, or set it to 0 for no limit"
NO_THREADS = "the system lets the model start no more threads"
MORE_THREADS = (
    "let the service have more tasks (TasksMax, or the container's pids), lower engine.num_threads "
    "or raise node.work.engine_memory_mb"
)
_SCARCE: Mapping[str, tuple[str, str]] = {
    "bad_alloc": (NO_MEMORY, MORE_MEMORY),
    "bad allocation": (NO_MEMORY, MORE_MEMORY),
    "Failed to allocate memory": (NO_MEMORY, MORE_MEMORY),
    "Cannot allocate memory": (NO_MEMORY, MORE_MEMORY),  # ENOMEM: no room for a thread's stack
    "out of memory": (NO_MEMORY, MORE_MEMORY),
    "Resource temporarily unavailable": (NO_THREADS, MORE_THREADS),  # EAGAIN of pthread_create(3)
    "can't start new thread": (NO_THREADS, MORE_THREADS),
}
"""What runtimes say where something is scarce, and what we say: reason and hint."""

_FIRST_TO_GO = "500"
"""How much sooner than by its size the kernel ends it (proc(5), oom_score_adj)."""

MAX_CALLS = 16
"""Requests under way at one time. The node sends no more: whoever comes then waits there."""

IDENTITY = ("name", "version", "digest", "device_uid", "license", "intended_use")
"""What a model says of itself, beside its transform."""

Load = Callable[[Settings], Drafter]
Call = Callable[[Drafter, Message], Message]

CALLS: Mapping[str, Call] = {
    "inspect": lambda engine, asked: wire.pack_inspection(engine.inspect(_image(asked))),
    "report": lambda engine, asked: wire.pack_report(
        engine.report(_image(asked), urgency=_urgency(asked), **wire.unpack_beside(asked))
    ),
    "ask": lambda engine, asked: wire.pack_answer(
        engine.ask(
            _image(asked),
            asked.fields["question"],
            urgency=_urgency(asked),
            **wire.unpack_beside(asked),
        )
    ),
    "follow": lambda engine, asked: wire.pack_answer(
        engine.follow(
            image=asked.arrays.get("image"), urgency=_urgency(asked), **asked.fields["task"]
        )
    ),
    "draw": lambda engine, asked: wire.pack_drawing(
        engine.draw(asked.fields["text"], seed=asked.fields["seed"], urgency=_urgency(asked))
    ),
    "assess": lambda engine, asked: wire.pack_assessments(
        engine.assess(_image(asked), asked.fields["text"], Bands(**asked.fields["bands"]))
    ),
    "evidence": lambda engine, asked: wire.pack_evidence(engine.evidence(_image(asked))),
}


def _urgency(asked: Message) -> Urgency:
    return Urgency(asked.fields["urgency"])


def _image(asked: Message) -> wire.Array:
    return asked.arrays["image"]


def confine(memory_mb: int) -> None:
    """Limit the memory of this process, let it dump no core, and leave signals to the node.

    Where the machine runs out of memory it is this process that goes, and not the node.

    Ctrl-C and systemd signal every process of a service at once: the node ends us when it has
    finished what is under way.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(OSError):  # some containers show /proc read-only
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def end_with_the_node() -> None:
    """End when standard input is closed, whatever is being computed then."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)  # its end alone
    poll.poll()
    os._exit(0)


class Service:
    """The model, once it is loaded, and its answers, each made on a thread of its own."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._writing = threading.Lock()
        self._threads = ThreadPoolExecutor(MAX_CALLS)
        self._engine: Drafter | None = None

    def serve(self, load: Callable[[], Drafter]) -> None:
        """Load, say hello, and answer until the requests end, or an error that is not ours."""
        self._give(HELLO, partial(self._open, load))
        while self._engine is not None:
            content = self._requests.read(wire.HEAD.size)
            if len(content) < wire.HEAD.size:
                return
            head = wire.read_head(content)
            self._give(head.number, partial(self._begin, head, self._engine))

    def _open(self, load: Callable[[], Drafter]) -> Message:
        """Load and warm up; return who the model is."""
        notes = _Notes()
        logging.getLogger("engine").addHandler(notes)
        engine = load()
        engine.warm_up()
        identity = {name: getattr(engine, name) for name in IDENTITY}
        self._engine = engine
        made_for = {"transform": engine.transform.as_json(), "inputs": list(engine.inputs)}
        return Message({**identity, **made_for, "notes": notes.lines})

    def _begin(self, head: Head, engine: Drafter) -> None:
        """Read the rest of a request and leave it to a thread."""
        text, raw = (self._requests.read(size) for size in (head.num_text, head.num_raw))
        answer = partial(_answer, engine, text, raw)
        self._threads.submit(self._give, head.number, answer)

    def _give(self, number: int, make: Callable[[], Message | None]) -> None:
        """Write an answer, or why there is none; end this process where it may not go on."""
        answer, goes_on = guarded(number, make)
        with self._writing:
            self._answers.write(answer)
            self._answers.flush()
            if not goes_on:
                os._exit(0)  # before another thread gives an answer that is not to be trusted


def _answer(engine: Drafter, text: bytes, raw: bytes) -> Message:
    asked = wire.unpack(text, raw)
    return CALLS[str(asked.fields["call"])](engine, asked)


def guarded(number: int, make: Callable[[], Message | None]) -> tuple[bytes, bool]:
    """Return the answer, or why there is none, and whether this process may go on."""
    try:
        message = make()
        return (message.pack(number) if message else b""), True
    except Exception as error:  # noqa: BLE001  (whatever it is, it crosses as a reason)
        if (scarce := _scarce(error) or _scarce(error.__cause__)) is not None:
            return refusal("", *scarce).pack(number), False
        if not isinstance(error, CxrError):
            return refusal("", brief(error), "").pack(number), False
        kind = next(kind for kind in type(error).mro() if kind.__module__ == "engine.errors")
        return refusal(kind.__name__, str(error), error.hint).pack(number), True


def refusal(kind: str, reason: str, hint: str) -> Message:
    """Return the answer that says why there is none; no kind where this process ends with it."""
    return Message({"error": {"class": kind, "reason": reason, "hint": hint}})


def _scarce(error: BaseException | None) -> tuple[str, str] | None:
    """Return reason and hint where an error says that something is scarce."""
    if isinstance(error, MemoryError):
        return NO_MEMORY, MORE_MEMORY
    text = str(error)
    return next((told for words, told in _SCARCE.items() if words in text), None)


class _Notes(logging.Handler):
    """Keeps what the engine says of backends while it loads, when there is no patient yet."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(load: Load = load_engine) -> None:
    """Serve the model that the first argument describes."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    confine(wanted["memory_mb"])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  (a device)
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    silence_libraries()
    threading.Thread(target=end_with_the_node, daemon=True).start()
    settings = Settings.model_validate({"engine": wanted["engine"]})
    try:
        Service(sys.stdin.buffer, answers).serve(lambda: load(settings))
    finally:
        os._exit(0)  # whatever its threads still compute


if __name__ == "__main__":
    main()
