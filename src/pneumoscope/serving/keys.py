"""API keys: random, shown once, kept as hashes.

A key is 256 random bits, so that a fast hash is enough: there is nothing to guess.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from pneumoscope.errors import ConfigError
from pneumoscope.files import write_text

_PREFIX = "pns_"
_HASH_DIGITS = 64


def new_key(file: Path, name: str) -> str:
    """New key for `name`, whose hash is added to the file; the key itself is kept nowhere.

    Raises:
        ConfigError: The name has spaces or is taken, or the file is no file of keys.
    """
    known = load_keys(file) if file.exists() else {}
    if not name or not name.isprintable() or " " in name or name in known:
        raise ConfigError(f"expected a new name without spaces for the key, found {name!r}: choose another")
    key = _PREFIX + secrets.token_urlsafe(32)
    lines = [f"{other} {digest}" for other, digest in known.items()]
    write_text(file, "\n".join([*lines, f"{name} {_hash(key)}"]) + "\n")
    file.chmod(0o600)
    return key


def load_keys(file: Path) -> dict[str, str]:
    """Name to SHA-256 of the key, 64 hex digits, from a file with `NAME HASH` a line.

    Raises:
        ConfigError: Missing, or something else on a line.
    """
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected a file of API keys at {file}, found {_cause(error)}: make one with --new-key NAME"
        ) from error
    if not all(len(line) == 2 and len(line[1]) == _HASH_DIGITS for line in lines):
        raise ConfigError(
            f"expected `NAME SHA256` on every line of {file}, found another: make keys with --new-key NAME"
        )
    return {name: digest.lower() for name, digest in lines}


def owner(keys: Mapping[str, str], offered: str) -> str | None:
    """Name of the key's owner; None for an unknown key. Takes as long for each key, right or wrong."""
    digest, found = _hash(offered), None
    for name, known in keys.items():
        if hmac.compare_digest(digest, known):
            found = name
    return found


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return "a file that is no text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
