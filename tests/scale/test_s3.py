"""Images and results in a store that speaks S3, over connections that break."""

import threading
import time

import pytest
from test_score import parts

from pneumoscope.errors import StorageError
from pneumoscope.scale.score import LocalEngine, score
from pneumoscope.scale.storage import StoragePath

pytestmark = pytest.mark.integration

s3fs = pytest.importorskip("s3fs")


@pytest.fixture
def bucket(store, archive, tarred):
    """A bucket with the archive's images, and half of them again in a tar archive; given with a way to cut it off."""
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    name = f"bucket-{time.monotonic_ns()}"
    system.mkdir(name)
    images = sorted(archive.iterdir())
    for image in images:
        system.pipe_file(f"{name}/films/{image.name}", image.read_bytes())
    shard = tarred("shard.tar", {image.name: image.read_bytes() for image in images[:37]})
    system.pipe_file(f"{name}/films/shard.tar", shard.read_bytes())
    yield system, name
    s3fs.S3FileSystem.clear_instance_cache()


def names_in(system, folder):
    system.invalidate_cache()
    return sorted(system.glob(f"{folder}/part-*"))


def test_a_run_that_is_cut_off_goes_on_and_ends_with_the_same_bytes(store, bucket, archive, bundle, tmp_path):
    system, name = bucket
    source, out = f"s3://{name}/films", f"s3://{name}/out"
    # Undisturbed, into a folder of this machine.
    whole = score(source, str(tmp_path / "whole"), bundle, LocalEngine(1), 10)
    assert (whole.total.images, whole.plan.partitions, whole.plan.archives) == (74 + 37, 9, 1)
    done = []

    def cut_after_two(run):
        done.append(run.partitions)
        if run.partitions == 2:
            store.cut()

    with pytest.raises(
        StorageError, match=f"s3://{name}/.*check that it can be reached, then run the same command again"
    ):
        score(source, out, bundle, LocalEngine(1), 10, cut_after_two)
    assert max(done) < 9
    store.mend()
    left = names_in(system, f"{name}/out")
    assert 2 <= len(left) < 9
    assert not [file for file in system.find(f"{name}/out") if "partial" in file]
    scored = score(source, out, bundle, LocalEngine(1), 10)
    assert scored.run.earlier == len(left)
    found = {file.rpartition("/")[2]: system.cat_file(file) for file in names_in(system, f"{name}/out")}
    assert found == parts(tmp_path / "whole")
    assert scored.total == whole.total


def test_connections_that_break_for_a_moment_are_not_noticed(store, bucket, bundle, tmp_path):
    _, name = bucket
    stop = threading.Event()

    def trouble():
        while not stop.wait(0.4):
            store.cut()
            time.sleep(0.02)
            store.mend()

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        scored = score(f"s3://{name}/films/shard.tar", str(tmp_path / "out"), bundle, LocalEngine(1), 10)
    finally:
        stop.set()
        thread.join()
    assert scored.total.images == 37
    assert scored.total.reasons.get("unreadable", 0) == 1


def test_a_image_that_is_gone_is_a_row_and_a_bucket_that_is_gone_is_told(store, bucket, bundle, tmp_path):
    _, name = bucket
    listed = tmp_path / "films.csv"
    listed.write_text(f"path\ns3://{name}/films/000.jpeg\ns3://{name}/films/none.jpeg\n")
    scored = score(str(listed), str(tmp_path / "out"), bundle, LocalEngine(1), 10)
    assert scored.total.reasons == {"unreadable": 1}
    store.cut()
    with pytest.raises(StorageError, match="cannot access s3://none/films"):
        StoragePath("s3://none/films").exists()
