"""Reporting standards: items as the standards number them, and rows filled from bundle, evaluations and what people know."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pneumoscope.assessment.standards import (
    STANDARDS,
    EvaluationReport,
    collect_facts,
    fact_definitions,
    fill_standard,
    filled_as_dict,
    filled_as_markdown,
    load_standard,
    read_evaluation,
    read_stated,
    write_filled,
    write_template,
)
from pneumoscope.assessment.standards.bundle_facts import bundle_statements
from pneumoscope.assessment.standards.stated_facts import template
from pneumoscope.assessment.standards.statement import Statement
from pneumoscope.assessment.standards.tables import Status
from pneumoscope.bundle import SHIPPED, Scope, find_bundle
from pneumoscope.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "results/detector/nano/report.json"


def lettered(plan: str) -> list[str]:
    """Numbers of a plan such as `1-2 3abc`."""
    numbers = []
    for part in plan.split():
        digits = part.rstrip("abcdefg")
        if "-" in part:
            first, last = map(int, part.split("-"))
            numbers += map(str, range(first, last + 1))
        else:
            numbers += [digits + letter for letter in part[len(digits) :]] or [digits]
    return numbers


# Rows of the published checklists, sub-items by their letters.
NUMBERS = {
    "claim": "1-44",
    "stard-ai": "1-14 15abcd 16abc 17ab 18-25 26ab 27-39 40ab",
    "tripod-ai": "1-2 3abc 4 5ab 6abc 7 8abc 9abc 10-11 12abcdefg 13-17 18abcdef 19 20abc 21-22 23ab 24-26 27abc",
    "model-card": "1abcde 2abc 3ab 4abc 5abc 6 7ab 8-9",
}


@pytest.mark.parametrize("key", STANDARDS)
def test_items_have_the_numbers_of_the_standard_in_its_order(key):
    standard = load_standard(key)
    assert [item.number for item in standard.items] == lettered(NUMBERS[key])
    assert standard.doi
    assert standard.citation
    assert standard.numbering


def test_main_items_are_as_many_as_the_standards_have():
    counts = {key: len({item.number.rstrip("abcdefg") for item in load_standard(key).items}) for key in STANDARDS}
    assert counts == {"claim": 44, "stard-ai": 40, "tripod-ai": 27, "model-card": 9}
    assert [len(load_standard(key).items) for key in ("stard-ai", "tripod-ai")] == [48, 52]


def test_every_item_is_reported_by_known_facts_and_every_fact_reports_an_item():
    definitions = fact_definitions()
    used = {name for key in STANDARDS for item in load_standard(key).items for name in item.facts}
    assert used == set(definitions)
    assert all(item.facts for key in STANDARDS for item in load_standard(key).items)
    for definition in definitions.values():
        assert definition.who
        assert definition.where
        assert bool(definition.ask) == (definition.origin == "people")


def test_without_anything_known_each_empty_item_names_who_fills_it():
    known = collect_facts(find_bundle("nano"))
    filled = fill_standard(load_standard("stard-ai"), known)
    rows = {each.item.number: each for each in filled.items}
    assert rows["38"].status is Status.EMPTY
    assert [fact.who for fact in rows["38"].missing] == ["the institution that pays for the study"]
    assert [fact.who for fact in rows["16a"].missing] == ["the radiologists who set the reference standard"]
    assert [fact.who for fact in rows["30"].missing] == ["whoever evaluates the bundle"] * 2
    assert rows["17a"].status is Status.FILLED
    assert sum(filled.counts.values()) == 48
    text = filled_as_markdown(filled)
    assert (
        "**EMPTY**: funding. To be filled by the institution that pays for the study (openness.funding of the facts file)."
        in text
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_manifest_has_is_stated_and_what_it_has_not_is_empty(name):
    bundle = find_bundle(name)
    texts = {each.fact: each.text for each in bundle_statements(bundle)}
    manifest = bundle.manifest
    for fact in (
        "detector",
        "output",
        "architecture",
        "augmentation",
        "initialisation",
        "software",
        "partitions",
        "licence",
    ):
        assert texts[fact]
    assert bundle.sha256 in texts["detector"]
    assert f"{manifest.operating_points['balanced'].threshold:.3f}" in texts["operating_points"]
    assert manifest.training["weights"]["sha256"] in texts["initialisation"]
    assert texts["training_size"].startswith("Training: 5,232 images")
    assert ("2 networks" in texts["ensembling"]) == (name == "best")
    without = replace(bundle, manifest=replace(manifest, training={}, metrics={}, licence="not stated", scope=Scope()))
    left = {each.fact for each in bundle_statements(without)}
    assert left.isdisjoint(
        {"training_size", "augmentation", "initialisation", "software", "licence", "scope", "internal_testing"}
    )


@pytest.mark.parametrize(
    "training",
    [{"config": "none"}, {"members": 3, "config": {"training": {"epochs": []}}}, {"images": "x"}, {"parent": 1}],
)
def test_training_records_of_other_forms_leave_facts_empty(training):
    bundle = find_bundle("nano")
    changed = replace(
        bundle, manifest=replace(bundle.manifest, training=training, metrics={"site": 3}, parent="0" * 64)
    )
    facts = collect_facts(changed)
    assert facts.statements["detector"]
    for key in STANDARDS:
        fill_standard(load_standard(key), facts)


def test_an_evaluation_of_the_own_archive_is_internal_and_of_another_one_people_state_the_origin():
    bundle = find_bundle("nano")
    internal = read_evaluation(REPORT)
    record = json.loads(REPORT.read_text())
    record["provenance"]["index_hash"] = "of another data set"
    facts = collect_facts(bundle, [internal, EvaluationReport("site.json", record)])
    measured = f"{100 * record['measures']['sensitivity']['value']:.1f} %"
    [external] = facts.statements["external_testing"]
    assert external.source == "evaluation 2: measures"
    assert f"sensitivity {measured}" in external.text
    assert [each.source for each in facts.statements["internal_testing"]] == [
        "bundle: metrics",
        "evaluation 1: measures",
    ]
    assert [each.source for each in facts.statements["flow"]] == [
        "evaluation 1: acceptance.flow",
        "evaluation 2: acceptance.flow",
    ]
    assert len(facts.evaluations) == 2
    claim = load_standard("claim")
    [testing] = [each for each in fill_standard(claim, facts).items if each.item.number == "33"]
    assert testing.status is Status.PARTLY
    assert "The index differs from that of the training." in external.text
    assert [(fact.name, fact.who) for fact in testing.missing] == [
        ("external_testing", "the radiology department that evaluates the detector")
    ]
    row = "**EMPTY**: origin of the evaluated images. To be filled by the radiology department that evaluates the detector"
    assert row in filled_as_markdown(fill_standard(claim, facts))
    origin = Statement(
        "external_testing", "Evaluation 2 is of another hospital.", "facts.toml: evaluation.external_testing"
    )
    stated = collect_facts(bundle, [internal, EvaluationReport("site.json", record)], [origin])
    [testing] = [each for each in fill_standard(claim, stated).items if each.item.number == "33"]
    assert testing.status is Status.FILLED
    assert [each.text for each in testing.statements] == [external.text, origin.text]


def test_without_the_index_of_the_training_no_evaluation_is_called_external():
    bundle = find_bundle("nano")
    unnamed = replace(bundle, manifest=replace(bundle.manifest, training={}))
    [testing] = collect_facts(unnamed, [read_evaluation(REPORT)]).statements["external_testing"]
    assert not testing.settles
    assert testing.text.endswith("The index cannot be compared with that of the training.")


def test_names_of_files_stay_out_of_the_tables():
    facts = collect_facts(find_bundle("nano"), [read_evaluation(REPORT)])
    names = {Path(each["file"]).stem for each in json.loads(REPORT.read_text())["surest_mistakes"]}
    for key in STANDARDS:
        text = json.dumps(filled_as_dict(fill_standard(load_standard(key), facts)))
        assert not [name for name in names if name in text]


def test_a_report_of_another_bundle_is_refused():
    with pytest.raises(
        DataError, match=r"expected evaluations of the bundle default .* found nano/report.json of nano"
    ):
        collect_facts(find_bundle("default"), [read_evaluation(REPORT)])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"films": 3, "patients": 2, "provenance": {}}',
        '{"provenance": {"bundle": 1}, "films": "many"}',
    ],
)
def test_a_file_that_is_no_report_is_refused(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=r"expected the report.json of an evaluation at .*, found"):
        read_evaluation(tmp_path / "report.json")


def test_undefined_figures_are_said_to_be(tmp_path):
    record = json.loads(REPORT.read_text())
    record["measures"]["auc"] = {"value": None, "low": None, "high": None}
    record["decisions"]["calibration"]["slope"] = None
    (tmp_path / "report.json").write_text(json.dumps(record))
    facts = collect_facts(find_bundle("nano"), [read_evaluation(tmp_path / "report.json")])
    assert "AUC undefined" in facts.statements["accuracy"][0].text
    assert "lope" not in facts.statements["calibration_measured"][0].text


def test_template_has_every_key_empty_with_who_knows_it(tmp_path):
    write_template(tmp_path / "facts.toml")
    text = (tmp_path / "facts.toml").read_text()
    table = tomllib.loads(text)
    people = {name: fact for name, fact in fact_definitions().items() if fact.group}
    assert {key: group for group, facts in table.items() for key in facts} == {n: f.group for n, f in people.items()}
    assert {value for facts in table.values() for value in facts.values()} == {""}
    for name, fact in people.items():
        before = text[: text.index(f"\n{name} = ")].splitlines()[-2:]
        assert fact.ask in before[0]
        assert before[1].startswith(f"# Known to {fact.who}. ")
    assert (
        "# Known to the institution that pays for the study. CLAIM 2024 44; STARD-AI 2025 38; TRIPOD+AI 2024 18a."
        in text
    )
    assert read_stated(tmp_path / "facts.toml") == []


def test_an_existing_template_is_not_overwritten(tmp_path):
    path = tmp_path / "facts.toml"
    path.write_text("[openness]\nfunding = 'a grant'\n")
    with pytest.raises(DataError, match="expected no file at"):
        write_template(path)
    assert "a grant" in path.read_text()


def test_a_filled_file_fills_what_people_know(tmp_path):
    text = (
        template()
        .replace(' = ""\n', ' = "what we know"\n')
        .replace('registration = "what we know"', 'registration = { not_applicable = "no trial" }')
    )
    (tmp_path / "ours.toml").write_text(text)
    facts = collect_facts(find_bundle("nano"), [read_evaluation(REPORT)], read_stated(tmp_path / "ours.toml"))
    for key in STANDARDS:
        filled = fill_standard(load_standard(key), facts)
        assert filled.counts[Status.EMPTY] == filled.counts[Status.PARTLY] == 0, filled.to_fill
    claim = {each.item.number: each for each in fill_standard(load_standard("claim"), facts).items}
    assert claim["34"].status is Status.NOT_APPLICABLE
    assert claim["44"].statements == (Statement("funding", "what we know", "ours.toml: openness.funding"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[openness]\nfundign = 'x'", r"found fundign \(did you mean funding\?\)"),
        ("[opennes]\nfunding = 'x'", r"found opennes \(did you mean openness\?\)"),
        ("funding = 'x'", r"found funding \(it belongs to \[openness\]\)"),
        ("[ethics]\nfunding = 'x'", r"found funding \(it belongs to \[openness\]\)"),
        ("[openness]\nfunding = 3", "expected text for openness.funding"),
        ("[openness]\nfunding = { not_applicable = '' }", "expected text for openness.funding"),
        ("[openness]\nfunding = { reason = 'x' }", "expected text for openness.funding"),
        ("openness = 'x'", r"expected a table \[openness\]"),
        ("[openness\n", "expected TOML in"),
    ],
)
def test_wrong_facts_are_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "facts.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_stated(tmp_path / "facts.toml")


def test_texts_of_people_are_no_markup_and_no_columns(tmp_path):
    (tmp_path / "facts.toml").write_text('[openness]\nfunding = "<script>a | b</script>\\n`code`"\n')
    facts = collect_facts(find_bundle("nano"), [], read_stated(tmp_path / "facts.toml"))
    paths = write_filled(fill_standard(load_standard("claim"), facts), tmp_path / "out")
    markdown, page, data = (path.read_text() for path in paths)
    assert "&lt;script&gt;a \\| b&lt;/script&gt; `code`" in markdown
    assert "&lt;script&gt;a | b&lt;/script&gt; <code>code</code>" in page
    assert "<script>" not in markdown + page
    assert json.loads(data)["items"][-1]["statements"][0]["text"] == "<script>a | b</script> `code`"
    assert "<strong>EMPTY</strong>: title of the study" in page


def test_phantoms_are_said_to_be():
    record = json.loads(REPORT.read_text()) | {"synthetic": True}
    facts = collect_facts(find_bundle("nano"), [EvaluationReport("report.json", record)])
    filled = fill_standard(load_standard("model-card"), facts)
    assert "ynthetic" in filled_as_markdown(filled)
    assert "ynthetic" in filled_as_dict(filled)["notice"]


def test_a_site_reads_the_names_of_its_own_classes():
    bundle = find_bundle("nano")
    own = replace(bundle, manifest=replace(bundle.manifest, classes=("clear", "effusion")))
    texts = {each.fact: each.text for each in bundle_statements(own)}
    assert texts["output"].startswith("Probabilities of clear, effusion, for a prevalence of effusion of 50 %")
    assert "balanced: effusion from a probability of" in texts["operating_points"]
    assert not [fact for fact, text in texts.items() if "pneumonia from" in text]


@pytest.mark.parametrize(
    ("key", "number", "facts"),
    [
        ("claim", "7", ("training_data", "data_source")),  # sources, and no numbers of images
        ("claim", "12", ("missing_data",)),  # an image without a decision is not missing
        ("claim", "19", ("assignment", "partitions")),
        ("claim", "42", ("protocol",)),
        ("stard-ai", "7", ("eligibility",)),
        ("stard-ai", "21", ("subgroups", "clusters", "prespecified")),
        ("tripod-ai", "12c", ("architecture", "training_procedure", "model_selection", "partitions")),  # no results
        ("model-card", "3b", ("test_groups", "clusters")),
    ],
)
def test_items_are_reported_by_facts_that_answer_them(key, number, facts):
    assert next(item for item in load_standard(key).items if item.number == number).facts == facts


def test_each_statement_on_images_says_of_which_set_it_is():
    statements = collect_facts(find_bundle("nano"), [read_evaluation(REPORT)]).statements
    said = [statements[fact][0].text.partition(":")[0] for fact in ("training_data", "training_size", "test_data")]
    assert said == ["Training images", "Training", "Evaluation"]
