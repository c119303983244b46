"""Reports to model outputs in chunks of studies: JSON lines, one a study, kept as written.

The parts hold what the model wrote, untouched; reading, grounding and counting happen afterwards
(`training.vqa.prompted`), so a better reader needs no new generation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.labeler import label
from training.catalog import Film
from training.config import VqaSection
from training.errors import JobError, VqaError
from training.jobs.cluster import Chunk, Cluster, Stage, joined, keep_all, objects, run_job
from training.jobs.parts import Parts
from training.vqa.parsing import OUTPUT_SCHEMA
from training.vqa.prompted import Completion, collect, messages, prompt_digest, shown
from training.vqa.table import Questions
from training.vqa.writers import (
    Written,
    check_model,
    is_endpoint,
    open_writer,
    source_name,
)


class WriteQuestions:
    """Stage: chunks of reports in, what the model wrote on each as JSON lines out."""

    def __init__(self, model: str, settings: VqaSection) -> None:
        self.writer, self.settings = open_writer(model, settings), settings

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask on chunks: ``chunk``, ``studies``, ``reports`` give ``chunk`` and ``part``."""
        pairs = zip(batch["studies"], batch["reports"], strict=True)
        parts = [self.write(list(studies), list(reports)) for studies, reports in pairs]
        return {"chunk": batch["chunk"], "part": objects(parts)}

    def write(self, studies: list[str], reports: list[str]) -> bytes:
        """Return the JSON lines of some studies."""
        chats = [messages(report, self.settings.num_pairs) for report in reports]
        return lines(zip(studies, self.writer(chats), strict=True))


def lines(written: Iterable[tuple[str, Written]]) -> bytes:
    """Return completions as JSON lines, in ASCII: a lone surrogate survives the disk."""
    rows = (asdict(Completion(study, *result)) for study, result in written)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class VqaJob:
    """What a model writes on the reports of some films, one film a study."""

    run_dir: Path
    films: list[Film]
    model: str
    settings: VqaSection

    def digest(self) -> str:
        """Name the job by what its outputs depend on: model, prompt, limits and reports."""
        named = [
            model_digest(self.model),
            prompt_digest(self.settings.num_pairs),
            [self.settings.max_new_tokens, self.settings.studies_per_chunk],
            [[film.study_id, shown(film)] for film in self.films],
        ]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    def chunks(self) -> list[Chunk]:
        """Return the studies in chunks."""
        size = self.settings.studies_per_chunk
        return [
            Chunk(number, columns(self.films[start : start + size]))
            for number, start in enumerate(range(0, len(self.films), size))
        ]

    def questions(self, generator: str, cluster: Cluster | None) -> Questions:
        """Return the table's rows read from the completions of every study."""
        films = {film.study_id: film for film in self.films}
        found = self.run(generator, cluster)
        return collect(found, films, label, source_name(self.model))

    def run(self, generator: str, cluster: Cluster | None) -> Iterator[Completion]:
        """Ask on the studies that have no output yet, then yield every study's completion.

        ``generator`` is ``transformers`` or ``vllm``.

        Raises
        ------
        VqaError, JobError
            The model is refused, or what it needs is not installed or cannot be reached.
        """
        check_model(self.model, self.settings)
        if generator == "transformers" and is_endpoint(self.model):
            raise VqaError(
                "the generator transformers loads a directory", hint="use --generator vllm"
            )
        chunks = self.chunks()
        parts = Parts(self.run_dir / "parts", "vqa", self.digest(), len(chunks), "jsonl")
        if generator == "vllm" and not is_endpoint(self.model):
            missing = [chunks[number] for number in parts.missing()]
            keep_all(parts, len(chunks), self.by_vllm(missing, cluster or Cluster("local")))
        else:
            run_job(parts, chunks, self.stage(), cluster)
        return (
            Completion(**json.loads(line)) for part in parts.read() for line in part.splitlines()
        )

    def stage(self) -> Stage:
        """Return the stage that asks a model loaded by each actor."""
        named = self.model if is_endpoint(self.model) else str(Path(self.model).resolve())
        return Stage(WriteQuestions, (named, self.settings))

    def by_vllm(self, chunks: Sequence[Chunk], cluster: Cluster) -> Iterator[tuple[int, bytes]]:
        """Yield each chunk's number and part from vLLM engines under Ray Data."""
        if not chunks:
            return
        build, config = vllm_parts()
        with joined(cluster.address) as ray_data:
            ask = build(
                config(**engine_settings(self.model, self.settings, cluster)),
                preprocess=lambda row: row | request(row["report"], self.settings),
                postprocess=lambda row: {
                    "chunk": row["chunk"],
                    "study": row["study"],
                    "generated_text": row["generated_text"],
                },
            )
            rows = ray_data.from_items([row for chunk in chunks for row in study_rows(chunk)])
            yield from regrouped(ask(rows).iter_rows(), chunks)


def columns(films: Sequence[Film]) -> dict[str, Any]:
    """Return what the stage reads of some films."""
    return {
        "studies": [film.study_id for film in films],
        "reports": [shown(film) for film in films],
    }


def model_digest(model: str) -> list[str]:
    """Return what tells a model from another: its name, and its files' names, sizes and config."""
    if is_endpoint(model):
        return [model]
    folder = Path(model)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    sizes = [f"{file.name} {file.stat().st_size}" for file in files]
    return [folder.resolve().name, *sizes, (folder / "config.json").read_text(encoding="utf-8")]


def vllm_parts() -> tuple[Any, Any]:
    """Return Ray's processor builder and vLLM's configuration class.

    Raises
    ------
    JobError
        vLLM or Ray's part for it is not installed.
    """
    try:
        import vllm  # noqa: F401  (Ray would notice its absence only on the workers)
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig
    except ModuleNotFoundError as fault:
        raise JobError(
            f"the generator vllm needs {fault.name}, which is not installed",
            hint='pip install "ray[llm]==2.60.*" in an environment of its own (it pins vLLM), '
            "or use --generator transformers",
        ) from fault
    return build_processor, vLLMEngineProcessorConfig


def engine_settings(model: str, settings: VqaSection, cluster: Cluster) -> dict[str, Any]:
    """Return the settings of the vLLM engines; one overlong report must not end the job."""
    return {
        "model_source": str(Path(model).resolve()),
        "engine_kwargs": {
            "enable_prefix_caching": True,
            "tensor_parallel_size": max(1, int(cluster.gpus_per_actor)),
        },
        "batch_size": settings.batch_size,
        "concurrency": cluster.actors,
        "should_continue_on_error": True,
    }


def request(report: str, settings: VqaSection) -> dict[str, Any]:
    """Return what vLLM reads for one report; decoding is constrained to the output's schema."""
    sampling = {
        "temperature": 0.0,
        "max_tokens": settings.max_new_tokens,
        "structured_outputs": {"json": json.dumps(OUTPUT_SCHEMA)},
    }
    return {"messages": messages(report, settings.num_pairs), "sampling_params": sampling}


def study_rows(chunk: Chunk) -> list[dict[str, Any]]:
    """Return a chunk as one row a study."""
    pairs = zip(chunk.columns["studies"], chunk.columns["reports"], strict=True)
    return [{"chunk": chunk.number, "study": study, "report": text} for study, text in pairs]


def regrouped(
    rows: Iterable[dict[str, Any]], chunks: Sequence[Chunk]
) -> Iterator[tuple[int, bytes]]:
    """Yield each chunk as soon as all its studies have come back, in whatever order they do.

    A study that the engine failed on carries ``__inference_error__`` and no text: it is kept as a
    completion with its reason, so that it is counted and not asked for ever.
    """
    expected = {chunk.number: chunk.columns["studies"] for chunk in chunks}
    arrived: dict[int, dict[str, Written]] = {number: {} for number in expected}
    for row in rows:
        number = int(row["chunk"])
        failed = bool(row.get("__inference_error__"))
        result = ("", "engine failed on the report") if failed else (row["generated_text"], "")
        arrived[number][row["study"]] = result
        if len(arrived[number]) == len(expected[number]):
            found = arrived.pop(number)
            yield number, lines((study, found[study]) for study in expected[number])
