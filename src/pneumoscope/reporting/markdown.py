"""Markdown of tables and of the sections of a page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a page needs a library for templates, a table does not
    from pneumoscope.reporting.page import Section


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table with a line per row; pipes in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def markdown_page(title: str, sections: Sequence["Section"], lead: str = "") -> str:
    """Markdown of a page: its title, a first paragraph, and of every section warnings, text and table, without figures."""
    parts = [f"# {title}", *([lead] if lead else [])]
    for section in sections:
        table = [markdown_table(section.header, section.rows)] if section.header else []
        parts.append("\n\n".join([f"## {section.title}", *section.warnings, *section.text, *table]))
    return "\n\n".join(parts) + "\n"
