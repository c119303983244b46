"""A structured report for people without a viewer: plain text and one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import NamedTuple

from pydicom.dataset import Dataset

_STATUS = ("PreliminaryFlag", "CompletionFlag", "VerificationFlag")
_SUBJECT = {
    "Patient": "PatientName",
    "Patient ID": "PatientID",
    "Study": "StudyDescription",
    "Study date": "StudyDate",
    "Made by": "ManufacturerModelName",
}


class Line(NamedTuple):
    """One item of the content tree: how deep it lies, what it is called, what it says."""

    depth: int
    value_type: str
    name: str
    value: str


def walk(ds: Dataset, depth: int = 0) -> Iterator[Line]:
    """Yield the items of a content tree that can be read, parents first (PS3.3 C.17.3)."""
    for item in ds.get("ContentSequence") or ():
        value_type = str(item.get("ValueType", ""))
        read = _VALUES.get(value_type)
        if read is not None:
            yield Line(depth, value_type, _meaning(item, "ConceptNameCodeSequence"), read(item))
        yield from walk(item, depth + 1)


def title_of(ds: Dataset) -> str:
    """Return the title of the document."""
    return _meaning(ds, "ConceptNameCodeSequence") or "Report"


def status_of(ds: Dataset) -> str:
    """Return what the flags say, the most cautious word first."""
    flags = (str(ds.get(keyword, "")) for keyword in reversed(_STATUS))
    return " · ".join(flag for flag in flags if flag)


def as_text(ds: Dataset) -> str:
    """Return the report as plain text."""
    status = status_of(ds)
    lines = [f"*** {status} ***", "", title_of(ds), "=" * len(title_of(ds)), ""]
    lines += [f"{label}: {value}" for label, value in _subject(ds)]
    for line in walk(ds):
        indent = "  " * line.depth
        if line.value_type == "CONTAINER":
            lines += ["", f"{indent}{line.name.upper()}"]
        elif line.value_type == "TEXT" and line.depth:
            lines.append(f"{indent}- {line.value}")
        else:
            lines.append(f"{indent}{line.name}: {line.value}")
    return "\n".join([*lines, "", f"*** {status} ***", ""])


def as_html(ds: Dataset) -> str:
    """Return the report as one HTML page; every value is escaped, nothing is loaded."""
    parts = [_HEAD.format(title=escape(title_of(ds)), status=escape(status_of(ds)))]
    parts.append("<table>")
    parts += [
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in _subject(ds)
    ]
    parts.append("</table>")
    parts += [_html_line(line) for line in walk(ds)]
    parts.append(f'<p class="banner">{escape(status_of(ds))}</p></body></html>\n')
    return "\n".join(parts)


def _html_line(line: Line) -> str:
    name, value = escape(line.name), escape(line.value)
    if line.value_type == "CONTAINER":
        return f"<h2>{name}</h2>"
    if line.value_type == "TEXT" and line.depth:
        return f"<p>{value}</p>"
    return f'<p class="context">{name}: {value}</p>'


def _subject(ds: Dataset) -> Iterator[tuple[str, str]]:
    """Yield what the report is about, as far as it says."""
    for label, keyword in _SUBJECT.items():
        value = str(ds.get(keyword) or "")
        if value:
            yield label, value


def _meaning(item: Dataset, keyword: str) -> str:
    """Return the meaning of a code sequence's first item."""
    codes = item.get(keyword)
    return str(codes[0].get("CodeMeaning", "")) if codes else ""


_VALUES: dict[str, Callable[[Dataset], str]] = {
    "CONTAINER": lambda _item: "",
    "TEXT": lambda item: str(item.get("TextValue") or ""),
    "CODE": lambda item: _meaning(item, "ConceptCodeSequence"),
    "UIDREF": lambda item: str(item.get("UID") or ""),
}
"""How each value type reads; images and what is not listed stay for viewers."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: {status}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 46em; margin: 2em auto; color: #111 }}
.banner {{ background: #b00020; color: #fff; padding: .5em 1em; font-weight: bold }}
.context {{ color: #666; font-size: 85%; margin: .1em 0 }}
th {{ text-align: left; padding-right: 1.5em; font-weight: normal; color: #666 }}
</style></head><body>
<p class="banner">{status}</p>
<h1>{title}</h1>"""
