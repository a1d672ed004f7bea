"""Filled standards as Markdown, HTML and JSON, all of them from the same rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pneumoscope.assessment.standards.tables import FilledItem, FilledStandard
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

_HEADER = ["item", "to be reported", "status", "reported", "source"]
_EMPTY = "**EMPTY**"
_CODE = re.compile(r"`([^`]+)`")
FORMAT = 1


def write_filled(filled: FilledStandard, folder: Path) -> list[Path]:
    """Write a filled standard as `KEY.md`, `KEY.html` and `KEY.json`.

    Returns:
        Paths of the three files.
    """
    sections = [
        Section("Overview", [_html([paragraph]) for paragraph in _overview(filled)]),
        *(Section(name, header=_HEADER, rows=rows) for name, rows in _sections(filled, _html)),
    ]
    stem, markdown = folder / filled.standard.key, filled_as_markdown(filled)
    write_report_files(
        stem, filled_as_dict(filled), _heading(filled), _lead(filled), sections, filled.facts.synthetic, markdown
    )
    return [folder / f"{filled.standard.key}.{ending}" for ending in ("md", "html", "json")]


def filled_as_markdown(filled: FilledStandard, level: int = 1) -> str:
    """Markdown of a filled standard.

    Args:
        filled: Filled standard.
        level: Level of its heading.
    """
    synthetic = [f"**{SYNTHETIC_NOTICE}**"] if filled.facts.synthetic else []
    parts = [
        f"{'#' * level} {_plain(_heading(filled))}",
        *synthetic,
        f"{NOTICE} {_plain(_lead(filled))}",
        *map(_plain, _overview(filled)),
        *(
            f"{'#' * (level + 1)} {name}\n\n{markdown_table(_HEADER, rows)}"
            for name, rows in _sections(filled, lambda cells: "<br>".join(map(_plain, cells)))
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Text of manifests and people in which Markdown finds no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _html(lines: Sequence[str]) -> Markup:
    """Lines as HTML, with the code and the emphasis that Markdown marks."""
    text = str(Markup("<br>").join(lines)).replace(_EMPTY, "<strong>EMPTY</strong>")
    return Markup(_CODE.sub(r"<code>\1</code>", text))  # noqa: S704 - joined lines are escaped


def filled_as_dict(filled: FilledStandard) -> dict[str, Any]:
    """Plain data of a filled standard, for JSON."""
    standard, facts = filled.standard, filled.facts
    return {
        "format": FORMAT,
        "standard": {
            name: getattr(standard, name) for name in ("key", "name", "title", "citation", "doi", "numbering")
        },
        "notice": NOTICE + (f" {SYNTHETIC_NOTICE}" if facts.synthetic else ""),
        "bundle": {"name": facts.bundle, "sha256": facts.sha256, "parent": facts.parent},
        "evaluations": list(facts.evaluations),
        "pneumoscope": facts.version,
        "counts": {status.value: count for status, count in filled.counts.items()},
        "to_fill": dict(filled.to_fill),
        "items": [
            {
                "number": each.item.number,
                "section": each.item.section,
                "topic": each.item.topic,
                "status": each.status.value,
                "statements": [
                    # What is not settled stands under "missing".
                    {name: value for name, value in asdict(statement).items() if name != "settles"}
                    for statement in each.statements
                ],
                "missing": [
                    {"fact": fact.name, "label": fact.label, "who": fact.who, "where": fact.where}
                    for fact in each.missing
                ],
            }
            for each in filled.items
        ],
    }


def _heading(filled: FilledStandard) -> str:
    return f"{filled.standard.name}: detector {filled.facts.bundle}"


def _lead(filled: FilledStandard) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in filled.counts.items())
    return f"{len(filled.items)} items: {counts}."


def _overview(filled: FilledStandard) -> list[str]:
    """Paragraphs on standard, bundle, evaluations and who has to fill what."""
    standard, facts = filled.standard, filled.facts
    parent = f", adapted from {facts.parent}" if facts.parent else ""
    evaluations = "; ".join(f"evaluation {number}, {each}" for number, each in enumerate(facts.evaluations, start=1))
    to_fill = "; ".join(f"{who} {count}" for who, count in filled.to_fill.items())
    return [
        f"{standard.title}. {standard.citation}, doi {standard.doi}. {standard.numbering}",
        f"Bundle {facts.bundle}, SHA-256 {facts.sha256}{parent}. {f'Evaluations: {evaluations}' if evaluations else 'No evaluation'}. "
        f"Filled by pneumoscope {facts.version}; a table says what is reported, not that it is good.",
        *([f"Facts that are missing, by who fills them: {to_fill}."] if to_fill else []),
    ]


def _sections(filled: FilledStandard, join: Callable[[Sequence[str]], str]) -> list[tuple[str, list[list[str]]]]:
    """Name and rows of each section of the standard; `join` makes a cell of its lines."""
    grouped = groupby(filled.items, key=lambda each: each.item.section)
    return [(name, [_row(each, join) for each in items]) for name, items in grouped]


def _row(filled: FilledItem, join: Callable[[Sequence[str]], str]) -> list[str]:
    reported = [
        statement.text if statement.applies else f"Not applicable: {statement.text}." for statement in filled.statements
    ]
    reported += [f"{_EMPTY}: {fact.label}. To be filled by {fact.who} ({fact.where})." for fact in filled.missing]
    sources = list(dict.fromkeys(statement.source for statement in filled.statements))
    cells = [[filled.item.number], [filled.item.topic], [filled.status.value], reported, sources or ["-"]]
    return [join(lines) for lines in cells]
