"""Pages with quoted blocks: markers, and the pages rendered anew.

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`, each on a line of its own.
"""

import re
import subprocess
import sys
from pathlib import Path

from quoting import (
    audits,
    data_card,
    detecting,
    detector,
    model_card,
    own_network,
    scaling,
    serving,
    speed,
    standards,
    stress,
    study,
)
from quoting.results import ROOT, Blocks

_MODULES = (
    study,
    data_card,
    audits,
    speed,
    detector,
    model_card,
    detecting,
    serving,
    scaling,
    standards,
    stress,
    own_network,
)
_BLOCKS: Blocks = {name: block for module in _MODULES for name, block in module.BLOCKS.items()}
_MARKED = re.compile(r"<!-- (?P<name>[a-z-]+) -->\n(?P<block>.*?)<!-- /(?P=name) -->", re.DOTALL)

PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")))
CLI_PAGE = "docs/reference/cli.md"


def rendered(text: str) -> str:
    """Render a page with every block between markers written anew.

    Raises:
        ValueError: A marker names no block.
    """
    return _MARKED.sub(_rendered_block, text)


def _rendered_block(match: re.Match[str]) -> str:
    name = match["name"]
    if name not in _BLOCKS:
        raise ValueError(f"expected one of the markers {', '.join(_BLOCKS)}, found the marker {name}: rename it")
    return f"<!-- {name} -->\n{_BLOCKS[name]()}\n<!-- /{name} -->"


def cli_reference() -> str:
    """Reference of the command line, by typer from the commands themselves."""
    command = [sys.executable, "-m", "typer", "pneumoscope.cli", "utils", "docs", "--name", "pneumoscope"]
    done = subprocess.run([*command, "--title", "Command line"], capture_output=True, text=True, check=True)
    return done.stdout.replace("&#x27;", "'").replace("&gt;", ">")


def rendered_pages() -> dict[Path, str]:
    """Text of every generated page, by its path."""
    pages = {ROOT / page: rendered((ROOT / page).read_text(encoding="utf-8")) for page in PAGES if page != CLI_PAGE}
    return {**pages, ROOT / CLI_PAGE: cli_reference()}
