"""How long a hospital waits: from the last C-STORE response to the report stored in its PACS.

Films go to `cxr-node run` over DIMSE, reports come back into a real Orthanc; the stages are read
from the node's own ledger. With `--checkpoint` the same model answers the same prompts under
`transformers.generate` in float32 on the CPU, repeat by repeat in turn, as the peer.

    python benchmarks/end_to_end.py --repeats 5 [--checkpoint DIR] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
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
Peer = Callable[[Dataset], tuple[float, int]]


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


def journey(node: NodeProcess, orthanc: Orthanc, ds: Dataset) -> Times:
    """Send one film and return the stages of its journey."""
    send(node.port, ds)
    uid = ds.StudyInstanceUID
    wait_for(lambda: node.states().get(uid) not in (None, *_UNDER_WAY), 300, "the report")
    (row,) = node.journal.study(uid)
    if row["state"] != "DONE":
        raise SystemExit(f"no report: {row['state']} {row['reason']}")
    if not orthanc.find("Series", StudyInstanceUID=uid, Modality="SR"):
        raise SystemExit("the report is not in the PACS")
    return stages_of(row["timeline"])


_UNDER_WAY = ("RECEIVING", "READY", "RUNNING", "DRAFTED", "DELIVERING")


def transformers_peer(engine: Engine, checkpoint: Path) -> Peer:
    """Return the same model under `transformers.generate`: film in, (milliseconds, tokens) out.

    The film is encoded by our encoder on both sides, and its time counts on both.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.train(mode=False)
    vocabulary = engine.bundle.vocabulary
    images = list(range(vocabulary.num_text, model.config.vocab_size))

    def answer(ds: Dataset) -> tuple[float, int]:
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


def measure(options: argparse.Namespace, folder: Path) -> tuple[list[Times], list[float]]:
    """Run the repeats, ours and the peer's in turn; return the stages and the peer's times."""
    engine = Engine.load(options.bundle)
    answer = transformers_peer(engine, options.checkpoint) if options.checkpoint else None
    port = free_port()
    orthanc = Orthanc(folder / "orthanc", port, routes=False)
    peers = {"pacs": peer(orthanc.aet, orthanc.port, ["report"]), "room": peer("CRROOM1", 1)}
    settings = node_settings(folder, port, peers)
    settings["engine"] = {"bundle": str(options.bundle) if options.bundle else None}
    node = NodeProcess(folder / "node", settings)
    ours: list[Times] = []
    theirs: list[float] = []
    try:
        orthanc.start()
        node.start()
        for number, film in enumerate(films.films()[: options.repeats + 1]):
            ds = films.dicom(film, size=options.size)
            times = journey(node, orthanc, ds)
            milliseconds = answer(ds)[0] if answer else 0.0
            if number:  # the first one warms both up
                ours.append(times)
                theirs += [milliseconds] if answer else []
    finally:
        node.stop()
        orthanc.stop()
    return ours, theirs


def summary(ours: list[Times], theirs: list[float]) -> dict[str, Any]:
    """Return medians, and the ratios to the peer."""
    stages = {name: statistics.median(times[name] for times in ours) for name in STAGES}
    after_quiet = statistics.median(sum(t.values()) - t["quiet time"] for t in ours)
    result: dict[str, Any] = {
        "repeats": len(ours),
        "stages_ms": stages,
        "total_ms": statistics.median(sum(times.values()) for times in ours),
        "after_quiet_ms": after_quiet,
    }
    if theirs:
        pairs = list(zip(ours, theirs, strict=True))
        result["peer"] = "transformers.generate, float32, CPU"
        result["peer_ms"] = statistics.median(theirs)
        result["generate_ratio"] = statistics.median(t / o[GENERATE] for o, t in pairs)
        with_peer = [sum(o.values()) - o["quiet time"] - o[GENERATE] + t for o, t in pairs]
        result["end_to_end_ratio"] = statistics.median(with_peer) / after_quiet
    return result


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
        console.print(f"peer: {result['peer']}: {result['peer_ms']:.0f} ms to encode and generate")
        console.print(
            f"ratio, peer to ours: generate {result['generate_ratio']:.2f}x,"
            f" end to end after the quiet time {result['end_to_end_ratio']:.2f}x"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=2048, help="longer side of a film in pixels")
    parser.add_argument("--bundle", type=Path, help="default: the demo bundle")
    parser.add_argument("--checkpoint", type=Path, help="the model as a transformers directory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = summary(*measure(options, Path(folder)))
    if options.json:
        Console().print_json(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
