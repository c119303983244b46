"""The model in a process of its own (`node.inference_process`), restarted when it is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, Unpack

from engine.assessment import Assessment, Bands
from engine.config import EngineSettings
from engine.errors import BundleIncompatible
from engine.pixels import Transform
from engine.results import Answer, DraftReport, Drawing, Evidence, Image, Inspection
from engine.scheduler import Urgency
from engine.study_input import Beside
from node import inference_wire as wire
from node.config import Settings, WorkSettings
from node.inference_child import IDENTITY, MAX_CALLS
from node.inference_line import Line
from node.inference_process import ModelProcess
from node.inference_turns import Turns
from node.inference_verdict import LostWithOthers
from node.inference_wire import Message
from node.logs import get_logger, say
from node.meters import NO_METERS, Meters

_LOG = get_logger("inference")
_Result = TypeVar("_Result")
_STOP_S = 1.0


class InferenceChild:
    """A `node.ports.Drafter` whose model runs in another process, for several callers at a time.

    Where the process is lost under several calls, nobody can tell which of them it was. So each is
    put once more, alone: what it does then is its own doing.

    Parameters
    ----------
    engine
        The `engine` section: which bundle runs, and on what.
    work
        The `node.work` section: how long a draft may take, and how much memory.
    module
        What runs in the process.
    meters
        Count the starts of the process.
    """

    def __init__(
        self,
        engine: EngineSettings,
        work: WorkSettings,
        module: str = "node.inference_child",
        meters: Meters = NO_METERS,
    ) -> None:
        self._process = ModelProcess(engine, work, module, _hello, meters)
        self._timeout_s = work.draft_timeout_s
        self._turns = Turns(MAX_CALLS)
        self._opening = threading.Lock()
        self._ready: Line | None = None
        self._identity: Mapping[str, Any] = {}

    def start(self) -> None:
        """Start the process; it loads while the caller goes on."""
        with self._opening:
            self._process.line()

    def warm_up(self) -> None:
        """Wait until the model is loaded and warm.

        Raises
        ------
        BundleError, EngineError
            It cannot be.
        """
        with self._turns.turn(self._timeout_s):
            self._open()

    def stop(self) -> None:
        """End the process, for good.

        A call under way is left alone: its study is taken up again at the next start, and the
        process ends with this one.
        """
        if self._turns.take(_STOP_S, alone=True):  # and nobody gets another turn
            self._process.end()

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._process.pid

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self._known("name"))

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self._known("version"))

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle."""
        return str(self._known("digest"))

    @property
    def device_uid(self) -> str:
        """UID of this model as an observing device."""
        return str(self._known("device_uid"))

    @property
    def license(self) -> str:
        """The licence of the weights."""
        return str(self._known("license"))

    @property
    def intended_use(self) -> str:
        """What the model may be used for."""
        return str(self._known("intended_use"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The parts of a study that the model was trained with."""
        return tuple(self._known("inputs"))

    @property
    def transform(self) -> Transform:
        """How a film becomes an image."""
        transform: Transform = self._known("transform")
        return transform

    def inspect(self, image: Image) -> Inspection:
        """Tell whether a film may be drafted from."""
        return self._call("inspect", wire.unpack_inspection, image)

    def report(
        self, image: Image, *, urgency: Urgency = Urgency.ROUTINE, **beside: Unpack[Beside]
    ) -> DraftReport:
        """Draft a report from a film and what is known beside it."""
        return self._call("report", wire.unpack_report, image, beside, urgency=urgency)

    def ask(
        self,
        image: Image,
        question: str,
        *,
        urgency: Urgency = Urgency.ROUTINE,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Answer a question on a film and what is known beside it."""
        return self._call(
            "ask", wire.unpack_answer, image, beside, question=question, urgency=urgency
        )

    def follow(
        self,
        instruction: str,
        image: Image | None = None,
        *,
        text: str = "",
        options: Sequence[str] = (),
        max_new_tokens: int,
        urgency: Urgency = Urgency.ROUTINE,
    ) -> Answer:
        """Do what an instruction says about a film, or about a text alone."""
        asked = wire.pack_task(instruction, text, options, max_new_tokens)
        return self._call("follow", wire.unpack_answer, image, urgency=urgency, task=asked)

    def draw(self, text: str, *, seed: int, urgency: Urgency = Urgency.ILLUSTRATION) -> Drawing:
        """Draw a synthetic film."""
        return self._call("draw", wire.unpack_drawing, text=text, seed=seed, urgency=urgency)

    def assess(self, image: Image, text: str, bands: Bands) -> tuple[Assessment, ...]:
        """Tell what the classifier sees of each finding beside what a draft says."""
        bounds = vars(bands)
        return self._call("assess", wire.unpack_assessments, image, text=text, bands=bounds)

    def evidence(self, image: Image) -> Mapping[str, Evidence]:
        """Tell where each finding's evidence lies; empty where the model cannot."""
        return self._call("evidence", wire.unpack_evidence, image)

    def _known(self, name: str) -> Any:
        """Return what the model said of itself when it was first ready."""
        if not self._identity:
            self.warm_up()
        return self._identity[name]

    def _call(
        self,
        kind: str,
        read: Callable[[Message], _Result],
        image: Image | None = None,
        beside: Beside | None = None,
        **fields: object,
    ) -> _Result:
        """Put a request to the model.

        Raises
        ------
        EngineError
            The model could not answer, or its process did not survive it (`InferenceFault`).
        """
        texts, arrays = wire.pack_beside(beside or {})
        arrays |= {} if image is None else {"image": image}
        request = Message({"call": kind, **texts, **fields}, arrays)
        try:
            with self._turns.turn(self._timeout_s):
                return self._open().exchange(kind, read, request)
        except LostWithOthers:
            with self._turns.turn(self._timeout_s, alone=True):
                return self._open().exchange(kind, read, request)

    def _open(self) -> Line:
        """Return the line to a process that is ready; start another where the last one is gone."""
        with self._opening:
            line = self._process.line()
            if line is not self._ready:
                self._greet(line.greet())
                self._ready = line
            return line

    def _greet(self, hello: Mapping[str, Any]) -> None:
        """Take note of who answers; it must be the model that answered before."""
        if self._identity and hello["digest"] != self._identity["digest"]:
            self._process.end()
            raise BundleIncompatible(
                "the bundle on disk is not the one that the node started with",
                hint="restart the node",
            )
        self._identity = hello
        for note in hello["notes"]:
            say(_LOG, "inference.note", level=logging.WARNING, text=note)
        took_s = round(self._process.age_s, 3)
        say(_LOG, "inference.ready", model=self.name, version=self.version, took_s=took_s)


def _hello(message: Message) -> Mapping[str, Any]:
    """Return who the model is, with its transform and what it noted while it loaded."""
    fields = message.fields
    return {
        **{name: str(fields[name]) for name in IDENTITY},
        "transform": Transform.from_json(fields["transform"]),
        "inputs": [str(part) for part in fields["inputs"]],
        "notes": [str(note) for note in fields["notes"]],
    }


@contextmanager
def inference(
    settings: Settings, meters: Meters = NO_METERS
) -> Iterator[tuple[InferenceChild, ...]]:
    """Run the models beside the block, if this node drafts; they load while the block goes on.

    The bundle that drafts is the first of them; the challenger, if there is one, the second.
    """
    if "draft" not in settings.node.roles:
        yield ()
        return
    work = settings.node.work
    children = tuple(InferenceChild(one, work, meters=meters) for one in settings.engine.each)
    try:
        for child in children:
            child.start()
        yield children
    finally:
        for child in children:
            child.stop()
