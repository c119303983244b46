"""How long a hospital waits: from the last C-STORE response to the report stored in its PACS.

Films go to `cxr-node run` over DIMSE, reports come back into a real Orthanc; the stages are read
from the node's own ledger. With `--run` the same model, from its training run,
answers the same prompts under `transformers.generate` in float32 on the CPU, repeat by repeat in
turn, as the peer.

    python -m benchmarks.end_to_end --repeats 5 [--run runs/demo] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from rich.console import Console
from rich.table import Table

from engine.pipeline import MAX_REPORT_TOKENS, Engine
from engine.pixels import render
from engine.prompts import REPORT_INSTRUCTIONS
from engine.vqgan import codes_of_film
from tests import films
from tests.acceptance.peers import (
    NodeProcess,
    Orthanc,
    free_port,
    node_settings,
    peer,
    wait_for,
)

STAGES: dict[str, tuple[str, str]] = {
    "quiet time": ("received", "ready"),
    "claim": ("ready", "claimed"),
    "render": ("claimed", "rendered"),
    "inspect": ("rendered", "inspected"),
    "encode and generate": ("inspected", "reported"),
    "build": ("reported", "built"),
    "commit and pick up": ("built", "delivering"),
    "deliver": ("delivering", "sent"),
}
"""Each stage lies between two steps of the ledger's timeline."""
GENERATE = "encode and generate"

Times = dict[str, float]
Answer = tuple[float, int]
"""Milliseconds to encode a film and generate its report, and the tokens of the report."""
Peer = Callable[[Dataset], Answer]
_BUSY = 0.5


def stages_of(timeline: Sequence[dict[str, Any]]) -> Times:
    """Return the milliseconds of every stage, from a timeline of `cxr-node status`."""
    at = {step["name"]: step["ms"] for step in timeline}
    return {name: at[end] - at[start] for name, (start, end) in STAGES.items()}


def send(port: int, ds: Dataset) -> None:
    """Send a film to the node, as a modality."""
    ae = AE("CRROOM1")
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRDRAFT")
    if not assoc.is_established or assoc.send_c_store(ds).Status != 0x0000:
        raise SystemExit("the node did not take the film")
    assoc.release()


def journey(node: NodeProcess, orthanc: Orthanc, ds: Dataset) -> tuple[Times, str]:
    """Send one film; return the stages of its journey and the text of its report."""
    send(node.port, ds)
    uid = ds.StudyInstanceUID
    wait_for(lambda: node.states().get(uid) not in (None, *_UNDER_WAY), 300, "the report")
    (row,) = node.journal.study(uid)
    if row["state"] != "DONE":
        raise SystemExit(f"no report: {row['state']} {row['reason']}")
    if not orthanc.find("Series", StudyInstanceUID=uid, Modality="SR"):
        raise SystemExit("the report is not in the PACS")
    return stages_of(row["timeline"]), row["result"]["text"]


_UNDER_WAY = ("RECEIVING", "READY", "RUNNING", "DRAFTED", "DELIVERING")


def transformers_peer(engine: Engine, run_dir: Path) -> Peer:
    """Return the same model under `transformers.generate`: film in, (milliseconds, tokens) out.

    The film is encoded by our encoder on both sides, and its time counts on both.
    """
    import torch

    from engine.nets.load import load_language_model

    model = load_language_model(run_dir).model
    vocabulary = engine.bundle.vocabulary
    images = list(range(vocabulary.num_text, model.config.vocab_size))

    def answer(ds: Dataset) -> Answer:
        image = render(ds, engine.transform)
        started = time.perf_counter()
        codes = codes_of_film(engine.backend, image)
        prompt = torch.tensor([engine.prompts.about_image(REPORT_INSTRUCTIONS[0], codes)])
        with torch.inference_mode():
            ids = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=MAX_REPORT_TOKENS,
                eos_token_id=vocabulary.end_id,
                pad_token_id=vocabulary.end_id,
                suppress_tokens=images,
            )
        return (time.perf_counter() - started) * 1000, ids.shape[1] - prompt.shape[1]

    return answer


def accepted_films(engine: Engine, options: argparse.Namespace) -> Iterator[Dataset]:
    """Yield films that the guard accepts: one to warm up, then one a repeat."""
    made = (films.dicom(film, size=options.size) for film in films.films())
    good = (ds for ds in made if engine.inspect(render(ds, engine.transform)).accepted)
    return islice(good, options.repeats + 1)


def measure(
    options: argparse.Namespace, folder: Path
) -> tuple[list[Times], list[Answer], list[Answer]]:
    """Run the repeats, ours and the peer's in turn; return our stages, our and their answers."""
    engine = Engine.load(options.bundle)
    answer = transformers_peer(engine, options.run) if options.run else None
    port = free_port()
    orthanc = Orthanc(folder / "orthanc", port, routes=False)
    peers = {"pacs": peer(orthanc.aet, orthanc.port, ["report"]), "room": peer("CRROOM1", 1)}
    settings = node_settings(folder, port, peers)
    settings["engine"] = {"bundle": str(options.bundle) if options.bundle else None}
    node = NodeProcess(folder / "node", settings)
    stages: list[Times] = []
    ours: list[Answer] = []
    theirs: list[Answer] = []
    try:
        orthanc.start()
        node.start()
        for number, ds in enumerate(accepted_films(engine, options)):
            times, text = journey(node, orthanc, ds)
            other = [answer(ds)] if answer else []
            if number:  # the first one warms both up
                stages.append(times)
                ours.append((times[GENERATE], len(engine.prompts.text_ids(text)) + 1))
                theirs += other
    finally:
        node.stop()
        orthanc.stop()
    return stages, ours, theirs


def summary(stages: list[Times], ours: list[Answer], theirs: list[Answer]) -> dict[str, Any]:
    """Return medians, and the ratios to the peer."""
    after_quiet = [sum(times.values()) - times["quiet time"] for times in stages]
    result: dict[str, Any] = {
        "repeats": len(stages),
        "stages_ms": {name: statistics.median(t[name] for t in stages) for name in STAGES},
        "total_ms": statistics.median(sum(times.values()) for times in stages),
        "after_quiet_ms": statistics.median(after_quiet),
        "tokens": statistics.median(tokens for _, tokens in ours),
    }
    if theirs:
        pairs = [(o, t) for (o, _), (t, _) in zip(ours, theirs, strict=True)]
        with_peer = [all_ms - o + t for all_ms, (o, t) in zip(after_quiet, pairs, strict=True)]
        result["peer"] = "transformers.generate, float32, CPU"
        result["peer_ms"] = statistics.median(ms for ms, _ in theirs)
        result["peer_tokens"] = statistics.median(tokens for _, tokens in theirs)
        result["generate_ratio"] = statistics.median(t / o for o, t in pairs)
        result["per_token_ratio"] = per_token(theirs) / per_token(ours)
        result["end_to_end_ratio"] = statistics.median(with_peer) / result["after_quiet_ms"]
    return result


def per_token(answers: list[Answer]) -> float:
    """Return the median milliseconds a token, prompt and encoding included."""
    return statistics.median(ms / tokens for ms, tokens in answers)


def show(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    console = Console()
    table = Table("stage", "median ms", title=f"{result['repeats']} studies", box=None)
    for name, milliseconds in result["stages_ms"].items():
        table.add_row(name, f"{milliseconds:.1f}")
    table.add_row("total, last C-STORE response to stored SR", f"{result['total_ms']:.1f}")
    table.add_row("the same after the quiet time", f"{result['after_quiet_ms']:.1f}")
    console.print(table)
    if "peer" in result:
        console.print(
            f"peer: {result['peer']}: {result['peer_ms']:.0f} ms to encode and generate"
            f" {result['peer_tokens']:.0f} tokens (ours: {result['tokens']:.0f})"
        )
        console.print(
            f"ratio, peer to ours: generate {result['generate_ratio']:.2f}x"
            f" ({result['per_token_ratio']:.2f}x a token),"
            f" end to end after the quiet time {result['end_to_end_ratio']:.2f}x"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=2048, help="longer side of a film in pixels")
    parser.add_argument("--bundle", type=Path, help="default: the demo bundle")
    parser.add_argument("--run", type=Path, help="training run that holds the same model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > _BUSY:
        Console(stderr=True).print(
            f"the machine is busy (load {load:.1f}): torch suffers from that far more than the node"
            " does, so the ratio will flatter us; measure again when it is quiet"
        )
    with tempfile.TemporaryDirectory() as folder:
        result = summary(*measure(options, Path(folder)))
    if options.json:
        Console().print_json(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
