import json
import signal
import subprocess
import sys
import time

import pyarrow as arrow
import pytest
from pyarrow import dataset, parquet

from pneumoscope.bundle import find_bundle
from pneumoscope.errors import ConfigError, DataError, InputError
from pneumoscope.inference.batch import predict_files
from pneumoscope.inference.inputs import open_inputs
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.prediction import row_columns
from pneumoscope.scale import plan as plans
from pneumoscope.scale.partition import read_result
from pneumoscope.scale.score import LocalEngine, score
from pneumoscope.types import THREE_CLASS, PredictionRequest


def parts(out):
    return {file.name: file.read_bytes() for file in sorted(out.glob("part-*"))}


def rows(out):
    return [row for file in sorted(out.glob("part-*")) for row in parquet.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def undisturbed(archive, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    scored = score(str(archive), str(out), bundle, LocalEngine(2), partition_size=10)
    assert (scored.total.images, scored.plan.partitions) == (74, 8)
    return out


def test_results_are_those_of_the_batch_command_in_its_order(archive, bundle, undisturbed):
    files = open_inputs([str(archive)]).walk()
    with WorkerPool(bundle, 1) as pool:
        expected = [p.to_row() for predictions in predict_files(files, pool) for p in predictions]
    found = rows(undisturbed)
    assert [{key: row[key] for key in row_columns(THREE_CLASS)} for row in found] == expected
    assert list(expected[0]) == list(row_columns(THREE_CLASS))
    assert {row["code_version"] for row in found} == {plans.code_version()}
    assert [row["decision"] for row in found if "broken" in row["file"] or "empty" in row["file"]] == ["rejected"] * 2


def test_a_partition_says_what_it_is(undisturbed, bundle):
    summary = json.loads((undisturbed / "_summary.json").read_text())
    first = parquet.read_schema(min(undisturbed.glob("part-*")))
    mine = json.loads(first.metadata[b"pneumoscope"])
    assert mine["bundle"] == summary["bundle"] == rows(undisturbed)[0]["bundle_sha256"]
    assert mine["plan"] == summary["plan"]
    assert min(undisturbed.glob("part-*")).name == f"part-000000-{summary['plan'][:12]}.parquet"
    assert summary["films"] == 74
    assert summary["reasons"]["unreadable"] == 2
    assert sum(summary["decisions"].values()) == 74
    # As Spark, DuckDB and Arrow read a folder: what begins with _ is not part of the table.
    assert dataset.dataset(undisturbed, format="parquet").count_rows() == 74


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_processes_changes_no_byte(archive, bundle, undisturbed, tmp_path, workers):
    score(str(archive), str(tmp_path / "out"), bundle, LocalEngine(workers), partition_size=10)
    assert parts(tmp_path / "out") == parts(undisturbed)


def test_a_second_run_does_only_what_is_missing(archive, bundle, undisturbed, tmp_path):
    out = tmp_path / "out"
    followed = []
    score(str(archive), str(out), bundle, LocalEngine(1), 10, lambda run: followed.append(run.partitions))
    assert followed == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    gone = sorted(out.glob("part-*"))[3]
    kept = {file: file.stat().st_mtime_ns for file in out.glob("part-*") if file != gone}
    gone.unlink()
    scored = score(str(archive), str(out), bundle, LocalEngine(1), 10)
    assert (scored.run.earlier, scored.run.partitions, scored.run.images) == (7, 1, 10)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert parts(out) == parts(undisturbed)
    scored = score(str(archive), str(out), bundle, LocalEngine(1), 10)
    assert (scored.run.earlier, scored.run.partitions, scored.total.images) == (8, 0, 74)
    assert len(list((out / "_runs").iterdir())) == 2
    hours = [json.loads(file.read_text())["core_hours"] for file in (out / "_runs").iterdir()]
    assert scored.run.core_hours == pytest.approx(sum(hours), abs=1e-3)


@pytest.mark.integration
def test_killed_again_and_again_it_ends_with_the_same_bytes(archive, phantom_bundle, undisturbed, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pneumoscope", "scale", "score", str(archive), "--out", str(out)]
    command += ["--engine", "local", "--workers", "1", "--bundle", str(phantom_bundle), "--partition-films", "10"]
    kills = 0
    while not (out / "_summary.json").exists():
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(list(out.glob("part-*"))) if out.exists() else 0
        while run.poll() is None and not (kills < 3 and len(list(out.glob("part-*"))) > before):
            time.sleep(0.005)
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
    assert kills >= 2
    assert parts(out) == parts(undisturbed)


def test_a_run_of_something_else_is_refused(archive, bundle, undisturbed, tmp_path, phantoms):
    def refused(message, manifest=archive, bundle=bundle, size=10, request=None):
        with pytest.raises(DataError, match=message):
            score(str(manifest), str(undisturbed), bundle, LocalEngine(1), size, request=request)

    before = parts(undisturbed)
    refused(r"expected the files .* \(74 addresses\), found 72 that are not all the same", manifest=phantoms)
    refused(r"expected the partition size .* \(10\), found 20", size=20)
    refused(r"expected the bundle .* begun with", bundle=find_bundle("nano"))
    refused(r"expected the prevalence .* \(None\), found 0.1", request=PredictionRequest(prevalence=0.1))
    assert parts(undisturbed) == before
    other = tmp_path / "other"
    other.mkdir()
    (other / next(iter(before))).write_bytes(b"")
    with pytest.raises(DataError, match=r"expected the plan .* beside the results there, found none"):
        score(str(archive), str(other), bundle, LocalEngine(1), 10)
    stray = undisturbed / "part-000000-0123456789ab.parquet"
    stray.write_bytes(b"")
    refused("expected results of this run alone")
    stray.unlink()


def test_another_version_of_the_code_is_refused(archive, bundle, undisturbed, monkeypatch):
    from pneumoscope.scale import score as scoring

    monkeypatch.setattr(scoring, "code_version", lambda: "0.0.1+0")
    with pytest.raises(DataError, match=r"expected the code version .*, found 0.0.1\+0"):
        score(str(archive), str(undisturbed), bundle, LocalEngine(1), 10)


def test_what_cannot_be_scored_is_told_before_anything_is_written(archive, bundle, tmp_path):
    out = tmp_path / "out"
    for manifest, error, message in (
        (tmp_path / "none", DataError, "found none"),
        ("unknown://films", ConfigError, "expected an address that fsspec knows"),
    ):
        with pytest.raises(error, match=message):
            score(str(manifest), str(out), bundle, LocalEngine(1))
    with pytest.raises(InputError, match="operating point"):
        score(str(archive), str(out), bundle, LocalEngine(1), request=PredictionRequest("none"))
    with pytest.raises(ConfigError, match="images per partition, found 0"):
        score(str(archive), str(out), bundle, LocalEngine(1), 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected images behind"):
        score(str(tmp_path / "empty"), str(out), bundle, LocalEngine(1))
    assert not out.exists()


def test_damaged_results_are_found_when_they_are_counted(archive, bundle, tmp_path):
    out = tmp_path / "out"
    scored = score(str(archive), str(out), bundle, LocalEngine(1), 40)
    first = min(out.glob("part-*"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-20])
    with pytest.raises(DataError, match="delete it and run the same command again"):
        score(str(archive), str(out), bundle, LocalEngine(1), 40)
    table = parquet.read_table(arrow.BufferReader(whole))
    parquet.write_table(table.slice(1), first)
    with pytest.raises(DataError, match="expected 39 results of partition 0"):
        read_result(scored.plan, 0)
    first.unlink()
    assert score(str(archive), str(out), bundle, LocalEngine(1), 40).total == scored.total
    assert first.read_bytes() == whole


def test_a_damaged_or_missing_plan_is_told(archive, bundle, tmp_path):
    out = tmp_path / "out"
    scored = score(str(archive), str(out), bundle, LocalEngine(1), 40)
    (out / "_plan" / "00000.parquet").unlink()
    with pytest.raises(DataError, match="expected the plan's"):
        scored.plan.addresses(0)
    (out / "_plan.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="expected a plan of this version"):
        score(str(archive), str(out), bundle, LocalEngine(1), 40)


def test_a_long_plan_is_cut_into_files(tmp_path, monkeypatch):
    """Each partition is found again wherever the plan's files are cut; an archive is a partition of its own."""
    monkeypatch.setattr(plans, "_ENTRIES_PER_FILE", 6)
    names = [f"/films/{number}.jpeg" for number in range(23)]
    names.insert(5, "/films/a.tar")
    (tmp_path / "films.csv").write_text("path\n" + "\n".join(names) + "\n")
    terms = plans.Terms("0" * 64, "balanced", None, "1")
    plan = plans.open_plan(str(tmp_path / "films.csv"), str(tmp_path / "out"), terms, 2)
    assert (plan.entries, plan.archives, plan.images) == (24, 1, None)
    found = [plan.addresses(number) for number in range(plan.partitions)]
    assert [address for partition in found for address in partition] == names
    assert ["/films/a.tar"] in found
    assert max(map(len, found)) == 2
    assert len(list((tmp_path / "out" / "_plan").iterdir())) == -(-plan.partitions // 3)
    again = plans.open_plan(str(tmp_path / "films.csv"), str(tmp_path / "out"), terms, 2)
    assert again == plan
    assert again.hash == plan.hash
