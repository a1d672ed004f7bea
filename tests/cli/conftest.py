"""Commands as a user types them, within this process."""

import io
import sys

import pytest

from pneumoscope.cli import main


@pytest.fixture
def pneumoscope(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words, stdin=""):
        monkeypatch.setattr(sys, "argv", ["pneumoscope", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
