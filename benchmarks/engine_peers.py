"""One runtime in a process of its own: it measures itself when it is asked to.

`python -m benchmarks.engine_peers RUNTIME FOLDER` reads one JSON line a measurement and answers
with one; `benchmarks.engine` talks to it. Sampling, masks and loops are what a user of that runtime
would write around it; what is timed is from token ids to token ids.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_model import MAX_LENGTH, ModelFiles
from engine.sampling import Sampling, pick

NUM_THREADS = 2
NUM_CODES = 1024
DRAWING = Sampling(temperature=0.7, top_p=0.8)
Logits = NDArray[np.float32]


class Runtime(Protocol):
    """Sequences that tokens are appended to; all sequences are empty after `reset`."""

    def reset(self) -> None:
        """Forget everything."""

    def feed(self, sequences: Sequence[int], ids: Sequence[Sequence[int]]) -> list[Logits]:
        """Append tokens to sequences; return the logits [V] after the last token of each."""


class Native:
    """The kernels of this project."""

    def __init__(self, files: ModelFiles) -> None:
        from engine.backends.initializers import read_graph
        from engine.backends.native import NativeModel

        self.backend: Any = NativeModel(read_graph(files.graph), MAX_LENGTH, NUM_THREADS)
        self.slots: dict[int, Any] = {}
        self.rows = range(files.num_text)

    def reset(self) -> None:
        """Forget everything."""
        for slot in self.slots.values():
            slot.rewind(0)

    def feed(self, sequences: Sequence[int], ids: Sequence[Sequence[int]]) -> list[Logits]:
        """Append tokens; the head is computed for the rows that may come next."""
        return [row[-1] for row in self.forward(sequences, ids, [1] * len(ids))]

    def forward(
        self, sequences: Sequence[int], ids: Sequence[Sequence[int]], wanted: Sequence[int]
    ) -> list[Logits]:
        """Append tokens; return the logits after the last few of each."""
        from engine.backends.base import Feed

        for number in sequences:
            if number not in self.slots:
                self.slots[number] = self.backend.open_slot()
        parts = zip(sequences, ids, wanted, strict=True)
        return list(
            self.backend.forward(
                [Feed(self.slots[number], part, self.rows, count) for number, part, count in parts]
            )
        )


class OnnxCpu(Native):
    """The fallback of this project: the bundle's graph in onnxruntime."""

    def __init__(self, files: ModelFiles) -> None:
        from engine.backends.onnx_cpu import OnnxCpuBackend

        class LanguageModel(OnnxCpuBackend):
            """The backend without films."""

            def __init__(self) -> None:
                from engine.backends.onnx_films import import_onnxruntime
                from engine.bundle import CacheShape

                self.runtime, self.num_threads = import_onnxruntime(), NUM_THREADS
                self.bundle: Any = _OnlyGraph(files.graph, CacheShape(30, 3, MAX_LENGTH, 64))
                self.language_model = self.session("language_model")

        self.backend = LanguageModel()
        self.slots = {}
        self.rows = range(files.num_text)


class _OnlyGraph:
    """As much of a bundle as a session needs."""

    def __init__(self, graph: Path, cache: Any) -> None:
        self.graph, self.cache = graph, cache

    def path(self, role: str) -> Path:
        """Return the one graph."""
        return self.graph


class LlamaCpp:
    """llama.cpp by its C interface."""

    def __init__(self, files: ModelFiles) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, None)
        llama_cpp.llama_backend_init()
        path = str(files.gguf).encode()
        self.model = llama_cpp.llama_model_load_from_file(
            path, llama_cpp.llama_model_default_params()
        )
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = 8 * MAX_LENGTH, 4096, 512
        wanted.n_seq_max, wanted.n_threads, wanted.n_threads_batch = 8, NUM_THREADS, NUM_THREADS
        wanted.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, wanted)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(4096, 0, 8)
        self.lengths: dict[int, int] = {}

    def reset(self) -> None:
        """Forget everything."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        self.lengths = {}

    def feed(self, sequences: Sequence[int], ids: Sequence[Sequence[int]]) -> list[Logits]:
        """Append tokens in one batch."""
        batch, at, ends = self.batch, 0, []
        for number, part in zip(sequences, ids, strict=True):
            for token in part:
                batch.token[at], batch.pos[at] = token, self.lengths.get(number, 0)
                batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, number, 0
                self.lengths[number] = batch.pos[at] + 1
                at += 1
            batch.logits[at - 1] = 1
            ends.append(at - 1)
        batch.n_tokens = at
        if self.lib.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        found = [self.lib.llama_get_logits_ith(self.context, end) for end in ends]
        kind = ctypes.POINTER(ctypes.c_float * self.size)
        return [np.frombuffer(ctypes.cast(row, kind).contents, np.float32) for row in found]


class Genai:
    """onnxruntime-genai; one generator a sequence, or one for a whole batch of equal lengths."""

    def __init__(self, files: ModelFiles) -> None:
        import onnxruntime_genai

        self.lib: Any = onnxruntime_genai
        self.model = onnxruntime_genai.Model(str(files.genai))
        self.generator: Any = None

    def reset(self) -> None:
        """Forget everything."""
        self.generator = None

    def feed(self, sequences: Sequence[int], ids: Sequence[Sequence[int]]) -> list[Logits]:
        """Append tokens; the whole head is computed, for the library knows no other."""
        if self.generator is not None and len(sequences) > 1:
            # a batch goes on by the library's own greedy search, or not at all
            self.generator.generate_next_token()
            return [np.zeros(1, np.float32)] * len(sequences)
        if self.generator is None:
            wanted = self.lib.GeneratorParams(self.model)
            wanted.set_search_options(max_length=MAX_LENGTH, batch_size=len(sequences))
            self.generator = self.lib.Generator(self.model, wanted)
        self.generator.append_tokens(np.asarray(ids, np.int32))
        return list(np.asarray(self.generator.get_logits())[:, -1])


class Transformers:
    """`transformers` with a growing cache, in bfloat16."""

    def __init__(self, files: ModelFiles) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(NUM_THREADS)
        self.torch: Any = torch
        kind = self.dtype(torch)
        self.model = AutoModelForCausalLM.from_pretrained(files.transformers, dtype=kind)
        self.cache: Any = None

    def dtype(self, torch: Any) -> Any:
        """Return what it computes in."""
        return torch.bfloat16

    def reset(self) -> None:
        """Forget everything."""
        self.cache = None

    def feed(self, sequences: Sequence[int], ids: Sequence[Sequence[int]]) -> list[Logits]:
        """Append tokens; logits after the last alone, as `generate` asks for them."""
        with self.torch.inference_mode():
            answer = self.model(
                self.torch.tensor(np.asarray(ids)),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self.cache = answer.past_key_values
        return list(answer.logits[:, -1].float().numpy())


class Reference(Transformers):
    """`transformers` in float32: what fidelity is measured against."""

    def dtype(self, torch: Any) -> Any:
        """Return what it computes in."""
        return torch.float32


RUNTIMES: dict[str, Callable[[ModelFiles], Runtime]] = {
    "cxr native int8": Native,
    "cxr onnx_cpu int8": OnnxCpu,
    "llama.cpp Q8_0": LlamaCpp,
    "onnxruntime-genai int8": Genai,
    "transformers bfloat16": Transformers,
    "transformers float32": Reference,
}


class Bench:
    """The measurements of one runtime."""

    def __init__(self, runtime: Runtime, num_text: int) -> None:
        self.runtime, self.num_text = runtime, num_text

    def prefill(self, prompt: list[int]) -> float:
        """Return the seconds until the logits after a prompt."""
        self.runtime.reset()
        return _timed(lambda: self.runtime.feed([0], [prompt]))

    def decode(self, prompt: list[int], count: int) -> float:
        """Return the seconds of each greedy token after a prompt."""
        self.runtime.reset()
        (row,) = self.runtime.feed([0], [prompt])
        return _timed(lambda: self._go_on([row], count)) / count

    def draft(self, prompt: list[int], count: int) -> float:
        """Return the seconds of a prompt and so many greedy tokens."""
        self.runtime.reset()
        return _timed(lambda: self._go_on(self.runtime.feed([0], [prompt]), count - 1))

    def batch(self, prompt: list[int], num_sequences: int, count: int) -> float:
        """Return the seconds of each step of several sequences at once."""
        self.runtime.reset()
        numbers = list(range(num_sequences))
        rows = self.runtime.feed(numbers, [prompt] * num_sequences)
        return _timed(lambda: self._go_on(rows, count)) / count

    def drawing(self, prompt: list[int], count: int) -> float:
        """Return the seconds of an image of so many sampled codes after a prompt."""
        codes = range(self.num_text, self.num_text + NUM_CODES)
        if isinstance(self.runtime, Native):
            self.runtime.rows = codes
        self.runtime.reset()
        try:
            return _timed(lambda: self._draw(prompt, count, codes))
        finally:
            if isinstance(self.runtime, Native):
                self.runtime.rows = range(self.num_text)

    def _draw(self, prompt: list[int], count: int, codes: range) -> None:
        rng = np.random.default_rng(0)
        (row,) = self.runtime.feed([0], [prompt])
        for _ in range(count - 1):
            scores = row if len(row) == len(codes) else row[codes.start : codes.stop]
            (row,) = self.runtime.feed([0], [[codes.start + pick(scores, DRAWING, rng)]])

    def _go_on(self, rows: list[Logits], count: int) -> None:
        numbers = list(range(len(rows)))
        for _ in range(count):
            tokens = [int(row[: self.num_text].argmax()) for row in rows]
            rows = self.runtime.feed(numbers, [[token] for token in tokens])

    def replay(self, prompt: list[int], texts: list[list[int]], guesses: Any) -> list[float]:
        """Return the seconds of each text, written token by token or with checked guesses.

        The text stands for what a tuned model would write: a guess is right where it is what the
        text says. `guesses` is a table of phrases, or nothing.
        """
        from engine.phrases import NO_PHRASES, PhraseBook

        book = PhraseBook.of(guesses) if guesses else NO_PHRASES
        return [_timed(lambda text=text: self._write(prompt, text, book)) for text in texts]

    def _write(self, prompt: list[int], text: list[int], book: Any) -> None:
        runtime: Any = self.runtime
        runtime.reset()
        runtime.feed([0], [prompt])
        written = 1
        while written < len(text):
            expected = book.guess(text[:written])[: len(text) - written - 1]
            ids = [text[written - 1], *expected]
            if expected:
                (rows,) = runtime.forward([0], [ids], [len(ids)])
            else:
                rows = np.stack(runtime.feed([0], [ids]))
            rows.argmax(-1)  # what a greedy model would look at
            right = next(
                (i for i, token in enumerate(expected) if token != text[written + i]), len(expected)
            )
            if expected:
                slot = runtime.slots[0]
                slot.rewind(slot.length - len(expected) + right)
            written += right + 1

    def logits(self, ids: list[int], path: str) -> None:
        """Write the logits [T, words] along a text into a file, token by token."""
        self.runtime.reset()
        rows = [self.runtime.feed([0], [[token]])[0][: self.num_text].copy() for token in ids]
        np.save(path, np.stack(rows).astype(np.float32))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Answer measurements until standard input ends."""
    files = ModelFiles(Path(sys.argv[2]))
    bench = Bench(RUNTIMES[sys.argv[1]](files), files.num_text)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(bench, name)(**arguments)), flush=True)


if __name__ == "__main__":
    main()
