"""Commands around the DICOM node that need no network."""

import json

import pytest

from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.queue import Arrival, Queue


@pytest.fixture
def config(tmp_path):
    """Settings of a node that has set one image aside."""
    (tmp_path / "node.toml").write_text('folder = "node"\n')
    queue = Queue(tmp_path / "node")
    queue.add(b"film", Arrival("1.2.3", "1.2", "ACC1", "", "", "ROOM1"))
    [image] = queue.waiting(1)
    queue.failed(image, "no memory", 1)
    queue.close()
    return tmp_path / "node.toml"


def test_what_was_set_aside_is_shown_replayed_and_dropped(pneumoscope, config):
    code, out, _ = pneumoscope("pacs", "queue", "show", "--config", config)
    assert code == 0
    assert "not analysed: no memory" in out
    _, out, _ = pneumoscope("pacs", "queue", "show", "--config", config, "--json")
    [dead] = json.loads(out)["dead"]
    assert (dead["sender"], dead["destination"], dead["error"]) == ("ROOM1", "", "no memory")
    for command in ("drop", "replay"):
        code, out, err = pneumoscope("pacs", "queue", command, dead["id"], dead["id"] + 1, 17, "--config", config)
        assert (code, out) == (1, "")
        assert f"found others: {dead['id'] + 1}, 17: nothing is done" in err
    assert pneumoscope("pacs", "queue", "replay", "--config", config)[1] == "1 tried again\n"
    assert pneumoscope("pacs", "queue", "drop", dead["id"], "--config", config)[0] == 1


def test_a_node_that_never_ran_has_no_queue(pneumoscope, tmp_path):
    (tmp_path / "node.toml").write_text("")
    code, _, err = pneumoscope("pacs", "queue", "show", "--config", tmp_path / "node.toml")
    assert code == 1
    assert "start the node first" in err


def test_a_changed_audit_log_is_found(pneumoscope, tmp_path):
    file = tmp_path / "audit.jsonl"
    with AuditLog(file) as log:
        log.append(AuditEntry(AuditEvent.STARTED, "PACS"), AuditEntry(AuditEvent.STOPPED, "PACS"))
        head = log.head
    code, out, _ = pneumoscope("pacs", "audit", "verify", file, "--head", head)
    assert code == 0
    assert f"head {head}" in out
    file.write_text(file.read_text().replace("started", "stopped", 1))
    code, out, _ = pneumoscope("pacs", "audit", "verify", file, "--json")
    assert code == 4
    assert json.loads(out)["intact"] is False
    file.write_bytes(b"\xff\xd8\xff film")
    code, out, _ = pneumoscope("pacs", "audit", "verify", file)
    assert code == 4
    assert out.startswith("No line of an audit log was found")


def test_settings_that_are_not_there_are_named(pneumoscope, tmp_path):
    code, _, err = pneumoscope("pacs", "start", "--config", tmp_path / "none.toml")
    assert code == 1
    assert "expected the node's settings at" in err
