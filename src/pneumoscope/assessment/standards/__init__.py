"""Reporting standards: tables item by item, from a bundle, its evaluations and what people know.

manifest, report.json, facts.toml -> `Facts` (statements by name) -> a row per item of a standard -> Markdown, HTML, JSON

Standards and facts are data: `claim.toml`, `stard-ai.toml`, `tripod-ai.toml` and `model-card.toml` name the facts that report each
item; `facts.toml` says where a fact comes from, and who fills it where it is missing.
"""

from pneumoscope.assessment.standards.catalogue import STANDARDS, Standard, fact_definitions, load_standard
from pneumoscope.assessment.standards.evaluation_facts import EvaluationReport, read_evaluation
from pneumoscope.assessment.standards.rendering import filled_as_dict, filled_as_markdown, write_filled
from pneumoscope.assessment.standards.stated_facts import read_stated, write_template
from pneumoscope.assessment.standards.statements import Facts, collect_facts
from pneumoscope.assessment.standards.tables import FilledStandard, fill_standard

__all__ = [
    "STANDARDS",
    "EvaluationReport",
    "Facts",
    "FilledStandard",
    "Standard",
    "collect_facts",
    "fact_definitions",
    "fill_standard",
    "filled_as_dict",
    "filled_as_markdown",
    "load_standard",
    "read_evaluation",
    "read_stated",
    "write_filled",
    "write_template",
]
