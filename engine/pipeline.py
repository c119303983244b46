"""The engine: one bundle, one backend, and the four things that a film can be asked.

Thread-safe: the callers' sequences are stepped together (`engine.scheduler`), and whatever else the
networks do takes its turn between two steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np

from engine import guard, hints, report
from engine.assessment import Assessment, Bands, assess
from engine.backends.base import Backend
from engine.backends.select import open_backend
from engine.bundle import Bundle, open_bundle
from engine.choice import weigh
from engine.films import FilmReader
from engine.findings import FINDINGS
from engine.generation import Advance, draw_codes, ignore, write_text
from engine.identity import Identified
from engine.phrases import NO_PHRASES, ROLE, PhraseBook
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS, Prompt, PromptBuilder
from engine.results import Answer, DraftReport, Drawing, Evidence, Image, Inspection, Provenance
from engine.sampling import GREEDY, Sampling
from engine.scheduler import Scheduler, Urgency
from engine.slots import SlotPool
from engine.study_input import FRONTAL_ONLY, Beside, Part, StudyInput
from engine.vqgan import film_from_codes

MAX_REPORT_TOKENS = 160
MAX_ANSWER_TOKENS = 64
WARM_UP_TOKENS = 4
CHANCE_AUROC = 0.5
AS_TRAINED = Sampling(temperature=1.0)
"""Neither sharpened nor cut: what training made likely."""


class Engine(Identified):
    """A loaded bundle, ready to answer."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle, self.backend = bundle, backend
        self.prompts = PromptBuilder.of(bundle)
        self.phrases = PhraseBook.read(bundle.path(ROLE)) if bundle.has(ROLE) else NO_PHRASES
        self.limits = guard.Thresholds.from_json(bundle.manifest.get("guard", {}))
        self.scheduler = Scheduler(backend)
        self.slots = SlotPool(backend)
        self.films = FilmReader(backend, self.scheduler)

    @classmethod
    def load(
        cls, bundle_dir: Path | None = None, *, backend: str = "auto", num_threads: int = 0
    ) -> Self:
        """Open a bundle (``None``: the demo bundle) on a backend.

        Raises
        ------
        BundleError, BackendUnavailable
            The bundle is refused, or nothing here can run it.
        """
        bundle = open_bundle(bundle_dir)
        return cls(bundle, open_backend(bundle, backend, num_threads))

    def inspect(self, image: Image) -> Inspection:
        """Judge whether a film may be drafted from."""
        if not np.isfinite(image).all():
            return guard.NO_NUMBERS
        return guard.inspect(image, self.films.answers(image), self.limits)

    def warm_up(self) -> None:
        """Look at a blank film and write a few words: no study waits for what happens once.

        Raises
        ------
        GenerationFault
            This machine computes no numbers.
        """
        blank = np.zeros((1, self.transform.size, self.transform.size), np.float32)
        self.inspect(blank)
        prompt = self.prompt_on(blank, REPORT_INSTRUCTIONS[0])
        self.write(prompt.ids, WARM_UP_TOKENS, Urgency.ROUTINE)

    @property
    def hint_thresholds(self) -> dict[str, float]:
        """The probability from which a finding is named in a prompt; empty: none ever is."""
        stated: dict[str, float] = self.bundle.manifest.get("hints", {})
        return stated

    def findings(self, image: Image) -> dict[str, float]:
        """Return the classifier's probability of each finding."""
        values = self.films.answers(image)["findings"].tolist()
        return dict(zip(FINDINGS, values, strict=True))

    @property
    def proven(self) -> frozenset[str]:
        """The findings that the classifier was measured to tell from chance.

        The lower end of the interval of the AUROC, as the bundle's metrics give it, is above 1/2.
        """
        figures = self.bundle.manifest.get("metrics", {}).get("classifier", {})
        return frozenset(
            name for name in FINDINGS if _low(figures.get(f"AUROC {name}")) > CHANCE_AUROC
        )

    def assess(self, image: Image, text: str, bands: Bands) -> tuple[Assessment, ...]:
        """Return what the classifier sees of each finding beside what a draft says of it."""
        return assess(self.findings(image), self.proven, text, bands)

    def evidence(self, image: Image) -> dict[str, Evidence]:
        """Return each proven finding's evidence map; empty where the bundle has none.

        The mean of a map is the finding's calibrated logit but for a constant (class activation
        mapping, arXiv 1512.04150).
        """
        maps = self.films.answers(image).get("evidence")
        if maps is None:
            return {}
        return {name: maps[i] for i, name in enumerate(FINDINGS) if name in self.proven}

    def context(self, image: Image) -> str:
        """Return the prompt's line of likely findings, if the bundle was trained with one."""
        thresholds = self.hint_thresholds
        return hints.line(hints.likely(self.findings(image), thresholds)) if thresholds else ""

    def report(
        self,
        image: Image,
        *,
        hinted: bool = True,
        urgency: Urgency = Urgency.ROUTINE,
        advance: Advance = ignore,
        **beside: Unpack[Beside],
    ) -> DraftReport:
        """Draft a report from a frontal film and what is known beside it, greedily.

        Of ``beside`` the prompt holds the parts in `inputs`, as far as they find room; the
        provenance says which. ``hinted`` may be turned off to see what the model writes without
        the line of likely findings.
        """
        started = time.perf_counter()
        prompt = self.prompt_on(
            image, REPORT_INSTRUCTIONS[0], hinted=hinted, leave=MAX_REPORT_TOKENS, **beside
        )
        ids = self.write(prompt.ids, MAX_REPORT_TOKENS, urgency, advance)
        return self._drafted(ids, prompt, started, None)

    def sample(
        self,
        image: Image,
        *,
        seed: int,
        sampling: Sampling = AS_TRAINED,
        urgency: Urgency = Urgency.ROUTINE,
    ) -> DraftReport:
        """Write one of the reports that the model holds likely; the same seed writes the same.

        For training and for measuring how sure the model is: what is sent is `report`'s.
        """
        started = time.perf_counter()
        prompt = self.prompt_on(image, REPORT_INSTRUCTIONS[0], leave=MAX_REPORT_TOKENS)
        ids = self.write(prompt.ids, MAX_REPORT_TOKENS, urgency, sampling=sampling, seed=seed)
        return self._drafted(ids, prompt, started, seed)

    def _drafted(
        self, ids: list[int], prompt: Prompt, started: float, seed: int | None
    ) -> DraftReport:
        """Return what was written as a draft."""
        text = self.prompts.text(ids)
        findings, impression = report.parse(text)
        provenance = self.provenance(started, seed, len(ids), prompt.inputs)
        return DraftReport(findings, impression, text, provenance)

    def ask(
        self,
        image: Image,
        question: str,
        *,
        urgency: Urgency = Urgency.ROUTINE,
        advance: Advance = ignore,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Answer a question on a film and what is known beside it, greedily."""
        return self.follow(question.strip(), image, urgency=urgency, advance=advance, **beside)

    def follow(
        self,
        instruction: str,
        image: Image | None = None,
        *,
        text: str = "",
        options: Sequence[str] = (),
        max_new_tokens: int = MAX_ANSWER_TOKENS,
        urgency: Urgency = Urgency.ROUTINE,
        advance: Advance = ignore,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Do what an instruction says about a film, or about a text alone, greedily.

        With ``options`` the reply is the one of them that the model holds likeliest.
        """
        started = time.perf_counter()
        replies = {option: self.prompts.text_ids(option) for option in options}
        longest = max(map(len, replies.values()), default=max_new_tokens)
        if image is None:
            prompt = Prompt(self.prompts.about_text(instruction, text), ())
        else:
            prompt = self.prompt_on(image, instruction, leave=longest, **beside)
        if replies:
            said, ids = self.likeliest(prompt.ids, replies, urgency)
        else:
            ids = self.write(prompt.ids, max_new_tokens, urgency, advance)
            said = self.prompts.text(ids)
        provenance = self.provenance(started, None, len(ids), prompt.inputs)
        return Answer(instruction, said, provenance)

    def draw(
        self,
        text: str,
        *,
        seed: int,
        urgency: Urgency = Urgency.ILLUSTRATION,
        advance: Advance = ignore,
    ) -> Drawing:
        """Draw a synthetic film for a report; the same seed draws the same film."""
        started = time.perf_counter()
        settings = self.bundle.drawing
        texts = (text, "") if settings.guidance > 0 else (text,)
        prompts = [self.prompts.drawing(DRAW_INSTRUCTIONS[0], each) for each in texts]
        with ExitStack() as stack:
            lent = [(stack.enter_context(self.slots.lend(ids)), ids) for ids in prompts]
            turns = draw_codes(
                lent,
                self.bundle.vocabulary,
                sampling=Sampling(settings.temperature, settings.top_p),
                seed=seed,
                guidance=settings.guidance,
                advance=advance,
            )
            codes = self.scheduler.run(turns, urgency)
        with self.scheduler.between_steps():
            image = film_from_codes(self.backend, codes)
        return Drawing(text, image, tuple(codes), self.provenance(started, seed, len(codes), ()))

    def prompt_on(
        self,
        image: Image,
        instruction: str,
        *,
        hinted: bool = True,
        leave: int = 0,
        **beside: Unpack[Beside],
    ) -> Prompt:
        """Return the prompt of an instruction on a film and what is known beside it.

        It leaves room for so many tokens of an answer.
        """
        lateral = beside.get("lateral") if Part.LATERAL in self.inputs else None
        study = StudyInput(
            self.films.codes(image).tolist(),
            self._codes(lateral),
            beside.get("indication", ""),
            beside.get("previous_report", ""),
            self.context(image) if hinted else "",
            second=self._codes(beside.get("second")),
            earlier=self._codes(beside.get("earlier")),
        )
        room = self.backend.max_length - leave
        return self.prompts.fitting(instruction, study.only(self.inputs), room)

    def _codes(self, image: Image | None) -> list[int] | None:
        """Return the codes of a film that may be missing."""
        return None if image is None else self.films.codes(image).tolist()

    def write(
        self,
        prompt: list[int],
        max_new_tokens: int,
        urgency: Urgency,
        advance: Advance = ignore,
        *,
        sampling: Sampling = GREEDY,
        seed: int | None = None,
    ) -> list[int]:
        """Return the tokens that the model writes after a prompt, greedily if nothing is said."""
        with self.slots.lend(prompt) as slot:
            turns = write_text(
                slot,
                prompt,
                self.bundle.vocabulary,
                max_new_tokens=max_new_tokens,
                guess=self.phrases.guess,
                sampling=sampling,
                seed=seed,
                advance=advance,
            )
            return self.scheduler.run(turns, urgency)

    def likeliest(
        self, prompt: list[int], replies: Mapping[str, list[int]], urgency: Urgency
    ) -> tuple[str, list[int]]:
        """Return that of some replies, each with its tokens, which is likeliest after a prompt."""
        with self.slots.lend(prompt) as slot:
            turns = weigh(slot, prompt, list(replies.values()), self.bundle.vocabulary)
            weights = self.scheduler.run(turns, urgency)
        return list(replies.items())[int(weights.argmax())]

    def provenance(
        self,
        started: float,
        seed: int | None,
        num_tokens: int,
        inputs: Sequence[str] = FRONTAL_ONLY,
    ) -> Provenance:
        """Return the record of an answer of so many tokens that began at ``started``."""
        return Provenance(
            bundle_name=self.name,
            bundle_version=self.version,
            bundle_digest=self.digest,
            prompt_version=self.bundle.prompt_version,
            backend=self.backend.name,
            seed=seed,
            milliseconds=round(1000 * (time.perf_counter() - started), 3),
            num_tokens=num_tokens,
            inputs=tuple(map(str, inputs)),
        )


def _low(figure: Mapping[str, Any] | None) -> float:
    """Return the lower end of a figure's interval; a figure without one proves nothing."""
    return float((figure or {}).get("low") or 0.0)
