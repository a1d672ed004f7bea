import pytest

from pneumoscope.errors import ConfigError
from pneumoscope.serving.keys import load_keys, new_key, owner


def test_a_key_opens_for_its_owner_alone(tmp_path):
    file = tmp_path / "keys"
    keys = {name: new_key(file, name) for name in ("ward-3", "archive")}
    held = load_keys(file)
    assert {name: owner(held, key) for name, key in keys.items()} == {"ward-3": "ward-3", "archive": "archive"}
    for wrong in ("", keys["archive"][:-1], keys["archive"].upper(), next(iter(held.values()))):
        assert owner(held, wrong) is None
    assert file.stat().st_mode & 0o077 == 0
    assert not any(key in file.read_text() for key in keys.values())


@pytest.mark.parametrize("name", ["", "two words", "ward-3", "line\n"])
def test_a_key_needs_a_new_name(tmp_path, name):
    new_key(tmp_path / "keys", "ward-3")
    with pytest.raises(ConfigError, match="expected a new name"):
        new_key(tmp_path / "keys", name)


@pytest.mark.parametrize("content", [b"ward-3", b"ward-3 short", b"\xff\xfe", b"a b c"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ConfigError, match="expected"):
        load_keys(tmp_path / "keys")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--new-key"):
        load_keys(tmp_path / "keys")
