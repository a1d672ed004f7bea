"""Facts of a report: what bundle, evaluations, software and people state, collected once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pneumoscope import __version__
from pneumoscope.assessment.standards.bundle_facts import bundle_statements
from pneumoscope.assessment.standards.evaluation_facts import EvaluationReport, evaluation_statements
from pneumoscope.assessment.standards.software_facts import software_statements
from pneumoscope.assessment.standards.statement import Statement
from pneumoscope.bundle import Bundle
from pneumoscope.errors import DataError


@dataclass(frozen=True)
class Facts:
    """Facts about a bundle and its evaluations.

    Attributes:
        bundle: Name and version of the bundle.
        sha256: SHA-256 of the bundle, 64 hex digits.
        parent: SHA-256 of the bundle that it was adapted from; empty for none.
        evaluations: Descriptions of the evaluations, in their order.
        synthetic: Whether the images of an evaluation are phantoms.
        statements: Name of a fact to the statements on it; facts that nothing is known of are missing.
        version: Version of pneumoscope.
    """

    bundle: str
    sha256: str
    parent: str
    evaluations: tuple[str, ...]
    synthetic: bool
    statements: Mapping[str, tuple[Statement, ...]]
    version: str = __version__


def collect_facts(
    bundle: Bundle, evaluations: Sequence[EvaluationReport] = (), stated: Iterable[Statement] = ()
) -> Facts:
    """Collect the facts about a bundle.

    Args:
        bundle: Bundle.
        evaluations: Reports of its evaluations.
        stated: Statements of people, as `read_stated` gives them.

    Raises:
        DataError: A report of another bundle.
    """
    for each in evaluations:
        if each.bundle != bundle.sha256:
            raise DataError(
                f"expected evaluations of the bundle {bundle.manifest.name} {bundle.manifest.version} (sha256 {bundle.sha256[:12]}), found "
                f"{each.origin} of {each.model or 'an unnamed one'} (sha256 {each.bundle[:12] or 'none'}): evaluate this bundle, or name the other"
            )
    trained_on = str(bundle.manifest.training.get("index_hash", ""))
    found = [
        *bundle_statements(bundle),
        *(
            statement
            for number, report in enumerate(evaluations, start=1)
            for statement in evaluation_statements(report, f"evaluation {number}", trained_on)
        ),
        *software_statements(),
        *stated,
    ]
    names = dict.fromkeys(statement.fact for statement in found)
    return Facts(
        f"{bundle.manifest.name} {bundle.manifest.version}",
        bundle.sha256,
        bundle.manifest.parent,
        tuple(each.description for each in evaluations),
        any(each.synthetic for each in evaluations),
        {name: tuple(each for each in found if each.fact == name) for name in names},
    )
