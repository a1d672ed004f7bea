"""Facts that people know: a TOML file of them, and the template of that file."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumoscope.assessment.standards.catalogue import FactDefinition, fact_definitions, items_of_facts
from pneumoscope.assessment.standards.statement import Statement, one_line
from pneumoscope.errors import ConfigError, DataError, did_you_mean, listed
from pneumoscope.files import write_text

_NOT_APPLICABLE = "not_applicable"
_HEADER = """\
# What only people know of a study, for `pneumoscope report standards --facts {name}`.
# Write the answer between the quotes, or leave them empty: what is empty stands in the tables with who has to fill it.
# What does not apply: key = {{ not_applicable = "the reason" }}. Longer texts: \"\"\"several lines\"\"\".
# No names of patients: the tables are published.
"""


def _groups() -> dict[str, dict[str, FactDefinition]]:
    """Facts that people know, by table of the file and name."""
    groups: dict[str, dict[str, FactDefinition]] = {}
    for name, definition in fact_definitions().items():
        if definition.group:
            groups.setdefault(definition.group, {})[name] = definition
    return groups


def template(name: str = "facts.toml") -> str:
    """TOML text with every key, each explained, empty.

    Args:
        name: Name of the file.
    """
    parts = [_HEADER.format(name=name)]
    for group, facts in _groups().items():
        parts.append(f"\n[{group}]\n")
        for key, definition in facts.items():
            items = "; ".join(items_of_facts()[key])
            parts.append(f'# {definition.ask}\n# Known to {definition.who}. {items}.\n{key} = ""\n')
    return "".join(parts)


def write_template(path: Path) -> None:
    """Write the template of a facts file.

    Raises:
        DataError: A file exists there, or the folder cannot be written.
    """
    if path.exists():
        raise DataError(f"expected no file at {path}, found one: what is in it is not overwritten; name another")
    write_text(path, template(path.name))


def read_stated(path: Path) -> list[Statement]:
    """Statements of a facts file.

    Raises:
        ConfigError: No such file, no TOML, an unknown key or a value of another form.
    """
    try:
        # Editors on Windows put a mark before the text.
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"expected a TOML file of facts at {path}, found: {error.strerror}: check the path, or write one with --template"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"expected TOML in {path}, found: {reason}: correct it") from error
    return list(_statements(table, path.name))


def _statements(table: Mapping[str, Any], origin: str) -> Iterator[Statement]:
    groups = _groups()
    for group, facts in table.items():
        _check_known(group, groups, "tables", origin)
        if not isinstance(facts, dict):
            raise ConfigError(f"expected a table [{group}] in {origin}, found {facts!r}: correct it")
        for key, value in facts.items():
            _check_known(key, groups[group], f"keys of [{group}]", origin)
            text, applies = _value(f"{group}.{key}", value, origin)
            if text:
                yield Statement(key, text, f"{origin}: {group}.{key}", applies)


def _check_known(name: str, known: Iterable[str], kind: str, origin: str) -> None:
    if name in known:
        return
    # A key above the first table, or in another one, is found where it belongs.
    definition = fact_definitions().get(name)
    hint = f" (it belongs to [{definition.group}])" if definition and definition.group else did_you_mean(name, known)
    raise ConfigError(f"expected {kind} out of {listed(known, 40)} in {origin}, found {name}{hint}: correct it")


def _value(key: str, value: Any, origin: str) -> tuple[str, bool]:
    """Text of a value, and whether the fact applies."""
    applies = not (isinstance(value, dict) and set(value) == {_NOT_APPLICABLE})
    text = value if applies else value[_NOT_APPLICABLE]
    if not isinstance(text, str) or not (applies or text.strip()):
        raise ConfigError(
            f'expected text for {key} in {origin}, or {{ {_NOT_APPLICABLE} = "the reason" }}, found {value!r}: correct it'
        )
    return one_line(text), applies
