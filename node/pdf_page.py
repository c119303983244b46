"""The rendered page of a draft: a warning on top and at the bottom of every page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos

from node.pdf_fonts import TEXT, drawable, font_files
from node.uids import IMPLEMENTATION_VERSION_NAME, MODEL_NAME

_RED: Final = (170, 0, 0)
_MARGIN_MM: Final = 18.0
_LINE_MM: Final = 5.5
_LABEL_MM: Final = 42.0


@dataclass(frozen=True)
class Page:
    """What is on the pages."""

    banner: str
    title: str
    facts: Sequence[tuple[str, str]]
    """Label and value: patient, study."""
    sections: Sequence[tuple[str, Sequence[str]]]
    """Heading and sentences."""
    origin: str
    made_at: datetime


class _Sheet(FPDF):
    """A page with the banner as header and footer."""

    def __init__(self, page: Page) -> None:
        super().__init__(format="A4")
        self._page = page
        for name, path in font_files().items():
            self.add_font(name, fname=path)
        self.set_fallback_fonts([name for name in font_files() if name != TEXT])
        self.set_text_shaping(use_shaping_engine=True)
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=_MARGIN_MM + 12)
        # all that differs from one run to the next: the same draft is the same bytes
        self.set_creation_date(page.made_at)
        self.set_producer(f"{MODEL_NAME} {IMPLEMENTATION_VERSION_NAME}")
        self.set_title(page.title)
        self.set_lang("en")

    def header(self) -> None:
        """Print the banner, white on red."""
        self.set_y(8)
        self.banner()
        self.ln(6)

    def footer(self) -> None:
        """Print the banner again, and which page this is."""
        self.set_y(-24)
        self.banner()
        self.set_font(TEXT, size=7)
        self.set_text_color(90)
        self.cell(0, 4, f"page {self.page_no()} of {{nb}}", align="R")

    def banner(self) -> None:
        """Print the warning over the whole width."""
        self.set_font(TEXT, size=9)
        self.set_fill_color(*_RED)
        self.set_text_color(255)
        text = self._page.banner
        found = self.multi_cell(0, _LINE_MM, text, dry_run=True, output=MethodReturnValue.LINES)
        lines = found if isinstance(found, list) else [text]
        # one box for all lines: beyond the margin of the page fpdf fills the first alone
        self.rect(self.l_margin, self.get_y(), self.epw, _LINE_MM * len(lines), style="F")
        for line in lines:
            self.cell(0, _LINE_MM, line, align="C", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_text_color(0)

    def line_of(self, text: str, size: float = 10) -> None:
        """Print a paragraph."""
        self.set_font(TEXT, size=size)
        self.multi_cell(0, _LINE_MM, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def fact(self, label: str, value: str) -> None:
        """Print a label and, beside it, its value."""
        self.set_font(TEXT, size=10)
        self.set_text_color(90)
        self.cell(_LABEL_MM, _LINE_MM, label)
        self.set_text_color(0)
        self.multi_cell(0, _LINE_MM, value, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def render_pdf(page: Page) -> bytes:
    """Return the document: PDF with its fonts embedded, the same bytes for the same page."""
    sheet = _Sheet(page)
    sheet.add_page()
    sheet.line_of(page.title, size=15)
    sheet.ln(3)
    lacking: dict[str, tuple[str, ...]] = {}
    for label, value in page.facts:
        shown, lacking[label] = drawable(value)
        sheet.fact(label, shown or "-")
    for label, letters in lacking.items():
        if letters:
            sheet.line_of(_cannot_draw(label, letters), size=8)
    for heading, sentences in page.sections:
        sheet.ln(4)
        sheet.line_of(heading, size=12)
        for sentence in sentences:
            sheet.line_of(drawable(sentence)[0])
    sheet.ln(6)
    sheet.line_of(drawable(page.origin)[0], size=7)
    return bytes(sheet.output())


def _cannot_draw(label: str, letters: Sequence[str]) -> str:
    """Say which letters are boxes on this page, so that nobody takes the rest for the whole."""
    points = ", ".join(f"U+{ord(letter):04X}" for letter in letters[:12])
    more = ", ..." if len(letters) > 12 else ""
    return (
        f"{label}: this page cannot show {len(letters)} of the letters ({points}{more}), a box "
        "stands for each. The header of this DICOM object has them all."
    )
