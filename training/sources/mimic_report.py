"""A MIMIC-CXR report as published, split at its headings: pure functions on text.

Headings are upper-case words at the start of a line with a colon behind them. A report that states
its findings or its impression twice (an addendum, a wet read copied in) does not say which one is
meant; it is refused with a reason instead of silently, as the original code does.
"""

from __future__ import annotations

import re

HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /()&-]{2,48}?)[ \t]*:", re.MULTILINE)
SECTION_OF: dict[str, str] = {
    "FINDINGS": "findings",
    "FINDING": "findings",
    "FINDINGS AND IMPRESSION": "findings",
    "FINDINGS/IMPRESSION": "findings",
    "IMPRESSION": "impression",
    "IMPRESSIONS": "impression",
    "CONCLUSION": "impression",
    "INDICATION": "indication",
    "HISTORY": "indication",
    "CLINICAL HISTORY": "indication",
    "CLINICAL INFORMATION": "indication",
    "REASON FOR EXAM": "indication",
    "REASON FOR EXAMINATION": "indication",
}
REPORTED = ("findings", "impression")


def split(text: str) -> dict[str, list[str]]:
    """Return, by section, the texts that stand under its headings, in order."""
    headings = list(HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings), len(text)]
    found: dict[str, list[str]] = {}
    for place, heading in enumerate(headings):
        section = SECTION_OF.get(heading.group(1).strip())
        if section is not None:
            body = text[heading.end() : ends[place + 1]]
            found.setdefault(section, []).append(body.strip())
    return found


def fault(sections: dict[str, list[str]]) -> str | None:
    """Return why the sections cannot be used, or ``None``."""
    repeated = [name for name in REPORTED if len(sections.get(name, ())) > 1]
    return f"report states its {repeated[0]} twice" if repeated else None


def one(sections: dict[str, list[str]], name: str) -> str:
    """Return the first text of a section, ``""`` when there is none."""
    return next(iter(sections.get(name, ())), "")
