"""``cxr-export``: from a trained run to a bundle, and the proof that they agree."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from engine import completion
from engine.backends.tensorrt_plan import FLAVOURS
from engine.bundle import DEMO, open_bundle
from engine.errors import CxrError
from engine.nets.classifier import film_tensor
from engine.nets.load import load_language_model
from engine.pipe import ends_with_its_reader
from export import parity
from export.bundle import export_bundle, stamp_metrics
from export.config import ExportSettings
from export.errors import ExportError, ParityError
from export.evidence import explain_bundle
from export.films import RunFilms
from export.graph import SCHEMES
from export.parity import MAX_KL, MIN_TOP1
from export.phrases import add_phrases
from export.quantize import Measured, choose, measure, restored
from export.statistics import add_statistics

LICENSE = Path(__file__).parent / "LICENSE-weights.txt"


def bundle(options: argparse.Namespace) -> None:
    """Write the bundle of a run."""
    films = RunFilms.read(options.run)
    settings = ExportSettings(
        run_dir=options.run,
        output_dir=options.output,
        license_path=options.license,
        name=options.name,
        version=options.version,
        precision=options.precision,
        parent_dir=options.parent,
        stage=options.stage,
    )
    target = export_bundle(settings, films.images, films.frontal("train"))
    add_statistics(target, films)
    made = open_bundle(target)
    size = sum(entry["bytes"] for entry in made.manifest["files"].values())
    print(f"{target}: {size / 2**20:.1f} MiB, digest {made.digest[:12]}")


def check(options: argparse.Namespace) -> None:
    """Compare a bundle with the float32 model that it came from."""
    films = RunFilms.read(options.run)
    rows = films.reported("val")[: options.count]
    if not len(rows):
        raise ExportError("the run has no validation films with a report")
    found = parity.measure(
        options.run,
        options.bundle,
        np.asarray(films.images[rows]),
        films.texts(rows),
        options.stage,
    )
    if options.json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        table = Table("figure", "value", "gate")
        gates = {"kl": f"≤ {parity.MAX_KL}", "top1": f"≥ {parity.MIN_TOP1}"}
        gates["codes_equal"] = f"≥ {parity.MIN_CODES_EQUAL}"
        for name, value in found.as_json().items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(name, shown, gates.get(name, ""))
        Console().print(table)
    if not found.passed:
        raise ParityError


def quantize(options: argparse.Namespace) -> None:
    """Measure ways of storing the language model; with --output write the fastest faithful one."""
    films = RunFilms.read(options.run)
    rows = films.reported("val")[: options.count]
    if not len(rows):
        raise ExportError("the run has no validation films with a report")
    images = film_tensor(np.asarray(films.images[rows])).numpy()
    found = measure(options.run, options.bundle, images, films.texts(rows), stage=options.stage)
    print_measured(found, options.json)
    if options.output:
        chosen = choose(found)
        model = load_language_model(options.run, options.stage)
        bundle = open_bundle(options.bundle)
        restored(model, bundle, chosen.precision, options.output)
        print(f"{options.output}: {chosen.precision}")


def print_measured(found: Sequence[Measured], as_json: bool) -> None:
    """Print what was measured as a table, or as JSON."""
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=1))
        return
    columns = ("stored as", "runs on", "MiB", f"KL (≤ {MAX_KL})", f"top-1 (≥ {MIN_TOP1})")
    table = Table(*columns, "prompt ms", "token ms", "")
    for one in found:
        figures = (
            f"{one.kl:.4f}",
            f"{one.top1:.3f}",
            f"{one.prefill_ms:.1f}",
            f"{one.token_ms:.2f}",
        )
        size = f"{one.num_bytes / 2**20:.1f}"
        verdict = "" if one.is_faithful else "not faithful"
        table.add_row(one.precision, one.backend, size, *figures, verdict)
    Console().print(table)


def metrics(options: argparse.Namespace) -> None:
    """Write the run's evaluation figures into the bundle's manifest."""
    found = stamp_metrics(options.run, options.bundle)
    print(f"{options.bundle}: figures of {', '.join(found) or 'no evaluation'}")


def explain(options: argparse.Namespace) -> None:
    """Add the map that heat maps are drawn from to a bundle of an earlier version."""
    digest = explain_bundle(options.bundle, options.version)
    print(f"{options.bundle}: version {options.version}, digest {digest[:12]}")


def phrases(options: argparse.Namespace) -> None:
    """Add to a bundle what its training reports usually say: drafts take fewer steps."""
    films = RunFilms.read(options.run)
    texts = films.texts(films.reported("train"))
    book = add_phrases(options.bundle, texts, options.version)
    print(f"{options.bundle}: version {options.version}, {len(book.follows):,} phrases")


def statistics(options: argparse.Namespace) -> None:
    """Add to a bundle what its training films look like: nodes tell by it when films drift."""
    found = add_statistics(options.bundle, RunFilms.read(options.run), options.version)
    print(f"{options.bundle}: version {options.version}, {found.num_films:,} films")


def import_llm_cxr(options: argparse.Namespace) -> None:
    """Make a bundle of a published LLM-CXR checkpoint."""
    from export.published import PublishedSettings
    from export.published import import_llm_cxr as write

    settings = PublishedSettings(
        model_dir=options.model,
        tokenizer_path=options.vqgan,
        guard_dir=options.guard,
        license_path=options.license,
        output_dir=options.output,
        name=options.name,
        version=options.version,
        precision=options.precision,
    )
    made = open_bundle(write(settings))
    size = sum(one["bytes"] for one in made.manifest["files"].values())
    print(f"{options.output}: {size / 2**20:.1f} MiB, digest {made.digest[:12]}")


def tensorrt(options: argparse.Namespace) -> None:
    """Build the TensorRT plans of a bundle ahead of time."""
    from export.tensorrt import PlanSettings, build_plans

    flavours = (options.flavour,) if options.flavour else FLAVOURS
    settings = PlanSettings(flavours, tuple(options.gpu), options.strip)
    folder = build_plans(open_bundle(options.bundle), settings, print)
    for path in sorted(folder.glob("*.plan")):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="cxr-export", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("bundle", help=bundle.__doc__)
    write.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    write.add_argument("--output", type=Path, default=DEMO, help="bundle directory to write")
    write.add_argument("--license", type=Path, default=LICENSE, help="licence of the weights")
    write.add_argument("--name", default="cxr-node-demo")
    write.add_argument("--version", default="0.1.0")
    write.add_argument("--precision", choices=tuple(SCHEMES), default="int8")
    write.add_argument("--parent", type=Path, help="bundle that the run adopted: keep its files")
    write.set_defaults(call=bundle)
    staged(write)
    stamp = verbs.add_parser("metrics", help=metrics.__doc__)
    stamp.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    stamp.add_argument("--bundle", type=Path, default=DEMO, help="bundle to stamp")
    stamp.set_defaults(call=metrics)
    add = verbs.add_parser("explain", help=explain.__doc__)
    add.add_argument("--bundle", type=Path, required=True, help="bundle to change")
    add.add_argument("--version", required=True, help="version of the changed bundle")
    add.set_defaults(call=explain)
    usual = verbs.add_parser("phrases", help=phrases.__doc__)
    usual.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    usual.add_argument("--bundle", type=Path, required=True, help="bundle to change")
    usual.add_argument("--version", required=True, help="version of the changed bundle")
    usual.set_defaults(call=phrases)
    films = verbs.add_parser("statistics", help=statistics.__doc__)
    films.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    films.add_argument("--bundle", type=Path, required=True, help="bundle to change")
    films.add_argument("--version", required=True, help="version of the changed bundle")
    films.set_defaults(call=statistics)
    published = verbs.add_parser("import-llm-cxr", help=import_llm_cxr.__doc__)
    published.add_argument("--model", type=Path, required=True, help="folder of the GPT-NeoX")
    published.add_argument("--vqgan", type=Path, required=True, help="taming checkpoint (.ckpt)")
    published.add_argument("--license", type=Path, required=True, help="licence of the weights")
    published.add_argument("--output", type=Path, required=True, help="bundle directory to write")
    published.add_argument("--guard", type=Path, default=DEMO, help="bundle whose guard it gets")
    published.add_argument("--name", default="llm-cxr")
    published.add_argument("--version", default="1.0.0")
    published.add_argument("--precision", choices=tuple(SCHEMES), default="int8")
    published.set_defaults(call=import_llm_cxr)
    plans = verbs.add_parser("tensorrt", help=tensorrt.__doc__)
    plans.add_argument("--bundle", type=Path, required=True, help="bundle to build plans for")
    plans.add_argument("--flavour", choices=FLAVOURS, help="which TensorRT (default: what is here)")
    plans.add_argument(
        "--gpu", action="append", default=[], metavar="SM", help="only for this one, such as SM89"
    )
    plans.add_argument(
        "--strip", action="store_true", help="leave out weights: the bundle has them"
    )
    plans.set_defaults(call=tensorrt)
    few = verbs.add_parser("quantize", help=quantize.__doc__)
    few.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    few.add_argument("--bundle", type=Path, default=DEMO, help="bundle that the run made")
    few.add_argument("--count", type=int, default=12, help="validation films to compare on")
    few.add_argument("--output", type=Path, help="bundle directory to write")
    few.add_argument("--json", action="store_true", help="print JSON")
    few.set_defaults(call=quantize)
    staged(few)
    compare = verbs.add_parser("check", help=check.__doc__)
    compare.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    compare.add_argument("--bundle", type=Path, default=DEMO, help="bundle to check")
    compare.add_argument("--count", type=int, default=24, help="validation films to compare on")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(call=check)
    staged(compare)
    completion.add_verb(verbs)
    return top


def staged(verb: argparse.ArgumentParser) -> None:
    """Add what names the language model of a run."""
    verb.add_argument("--stage", help="whose language model, as align/NAME (default: the last)")


@ends_with_its_reader
def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cxr-export``; return its exit code."""
    options = parser().parse_args(arguments)
    if options.verb == "completion":
        print(completion.script(parser(), options.shell), end="")
        return 0
    try:
        options.call(options)
    except CxrError as fault:
        print(f"error: {fault.lines()}", file=sys.stderr)
        return 1
    return 0
