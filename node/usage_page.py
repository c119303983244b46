"""The usage report for people and for spreadsheets: a page that needs nothing else, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from node.usage import RANKS, Usage, iso

Row = tuple[str, str, str, str]

_COLOURS: Final[Mapping[str, str]] = {
    "drafted": "#2a7",
    "skipped": "#bbb",
    "failed": "#c33",
}
_WIDTH, _HEIGHT, _BAR = 720, 180, 0.8
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td,th{border-bottom:1px solid #ddd;padding:.2rem .8rem .2rem 0;text-align:left}"
    "td+td{font-variant-numeric:tabular-nums}"
)


def rows_of(usage: Usage) -> Iterator[Row]:
    """Yield the report as rows: section, name, figure, value."""
    received = {
        "studies": usage.num_studies,
        "images": usage.num_images,
        "bytes": usage.num_bytes,
    }
    counted = {"received": received, "drafting": usage.outcomes, **usage.reasons}
    for section, numbers in {**counted, "questions": usage.questions}.items():
        for name, number in numbers.items():
            yield section, name, "count", str(number)
    for section, name, figures in _figures(usage):
        for figure, value in figures.items():
            yield section, name, figure, f"{value:g}"


def _figures(usage: Usage) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield what has several figures."""
    for name, spread in usage.seconds.items():
        ranks = {f"p{rank}": spread.percentiles[rank] for rank in RANKS}
        yield "seconds", name, {"count": spread.count, **ranks}
    for name, way in usage.ways.items():
        yield "deliveries", name, {**way.counts, "uptime": way.uptime}
    for bundle, one in usage.verdicts.items():
        accepted = {"accepted": round(one.accepted, 4)}
        interval = {"accepted_low": round(one.low, 4), "accepted_high": round(one.high, 4)}
        yield "verdicts", bundle, {**one.counts, **accepted, **interval}


def as_csv(usage: Usage) -> str:
    """Return the rows of the report as CSV under a heading."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("section", "name", "figure", "value"))
    writer.writerows(rows_of(usage))
    return text.getvalue()


def as_html(usage: Usage) -> str:
    """Return the report as one page; its plot is part of it."""
    title = f"cxr-node: {iso(usage.since)[:10]} to {iso(usage.until)[:10]}"
    megabytes = usage.num_bytes / 1e6
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{usage.num_studies} studies, {usage.num_images} images, {megabytes:.1f} MB.</p>",
        plot(usage.by_day),
        _table("What became of them", ("", "studies"), list(usage.outcomes.items())),
        *(
            _table(f"Why {outcome}", ("reason", "studies"), list(reasons.items()))
            for outcome, reasons in usage.reasons.items()
        ),
        _table("Seconds", ("", "count", *(f"p{rank}" for rank in RANKS)), _seconds(usage)),
        _table("Deliveries", ("to", "objects", "uptime"), _deliveries(usage)),
        _table("What readers made of drafts", ("bundle", "verdicts", "accepted"), _shares(usage)),
        _table("Questions", ("", "count"), list(usage.questions.items())),
    ]
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def plot(by_day: Mapping[str, Mapping[str, int]]) -> str:
    """Return a bar a day, in the colours of what became of its studies."""
    if not by_day:
        return "<p>No study was drafted.</p>"
    highest = max(sum(counts.values()) for counts in by_day.values())
    step = _WIDTH / len(by_day)
    bars = []
    for place, (day, counts) in enumerate(by_day.items()):
        below = 0.0
        for outcome, colour in _COLOURS.items():
            height = _HEIGHT * counts.get(outcome, 0) / highest
            below += height
            bars.append(
                f'<rect x="{place * step:.1f}" y="{_HEIGHT - below:.1f}" width="{step * _BAR:.1f}"'
                f' height="{height:.1f}" fill="{colour}">'
                f"<title>{escape(day)}: {counts.get(outcome, 0)} {outcome}</title></rect>"
            )
    days = list(by_day)
    caption = f"{days[0]} to {days[-1]}, at most {highest} a day: " + ", ".join(
        f'<b style="color:{colour}">{name}</b>' for name, colour in _COLOURS.items()
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img"'
        f' aria-label="studies by day">{"".join(bars)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _seconds(usage: Usage) -> list[tuple[object, ...]]:
    return [
        (name, one.count, *(f"{one.percentiles[rank]:g}" for rank in RANKS))
        for name, one in usage.seconds.items()
    ]


def _deliveries(usage: Usage) -> list[tuple[object, ...]]:
    return [
        (name, ", ".join(f"{n} {status}" for status, n in way.counts.items()), f"{way.uptime:.2%}")
        for name, way in usage.ways.items()
    ]


def _shares(usage: Usage) -> list[tuple[object, ...]]:
    return [
        (
            bundle,
            ", ".join(f"{n} {verdict}" for verdict, n in one.counts.items()),
            f"{one.accepted:.0%} (95 % interval {one.low:.0%} to {one.high:.0%})",
        )
        for bundle, one in usage.verdicts.items()
    ]
