"""Self-contained HTML page: text, tables and figures in one file, without external resources."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape

from pneumoscope.files import write_json, write_text
from pneumoscope.reporting.markdown import markdown_page
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

# What a line never breaks within: an interval or range, a number and its percent sign, a size such as 512 x 512.
_NUMBER = r"[+-]?\d[\d.,]*"
_UNBROKEN = re.compile(
    rf"(?<![\w.-])(?:\(?{_NUMBER}(?:-| to ){_NUMBER}(?: %)?\)?|{_NUMBER} %|{_NUMBER} x {_NUMBER})(?![\w-])"
)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Section:
    """Section of a page.

    Attributes:
        title: Heading.
        text: Paragraphs.
        header: Column names of the table; empty for no table.
        rows: Rows of the table, a cell per column.
        picture: PNG bytes of the figure; empty for no figure.
        drawing: SVG element instead of a picture; empty for none.
        caption: Caption of the figure, also its alternative text.
        warnings: Warnings above all else.
    """

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: bytes = b""
    drawing: Markup = Markup()  # noqa: RUF009 - immutable
    caption: str = ""
    warnings: Sequence[str] = ()

    @property
    def picture_data(self) -> str:
        """Figure as base64."""
        return base64.b64encode(self.picture).decode("ascii")


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section], synthetic: bool) -> None:
    """Write a page with the research notice, and with a warning where the images are synthetic, atomically."""
    warning = SYNTHETIC_NOTICE if synthetic else ""
    write_template(path, "page.html.jinja", title=title, lead=lead, sections=sections, warning=warning)


def write_report_files(
    stem: Path,
    record: Any,
    title: str,
    lead: str,
    sections: Sequence[Section],
    synthetic: bool = False,
    markdown: str = "",
) -> None:
    """Write a report as Markdown, as a page and, last, as JSON, each atomically.

    Args:
        stem: Path without an ending: `folder / "audit"` for audit.md, audit.html and audit.json.
        record: Content of the JSON.
        title: Heading.
        lead: First paragraph.
        sections: Sections of the page.
        synthetic: Whether the images are phantoms.
        markdown: Text of the Markdown; that of the page where empty.
    """
    write_text(stem.with_name(f"{stem.name}.md"), markdown or markdown_page(title, sections, lead))
    write_page(stem.with_name(f"{stem.name}.html"), title, lead, sections, synthetic)
    write_json(stem.with_name(f"{stem.name}.json"), record)


def write_template(path: Path, template: str, **values: Any) -> None:
    """Render a template of the package into a file, atomically; the template gets the research notice as `notice`."""
    environment = Environment(
        loader=PackageLoader("pneumoscope.reporting", "templates"), autoescape=select_autoescape(["jinja"])
    )
    environment.filters["set_text"] = _set_text
    write_text(path, environment.get_template(template).render(notice=NOTICE, **values))


def _set_text(text: str) -> Markup:
    """Text as HTML: numbers stay on one line with their intervals and units, and code between backticks is set as code."""
    unbroken = _UNBROKEN.sub(r'<span class="figure">\g<0></span>', str(escape(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", unbroken))  # noqa: S704 - escaped above
