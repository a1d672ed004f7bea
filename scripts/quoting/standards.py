"""Blocks of the page on reporting standards: the tables that `pneumoscope report standards` writes for the shipped detectors."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from quoting.formatting import table
from quoting.package import (
    SHIPPED,
    STANDARDS,
    FilledStandard,
    collect_facts,
    fill_standard,
    filled_as_markdown,
    load_bundle,
    load_standard,
    read_evaluation,
    read_stated,
)
from quoting.results import ROOT, Blocks

_FACTS = "docs/results/facts.toml"


@cache
def _filled(detector: str) -> dict[str, FilledStandard]:
    """Standards filled from a shipped bundle, its report in `results/` and what is known of the project."""
    report = f"results/detector/{detector}/report.json"
    evaluation = replace(read_evaluation(ROOT / report), origin=report)
    bundle = load_bundle(ROOT / "src/pneumoscope/bundles" / f"{detector}.zip")
    facts = collect_facts(bundle, [evaluation], read_stated(ROOT / _FACTS))
    return {key: fill_standard(load_standard(key), facts) for key in STANDARDS}


def _table_of(key: str) -> Callable[[], str]:
    return lambda: filled_as_markdown(_filled(SHIPPED[0])[key], level=2).rstrip("\n")


def counts() -> str:
    """Number of items by status, of each standard and shipped detector."""
    rows = [
        [standard.standard.name, f"`{detector}`", str(len(standard.items)), *map(str, standard.counts.values())]
        for key in STANDARDS
        for detector in SHIPPED
        for standard in [_filled(detector)[key]]
    ]
    statuses = [status.value for status in _filled(SHIPPED[0])[STANDARDS[0]].counts]
    return table(["standard", "detector", "items", *statuses], rows)


BLOCKS: Blocks = {"standards-counts": counts} | {f"standards-{key}": _table_of(key) for key in STANDARDS}
