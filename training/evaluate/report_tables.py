"""Report figures as Markdown tables and as plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.findings import FINDINGS
from training.evaluate import plots
from training.evaluate.bootstrap import Figure
from training.evaluate.report_metrics import DEFINITIONS, ReportFigures

Found = Mapping[tuple[str, str], Mapping[str, ReportFigures]]


def cell(figure: Figure) -> str:
    """Return a value with its interval."""
    return f"{figure.value:.3f} ({figure.low:.3f} … {figure.high:.3f})"


def row(cells: list[str]) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def overall_table(systems: Mapping[str, ReportFigures]) -> Iterator[str]:
    """Yield the lines of one table: a line a figure, a column a system."""
    first = next(iter(systems.values()))
    yield row([f"n = {first.num_reports}", *systems])
    yield row(["---"] * (1 + len(systems)))
    for name in first.overall:
        yield row([name, *(cell(figures.overall[name]) for figures in systems.values())])
    yield row(["distinct reports", *(str(figures.num_distinct) for figures in systems.values())])


def finding_table(systems: Mapping[str, ReportFigures]) -> Iterator[str]:
    """Yield the lines of the F1 table by finding."""
    first = next(iter(systems.values()))
    yield row(["F1 by finding", "positive", *systems])
    yield row(["---"] * (2 + len(systems)))
    for name in FINDINGS:
        values = [cell(figures.findings[name]["f1"]) for figures in systems.values()]
        yield row([name, str(first.positives[name]), *values])


def markdown(found: Found) -> str:
    """Return every table, headed by section and reference, the definitions at the end."""
    lines: list[str] = []
    for (section, kind), systems in found.items():
        lines += [f"### {section.capitalize()}, reference {kind}", "", *overall_table(systems), ""]
        lines += [*finding_table(systems), ""]
    lines += [f"* {name}: {meaning}" for name, meaning in DEFINITIONS.items()]
    return "\n".join(lines) + "\n"


def write_tables(found: Found, output: Path) -> None:
    """Write ``tables.md`` and a plot of label F1 by system."""
    (output / "tables.md").write_text(markdown(found), encoding="utf-8")
    systems = found["report", "written"]
    for name in next(iter(systems.values())).overall:
        if "f1" in name:
            shown = {system: figures.overall[name] for system, figures in systems.items()}
            plots.intervals(shown, name, output / f"{name.replace(' ', '-')}.png")
