import errno
import io
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicom_objects import written
from pneumoscope.config import from_table
from pneumoscope.errors import ConfigError, StorageError
from pneumoscope.pacs.watching import FolderWatcher, WatchSettings
from radiographs import radiograph, write_dicom


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_dicom(path, radiograph("normal", 14, 64), PatientName="Test^One")
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "watched"
    path.mkdir()
    return path


class Taker:
    """Keeps what it is handed; refuses, or fails, while `reason` or `error` is set."""

    def __init__(self):
        self.taken, self.reason, self.error = [], "", None

    def __call__(self, content):
        if self.error:
            raise self.error
        if not self.reason:
            self.taken.append(content)
        return self.reason


def watcher(folder, taken="delete", every_seconds=5.0, megabytes=200):
    take = Taker()
    return FolderWatcher(WatchSettings(str(folder), taken, every_seconds, megabytes), take), take


def looks(watching, number=2):
    for _ in range(number):
        watching.step()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("name", ["film.dcm", "IM0001", "Müller, Anna.jpg", "a\nb"])
def test_file_of_any_name_is_taken_at_the_second_look_and_deleted(folder, film, name):
    (folder / name).write_bytes(film)
    watching, take = watcher(folder)
    watching.step()
    assert take.taken == []
    watching.step()
    assert take.taken == [film]
    assert names(folder) == []
    looks(watching)
    assert (watching.taken, watching.refused) == (1, 0)


def test_files_are_kept_in_done_beside_others_of_their_name(folder, film):
    watching, take = watcher(folder, "keep")
    for _ in range(3):
        (folder / "film.dcm").write_bytes(film)
        looks(watching)
    assert names(folder) == ["done"]
    assert names(folder / "done") == ["film.dcm", "film.dcm-2", "film.dcm-3"]
    assert take.taken == [film] * 3
    assert oct((folder / "done").stat().st_mode)[-3:] == "700"


def test_file_that_grows_is_taken_when_it_is_complete(folder, film):
    watching, take = watcher(folder)
    with (folder / "film.dcm").open("wb") as stream:
        for start in range(0, len(film), 1000):
            stream.write(film[start : start + 1000])
            stream.flush()
            watching.step()
    assert take.taken == []
    looks(watching)
    assert take.taken == [film]


def test_file_that_pauses_while_it_is_written_is_waited_for(folder, film):
    watching, take = watcher(folder)
    (folder / "film.dcm").write_bytes(film[:-1])
    looks(watching, 12)
    assert names(folder) == ["film.dcm"]
    with (folder / "film.dcm").open("ab") as stream:
        stream.write(film[-1:])
    looks(watching, 2)
    assert take.taken == [film]


@pytest.mark.parametrize("cut", [0, 100, 131, 132, 300, -1])
def test_file_that_stays_cut_short_is_refused_after_a_minute(folder, film, cut):
    watching, take = watcher(folder)
    (folder / "film.dcm").write_bytes(film[:cut])
    looks(watching, 12)
    assert names(folder) == ["film.dcm"]
    watching.step()
    assert names(folder / "refused") == ["film.dcm", "film.dcm.txt"]
    assert "cut short" in (folder / "refused" / "film.dcm.txt").read_text()
    assert take.taken == []


def test_compressed_file_is_whole_with_its_last_fragment(folder, film):
    dataset = dcmread(io.BytesIO(film))
    dataset.compress(RLELossless)
    content = written(dataset)
    watching, take = watcher(folder)
    (folder / "film.dcm").write_bytes(content[:-8])
    looks(watching, 3)
    assert take.taken == []
    (folder / "film.dcm").write_bytes(content)
    looks(watching)
    assert take.taken == [content]


def test_file_that_is_renamed_into_place_is_taken_and_hidden_ones_are_left_alone(folder, film):
    watching, take = watcher(folder)
    hidden = folder / ".film.dcm.Xa81b2"
    hidden.write_bytes(film)
    looks(watching, 3)
    assert take.taken == []
    hidden.rename(folder / "film.dcm")
    looks(watching)
    assert take.taken == [film]


def test_what_is_no_dicom_is_refused_with_the_reason(folder):
    (folder / "film.png").write_bytes(b"\x89PNG" * 100)
    (folder / "readme.txt").write_bytes(b"hello\n")
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    watching, take = watcher(folder)
    looks(watching)
    assert names(folder) == ["refused", "sub"]
    assert names(folder / "refused") == [
        *("film.png", "film.png.txt", "pipe", "pipe.txt", "readme.txt", "readme.txt.txt"),
    ]
    for name in ("film.png", "readme.txt"):
        assert (folder / "refused" / f"{name}.txt").read_text() == (
            "expected a DICOM file, found another: export it as DICOM\n"
        )
    assert (watching.taken, watching.refused) == (0, 3)
    assert take.taken == []


def test_files_in_subfolders_are_taken_and_keep_their_folders(folder, film):
    for name in ("a/1/film.dcm", "a/2/film.dcm", "b/done/film.dcm", "b/other.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"other" if name.endswith("txt") else film)
    (folder / ".trash").mkdir()
    (folder / ".trash" / "film.dcm").write_bytes(film)
    watching, take = watcher(folder, "keep")
    looks(watching, 4)
    assert take.taken == [film] * 3
    moved = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert moved == {
        *("done/a/1/film.dcm", "done/a/2/film.dcm", "done/b/done/film.dcm", ".trash/film.dcm"),
        *("refused/b/other.txt", "refused/b/other.txt.txt"),
    }


def test_subfolder_named_as_a_file_that_was_taken_holds_up_no_file(folder, film):
    (folder / "IM1").write_bytes(film)
    watching, take = watcher(folder, "keep")
    looks(watching, 3)
    (folder / "IM1").mkdir()
    (folder / "IM1" / "a").write_bytes(film)
    (folder / "b").write_bytes(film)
    looks(watching, 4)
    assert take.taken == [film] * 3
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *("done/IM1", "done/IM1-2/a", "done/b")
    }


def test_subfolder_that_is_too_deep_is_a_failure_that_holds_up_no_file(folder, film):
    deep = folder.joinpath(*"abcdefghijklmnop")
    (deep / "q").mkdir(parents=True)
    for path in (deep, deep / "q", folder):
        (path / "film.dcm").write_bytes(film)
    watching, take = watcher(folder)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"at most 16 deep, found 1 others"):
            watching.step()
    assert take.taken == [film] * 2
    assert (deep / "q" / "film.dcm").exists()


def test_subfolder_that_vanishes_is_no_failure_and_one_that_cannot_be_read_is(folder, film, monkeypatch):
    (folder / "film.dcm").write_bytes(film)
    walk, error = os.fwalk, FileNotFoundError()

    def fails(top, onerror):
        onerror(error)
        return walk(top, onerror=onerror)

    monkeypatch.setattr(os, "fwalk", fails)
    watching, take = watcher(folder)
    looks(watching)
    assert take.taken == [film]
    error = PermissionError()
    with pytest.raises(StorageError, match=r"subfolders .* that can be read, at most 16 deep, found 1 others"):
        watching.step()


def test_subfolder_that_is_a_symbolic_link_is_not_followed(folder, film, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "film.dcm").write_bytes(film)
    (folder / "link").symlink_to(tmp_path / "outside")
    watching, take = watcher(folder)
    looks(watching, 3)
    assert take.taken == []
    assert names(folder / "refused") == ["link", "link.txt"]
    assert (tmp_path / "outside" / "film.dcm").exists()


def test_folder_may_be_a_symbolic_link(folder, film, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (folder / "film.dcm").write_bytes(film)
    watching, take = watcher(tmp_path / "link")
    looks(watching)
    assert (take.taken, names(folder)) == ([film], [])


def test_refusals_are_counted_and_logged_by_reason_without_names(folder, film, caplog):
    for name in ("Doe^Jane.txt", "Doe^John.txt"):
        (folder / name).write_text("letter")
    (folder / "Doe^Jane.dcm").write_bytes(film)
    (folder / "Doe^John.dcm").write_bytes(film + bytes(1_000_000))
    counted, take = [], Taker()
    take.reason = "no rule wants it"
    with caplog.at_level(logging.WARNING, "pneumoscope.pacs"):
        looks(FolderWatcher(WatchSettings(str(folder), megabytes=1), take, counted.append), 3)
    assert sorted(counted) == ["not_understood", "not_understood", "too_large"]  # what is handed over counts itself
    assert sorted(record.getMessage().split(", ")[0] for record in caplog.records) == [
        "watched folder: files refused: 1: expected at most 1 MB",
        "watched folder: files refused: 1: no rule wants it",
        "watched folder: files refused: 2: expected a DICOM file",
    ]
    assert "Doe" not in caplog.text


def test_symbolic_link_is_not_followed(folder, film, tmp_path):
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(film)
    (folder / "film.dcm").symlink_to(outside)
    (folder / "nothing.dcm").symlink_to(tmp_path / "missing")
    watching, take = watcher(folder)
    looks(watching)
    assert take.taken == []
    assert outside.read_bytes() == film
    assert "symbolic link" in (folder / "refused" / "film.dcm.txt").read_text()
    assert (folder / "refused" / "nothing.dcm").is_symlink()


def test_file_that_is_too_large_or_not_for_the_node_is_refused(folder, film):
    (folder / "large.dcm").write_bytes(film + bytes(1_000_000))
    (folder / "film.dcm").write_bytes(film)
    watching, take = watcher(folder, megabytes=1)
    take.reason = "no rule wants it"
    looks(watching)
    assert "at most 1 MB" in (folder / "refused" / "large.dcm.txt").read_text()
    assert (folder / "refused" / "film.dcm.txt").read_text() == "no rule wants it\n"
    assert watching.refused == 2


def test_full_disk_leaves_files_where_they_are(folder, film):
    for number in range(30):
        (folder / f"{number}.dcm").write_bytes(film)
    watching, take = watcher(folder, every_seconds=0.001)
    take.error = OSError(errno.ENOSPC, "No space left on device")
    watching.step()
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            watching.step()
    assert len(names(folder)) == 30
    take.error = None
    deadline = time.monotonic() + 60
    while names(folder) and time.monotonic() < deadline:
        watching.step()
    assert take.taken == [film] * 30


def test_files_that_fail_do_not_hold_up_others(folder, film):
    other = film.replace(b"Test^One", b"Test^Two")
    for number in range(12):
        (folder / f"{number:02d}.dcm").write_bytes(film)
    (folder / "other.dcm").write_bytes(other)
    taken = []

    def take(content):
        if content == film:
            raise RuntimeError("cannot")
        taken.append(content)
        return ""

    watching = FolderWatcher(WatchSettings(str(folder)), take)
    looks(watching)
    assert taken == [other]
    assert len(names(folder)) == 12


def test_files_that_all_fail_are_a_failure(folder, film):
    (folder / "film.dcm").write_bytes(film)
    watching, take = watcher(folder)
    take.error = RuntimeError("cannot")
    watching.step()
    with pytest.raises(RuntimeError, match="cannot"):
        watching.step()
    watching.step()  # not tried again at once


def test_file_that_cannot_be_moved_is_not_taken_twice(folder, film):
    (folder / "film.dcm").write_bytes(film)
    (folder / "done").write_text("in the way")
    watching, take = watcher(folder, "keep")
    watching.step()
    for _ in range(3):
        with pytest.raises(StorageError, match=r"move or delete 1 files"):
            watching.step()
    (folder / "done").unlink()
    watching.step()
    assert names(folder / "done") == ["film.dcm"]
    assert take.taken == [film]


@pytest.mark.parametrize("taken", ["delete", "keep"])
@pytest.mark.parametrize("reason", ["", "not for us"])
def test_file_that_takes_the_name_of_another_during_its_hand_over_is_taken_too(folder, film, taken, reason):
    other, contents = film.replace(b"Test^One", b"Test^Two"), []

    def take(content):
        contents.append(content)
        if content == film:
            (folder / ".next").write_bytes(other)
            (folder / ".next").rename(folder / "export.dcm")
        return reason

    (folder / "export.dcm").write_bytes(film)
    watching = FolderWatcher(WatchSettings(str(folder), taken), take)
    looks(watching, 5)
    assert contents == [film, other]


def test_file_that_takes_the_name_of_another_at_the_last_moment_is_taken_too(folder, film, monkeypatch):
    other, rename = film.replace(b"Test^One", b"Test^Two"), Path.rename

    def late(path, target):
        if path.name == "export.dcm":
            monkeypatch.undo()
            path.unlink()
            path.write_bytes(other)
        return rename(path, target)

    (folder / "export.dcm").write_bytes(film)
    watching, take = watcher(folder)
    watching.step()
    monkeypatch.setattr(Path, "rename", late)
    looks(watching, 4)
    assert take.taken == [film, other]
    assert names(folder) == []


def test_file_that_a_killed_process_was_about_to_delete_is_not_lost(folder, film, monkeypatch):
    (folder / "film.dcm").write_bytes(film)
    watching, _ = watcher(folder)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        looks(watching)
    monkeypatch.undo()
    after, take = watcher(folder)
    looks(after)
    assert take.taken == [film]
    assert names(folder) == []


def test_file_that_cannot_be_deleted_is_not_taken_twice(folder, film, monkeypatch):
    (folder / "film.dcm").write_bytes(film)
    watching, take = watcher(folder)

    def fails(path):
        raise OSError(errno.EIO, "Input/output error")

    watching.step()
    monkeypatch.setattr(Path, "unlink", fails)
    for _ in range(3):
        with pytest.raises(StorageError, match=r"move or delete 1 files"):
            watching.step()
    monkeypatch.undo()
    looks(watching)
    assert take.taken == [film]
    assert names(folder) == []


def test_folder_that_vanishes_is_waited_for(folder, film):
    watching, take = watcher(folder, every_seconds=0.01)
    folder.rmdir()
    with pytest.raises(StorageError, match=r"expected a readable folder as watch.folder, found: No such file"):
        watching.step()
    watching.start()
    _until(lambda: watching.failures >= 2)
    assert "No such file" in watching.error
    folder.mkdir()
    (folder / "film.dcm").write_bytes(film)
    _until(lambda: take.taken == [film])
    _until(lambda: watching.error == "")
    began = time.monotonic()
    assert watching.stop()
    assert time.monotonic() - began < 1


def test_thread_survives_an_unexpected_error_and_logs_no_name(folder, film, caplog):
    (folder / "Doe^Jane.dcm").write_bytes(film)
    watching, take = watcher(folder, every_seconds=0.01)
    take.error = PermissionError(errno.EACCES, "Permission denied", str(folder / "Doe^Jane.dcm"))
    watching.start()
    _until(lambda: watching.failures)
    assert watching.error == "Permission denied"
    take.error = ZeroDivisionError("division by zero")
    _until(lambda: watching.error == "division by zero")
    take.error = None
    _until(lambda: take.taken == [film])
    assert watching.stop()
    assert "Doe" not in caplog.text
    assert "Permission denied" in caplog.text


def test_stop_ends_a_look_at_the_next_file(folder, film):
    for number in range(50):
        (folder / f"{number}.dcm").write_bytes(film)
    begun, taken = threading.Event(), []

    def take(content):
        taken.append(content)
        begun.set()
        _until(lambda: watching.stopping)
        return ""

    watching = FolderWatcher(WatchSettings(str(folder), every_seconds=0.001), take)
    watching.start()
    assert begun.wait(60)
    assert watching.stop(60)
    assert len(taken) == 1
    assert len(names(folder)) == 49


def test_thousands_of_files_are_taken_at_one_look(folder, film):
    for number in range(2000):
        (folder / f"{number}.dcm").write_bytes(film)
    watching, take = watcher(folder)
    looks(watching)
    assert (len(take.taken), names(folder)) == (2000, [])


def test_settings_are_checked(tmp_path):
    settings = from_table(WatchSettings, {"folder": "in", "taken": "keep"}, "node.toml")
    assert settings.within(tmp_path).folder == str(tmp_path / "in")
    assert WatchSettings("/in").within(tmp_path).folder == "/in"
    with pytest.raises(ConfigError, match=r"expected a path in watch.folder"):
        WatchSettings("")
    with pytest.raises(ConfigError, match=r"expected watch.every_seconds above 0"):
        WatchSettings("in", every_seconds=0)
    with pytest.raises(ConfigError, match=r"expected taken out of delete, keep"):
        from_table(WatchSettings, {"folder": "in", "taken": "move"}, "node.toml")


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
