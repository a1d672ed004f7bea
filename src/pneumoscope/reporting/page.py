"""A self-contained HTML page: text, tables and pictures in one file, readable without a network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from pneumoscope.files import write_text
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        text: A paragraph each.
        header: Of the table; empty where there is none.
        rows: Of the table.
        picture: PNG bytes; empty where there is none.
        caption: What the picture shows; its text for who cannot see it.
    """

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: bytes = b""
    caption: str = ""

    @property
    def picture_data(self) -> str:
        """The picture as base64."""
        return base64.b64encode(self.picture).decode("ascii")


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section], synthetic: bool) -> None:
    """Writes the page, atomically; every page carries the research notice, a synthetic one its own."""
    warning = SYNTHETIC_NOTICE if synthetic else ""
    write_template(path, "page.html.jinja", title=title, lead=lead, sections=sections, warning=warning)


def write_template(path: Path, template: str, **values: Any) -> None:
    """Writes a page from one of the package's templates, atomically; the research notice is at hand as `notice`."""
    environment = Environment(
        loader=PackageLoader("pneumoscope.reporting", "templates"), autoescape=select_autoescape(["jinja"])
    )
    write_text(path, environment.get_template(template).render(notice=NOTICE, **values))
