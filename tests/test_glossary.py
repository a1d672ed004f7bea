"""The source uses the words of docs/reference/glossary.md, and none of those that it replaces."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = sorted((ROOT / "src" / "pneumoscope").rglob("*.py"))
# Old words as they would stand in names, docstrings, comments and messages.
REPLACED = {
    "judge": r"\b_?judg(e[ds]?|ing|ement)\b|\bJudg",
    "told": r"\b_?told\b",
    "asked": r"\b_?[Aa]sked\b",
    "sick, ill": r"\bsick\b|\bill\b",
    "thawed": r"(?<!stacked_cnn_)(?<!base )thawed",
    "team": r"\bteams?\b",
    "foundations": r"\b[Ff]oundations\b",
    "last words": r"\blast_words\b",
    "look": r"\blooks_of\b|\bfilm_looks\b|\bFilmLooks\b",
    "odd style": r"\bodd_(normals|styles)\b|\bodd styles?\b",
    "hard validation": r"\bHardValidation\b|\bhard_set\b",
    "place": r"\bclass Place\b|\bplaces\.",
    "side": r"\bside: Split\b|\.sides\b",
    "anew": r"\banew\b",
}


def words_of(file):
    """Names, comments and docstrings of a module with their lines; text that users read is not the source's own language."""
    text = file.read_text(encoding="utf-8")
    docstrings = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.COMMENT) or token.start in docstrings:
            yield token.start[0], token.string


@pytest.mark.parametrize("word", REPLACED)
def test_source_does_not_use(word):
    found = [
        f"{file.relative_to(ROOT)}:{line}: {match[0]}"
        for file in SOURCE
        for line, text in words_of(file)
        if (match := re.search(REPLACED[word], text))
    ]
    assert not found, "\n".join(found)


def test_docstrings_begin_with_a_noun_or_a_verb():
    """Attributes and arguments say what they are before anything else."""
    first = re.compile(r"^\s+\w+: (Of|That|Likewise|The same|Whose|How|What|So many|Told)\b")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in SOURCE
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if first.match(line)
    ]
    assert not found, "\n".join(found)


def test_glossary_names_what_stays():
    text = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    for name in (
        "films_per_second",
        "training_films.txt",
        "stacked_cnn_thawed",
        "training.odd_repeats",
        "hard_validation",
    ):
        assert f"`{name}`" in text
