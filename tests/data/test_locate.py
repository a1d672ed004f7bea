from pathlib import Path

import pytest

from pneumoscope import paths
from pneumoscope.data import download
from pneumoscope.data.locate import locate, locate_or_make_phantoms
from pneumoscope.errors import DataError, DownloadError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Empty working directory and cache, and an address without a server as the publisher."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download.download_archive, "__defaults__", (None, "http://127.0.0.1:9/", download.silent))


def test_the_option_comes_before_the_environment(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(tmp_path / "b"))
    assert locate(tmp_path / "a").root == tmp_path / "a"
    assert locate(None).root == tmp_path / "b"


def test_the_working_directory_comes_before_the_cache(tmp_path):
    (tmp_path / "cache/chest_xray").mkdir(parents=True)
    assert locate(None).root == paths.cache_directory() / "chest_xray"
    (tmp_path / "data/chest_xray_224").mkdir(parents=True)
    assert locate(None).root == Path("data/chest_xray_224")


def test_named_path_without_data_is_an_error_and_never_replaced_by_phantoms(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"named by --data.*check the path"):
        locate_or_make_phantoms(tmp_path / "none")
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match="named by PNEUMOSCOPE_DATA"):
        locate_or_make_phantoms(None)


def test_no_data_and_no_network_is_an_error(tmp_path):
    with pytest.raises(DownloadError, match="name a folder with the films by --data"):
        locate(None)
    with pytest.raises(DownloadError, match="pneumoscope data download"):
        locate(None, download=False)


def test_no_data_and_no_network_gives_phantoms_with_the_reason(tmp_path):
    location, reason = locate_or_make_phantoms(None)
    assert location.synthetic
    assert "check the network" in reason
    assert len(list(location.root.rglob("*.jpeg"))) == 3 * (45 + 12)
