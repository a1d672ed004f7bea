"""Settings of the node and its routing."""

import pytest

from pneumoscope.errors import ConfigError
from pneumoscope.pacs.rules import USUAL_RULES, Action, Rule, route
from pneumoscope.pacs.settings import NodeSettings, Peer, read_settings
from pneumoscope.types import ImageHeader

WHOLE = """
ae_title = "CHEST"
port = 11113
folder = "spool"
bundle = "ours.zip"
answers = ["sr", "gsps"]

[[peers]]
ae_title = "PACS"
host = "127.0.0.1"
port = 4242

[[peers]]
ae_title = "ROOM1"

[[rules]]
action = "refuse"
sender = ["ROOM1"]
modality = ["CT"]

[[rules]]
modality = ["DX", "CR"]
age = "0-5"

[watch]
folder = "inbox"
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "node.toml").write_text(text)
        return tmp_path / "node.toml"

    return write


def test_a_whole_file_is_read_and_paths_are_relative_to_it(written, tmp_path):
    found = read_settings(written(WHOLE))
    assert (found.ae_title, found.port, found.host) == ("CHEST", 11113, "127.0.0.1")
    assert (found.folder, found.bundle) == (str(tmp_path / "spool"), str(tmp_path / "ours.zip"))
    assert found.peers == (Peer("PACS", "127.0.0.1", 4242), Peer("ROOM1"))
    assert found.watch is not None
    assert (found.watch.folder, found.dicomweb) == (str(tmp_path / "inbox"), None)
    assert [rule.action for rule in found.rules] == [Action.REFUSE, Action.ANALYSE]
    assert found.is_local


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ae_titel = 'X'", "did you mean ae_title"),
        ("ae_title = 'MORE THAN SIXTEEN CHARACTERS'", "expected ae_title of 1 to 16 plain characters"),
        ("port = 70000", "expected port in 0-65535, found 70000"),
        ("answers = ['pdf']", "expected answers out of sr, sc, gsps, found pdf"),
        ("answers = []", "found none"),
        ("dicomweb = 3", r"expected a table \[dicomweb\]"),
        ("[dicomweb]\nurl = 'nowhere'", "expected dicomweb.url"),
        ("[watch]\nevery_seconds = 1", "expected a path in watch.folder"),
        ("peers = 3", r"list of tables \[\[peers\]\]"),
        ("[[peers]]\nport = 3", "peers.ae_title"),
        ("[[peers]]\nae_title = 'A'\nport = 3", "expected peers.host beside the port of A"),
        ("[[peers]]\nae_title = 'A'\nhost = 'a'\nport = 3\ntls = true", r"expected \[tls\] for a peer"),
        ("[[peers]]\nae_title = 'dicomweb'", "expected a peers.ae_title, found 'dicomweb', which is none"),
        (2 * "[[peers]]\nae_title = 'A'\nhost = 'a'\nport = 3\n", "expected one port for answers to A, found 2"),
        ("[[rules]]\naction = 'drop'", "expected rules.action out of analyse, accept, refuse in .*, found 'drop'"),
        ("[[rules]]\nage = '5-1'", "expected rules.age such as 1-5"),
        ("[[rules]]\nmodalty = ['DX']", "did you mean rules.modality"),
        ("[tls]\nkey = 'k.pem'", "certificate, key and authority"),
        ("port = [", "expected TOML in"),
        ("[watch]\nfolder = 'in'\nsilent = true", r"found watch.silent: silent .* above the first \[table\]"),
        ("[[peers]]\nae_title = 'A'\nsilent = true", r"found peers.silent: silent .* above the first \[table\]"),
        (2 * "[peers]\nae_title = 'A'\n", r"write \[\[peers\]\], once for each"),
        ("[rules]\n[[rules]]\n", r"write \[\[rules\]\], once for each"),
    ],
)
def test_another_setting_is_refused_in_one_line(written, text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        read_settings(written(text))
    assert "\n" not in str(raised.value).strip()


def test_a_byte_order_mark_is_passed_over(written):
    assert read_settings(written("\ufeffae_title = 'CHEST'")).ae_title == "CHEST"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"node\.toml, found No such file"):
        read_settings(tmp_path / "node.toml")


def header(**known):
    return ImageHeader(**{"modality": "DX", "body_part": "CHEST", "view": "AP"} | known)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Action.ANALYSE),
        ({"modality": "CR", "body_part": ""}, Action.ANALYSE),
        ({"body_part": "HAND"}, Action.ACCEPT),
        ({"modality": "CT"}, Action.ACCEPT),
        ({"modality": ""}, Action.ACCEPT),
    ],
)
def test_chest_radiographs_are_analysed_where_there_are_no_rules(known, expected):
    assert NodeSettings().rules == USUAL_RULES
    assert route(USUAL_RULES, header(**known), "PACS") is expected


def test_the_first_rule_that_matches_decides():
    rules = (
        Rule(Action.REFUSE, sender=("ROOM1",), view=("LL",)),
        Rule(Action.ANALYSE, modality=("dx",), age="1-5"),
        Rule(Action.REFUSE, modality=("NONE",)),
    )
    assert route(rules, header(view="LL", age_years=3.0), "ROOM1") is Action.REFUSE
    assert route(rules, header(view="LL", age_years=3.0), "PACS") is Action.ANALYSE
    assert route(rules, header(age_years=5.9), "PACS") is Action.ANALYSE
    assert route(rules, header(age_years=6.0), "PACS") is Action.ACCEPT
    assert route(rules, header(age_years=None), "PACS") is Action.ACCEPT
    assert route(rules, header(modality=""), "PACS") is Action.REFUSE
    assert route((Rule(view=("PA",)),), header(view="P-A"), "PACS") is Action.ANALYSE
