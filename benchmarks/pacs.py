"""The DICOM node beside a real PACS on the same cores: images a second through the whole path, and one film's turnaround; writes JSON.

    unshare -rn .venv/bin/python tests/network_namespace.py .venv/bin/python benchmarks/pacs.py [--films 400] [--minutes 30]

Films come from 20 senders at once (dcmtk's storescu); the clock runs from the first until Orthanc has report and picture of every one.
Every report is compared with what the detector says of its film. With --minutes, node, service and batch prediction then run
together for so long, among noise, stalled connections and a PACS that goes away: nothing may be lost, and memory not grow.
"""

import argparse
import io
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pydicom

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "pacs")]

from films import ROOT as UID  # noqa: E402
from films import pictures, write_film  # noqa: E402
from node_process import NodeProcess, until  # noqa: E402
from orthanc import Orthanc, storescu  # noqa: E402
from pneumoscope.files import write_json  # noqa: E402
from pneumoscope.inference.detector import load_detector  # noqa: E402
from pneumoscope.pacs.answers import read_report  # noqa: E402
from pneumoscope.provenance import provenance  # noqa: E402

SENDERS, PATIENCE = 20, 1200
ANSWERS = {"SR", "OT"}
PROGRAM = Path(sys.executable).with_name("pneumoscope")


def need(condition, message):
    if not condition:
        raise SystemExit(f"error: {message}")


def send(files, port):
    need(storescu(*files, port=port, called="PNEUMOSCOPE").returncode == 0, "a film was not taken")


def throughput(node, pacs, films):
    """Seconds from the first film until the PACS has both answers to each."""
    before = pacs.get("/statistics")["CountInstances"]
    threads = [threading.Thread(target=send, args=(films[n::SENDERS], node.port)) for n in range(SENDERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    acknowledged = time.perf_counter() - begun
    need(
        until(lambda: pacs.get("/statistics")["CountInstances"] >= before + 2 * len(films), PATIENCE, 0.05),
        "not all are answered",
    )
    return acknowledged, time.perf_counter() - begun


def turnaround(node, pacs, films):
    """Seconds from the start of the sending program until the PACS has both answers, of one film at a time."""
    seconds = []
    for film in films:
        before = pacs.get("/statistics")["CountInstances"]
        begun = time.perf_counter()
        send([film], node.port)
        need(
            until(lambda count=before: pacs.get("/statistics")["CountInstances"] >= count + 2, 60, 0.005),
            "a film is not answered",
        )
        seconds.append(time.perf_counter() - begun)
    return seconds


def wrong_reports(pacs, films):
    """Reports whose decision is another than the detector's own."""
    expected = {f"{UID}.3.{int(film.stem)}": load_detector_once().predict(film) for film in films}
    wrong = 0
    for each in pacs.instances(Modality="SR"):
        report = read_report(pydicom.dcmread(io.BytesIO(pacs.file(each["ID"]))))
        wrong += report["decision"] != expected[report["source"]].decision.value
    return wrong


_detector = []


def load_detector_once():
    if not _detector:
        _detector.append(load_detector())
    return _detector[0]


def resident_mb(pid):
    """Resident memory of a process and its children, MB."""
    found = 0
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    for each in (str(pid), *children):
        try:
            found += int(Path(f"/proc/{each}/status").read_text().split("VmRSS:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return found / 1024


def soak(folder, node, pacs, films, originals, minutes):
    """Node, service and batch together under faults; what came of it."""
    chance, end = random.Random(5), time.monotonic() + 60 * minutes
    sent, served, batches, memory = set(), [0, 0], 0, []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    service = subprocess.Popen(
        [PROGRAM, "serve", "--port", str(port), "--no-request-log", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    service.stdout.readline()
    stop = threading.Event()

    def ask():
        import httpx

        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            number = 0
            while not stop.wait(0.2):
                image = originals[number % len(originals)]
                number += 1
                answer = client.post("/v1/predict", content=image.read_bytes())
                served[0] += 1
                served[1] += answer.status_code != 200

    def disturb():
        while not stop.wait(chance.uniform(0.5, 3)):
            try:
                with socket.create_connection(("127.0.0.1", node.port), 5) as opened:
                    opened.sendall(
                        chance.choice(
                            [b"", b"\x01\x00\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(4000)]
                        )
                    )
                    time.sleep(chance.uniform(0, 2))
            except OSError:
                continue

    threads = [threading.Thread(target=each, daemon=True) for each in (ask, disturb)]
    for thread in threads:
        thread.start()
    away, number = 0, 1_000_000
    while time.monotonic() < end:
        part = []
        for _ in range(10):
            number += 1
            film = chance.choice(films)
            dataset = pydicom.dcmread(film)
            for keyword, place in (("StudyInstanceUID", 1), ("SeriesInstanceUID", 2), ("SOPInstanceUID", 3)):
                setattr(dataset, keyword, f"{UID}.{place}.{number}")
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            path = folder / "soak" / f"{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            dataset.save_as(path, enforce_file_format=True)
            part.append(path)
        while storescu(*part, port=node.port, called="PNEUMOSCOPE").returncode != 0:
            time.sleep(1)
        sent |= {f"{UID}.1.{int(path.stem)}" for path in part}
        for path in part:
            path.unlink()
        if len(sent) % 200 == 0:
            away += 1
            pacs.stop()
            time.sleep(chance.uniform(1, 10))
            pacs.start()
        if len(sent) % 100 == 0:
            done = subprocess.run(
                [PROGRAM, "predict", *originals[:20], "--overwrite", "--out", folder / "soak.csv"],
                capture_output=True,
                text=True,
            )
            batches += 1
            need(done.returncode == 0, f"a batch failed: {done.stderr.strip()[-500:]}")
            memory.append(resident_mb(node.process.pid))
        time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join(60)
    need(until(lambda: not list((node.folder / "node" / "images").iterdir()), PATIENCE, 1.0), "not all are answered")
    service.terminate()
    service.wait(60)
    service.stdout.close()
    answered = {}
    for series in pacs.series():
        study = pacs.get(f"/studies/{series['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"]
        answered.setdefault(study, []).append((series["MainDicomTags"]["Modality"], len(series["Instances"])))
    lost = sum(sorted(answered.get(study, [])) != [("OT", 1), ("SR", 1)] for study in sent)
    return {
        "minutes": minutes,
        "images": len(sent),
        "lost_or_doubled": lost,
        "pacs_away": away,
        "service_requests": served[0],
        "service_failures": served[1],
        "batches": batches,
        "node_mb_first": round(memory[0], 1),
        "node_mb_last": round(memory[-1], 1),
        "node_mb_most": round(max(memory), 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3, help="0 for the soak alone")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed" / "pacs.json")
    parser.add_argument("--soak-out", type=Path, default=ROOT / "results" / "robustness" / "pacs_soak.json")
    arguments = parser.parse_args()
    originals = sorted(Path(os.environ["PNEUMOSCOPE_TEST_ORIGINALS"]).rglob("*.jpeg"))
    folder = Path(tempfile.mkdtemp())
    try:
        stored = pictures(len(originals))
        films = [
            write_film(folder / "films" / f"{n}.dcm", stored[n % len(stored)], n) for n in range(1, arguments.films + 1)
        ]
        record = {"films": len(films), "senders": SENDERS, "rounds": []}
        for round_number in range(arguments.rounds):
            with (
                Orthanc(folder / f"orthanc{round_number}") as pacs,
                NodeProcess(folder / f"node{round_number}", more="associations = 32") as node,
            ):
                singles = turnaround(node, pacs, films[:20])
                acknowledged, seconds = throughput(node, pacs, films[20:])
                record["rounds"].append(
                    {
                        "images_per_second": round((len(films) - 20) / seconds, 2),
                        "acknowledged_per_second": round((len(films) - 20) / acknowledged, 2),
                        "turnaround_seconds_median": round(statistics.median(singles), 3),
                        "turnaround_seconds_longest": round(max(singles), 3),
                        "node_mb": round(resident_mb(node.process.pid), 1),
                        "wrong_reports": wrong_reports(pacs, films),
                    }
                )
                print(record["rounds"][-1], file=sys.stderr)
        if record["rounds"]:
            for name in ("images_per_second", "turnaround_seconds_median"):
                record[name] = statistics.median(each[name] for each in record["rounds"])
            write_json(arguments.out, record | provenance("benchmarks/pacs.py"))
        if arguments.minutes:
            with Orthanc(folder / "orthanc") as pacs, NodeProcess(folder / "node", more="associations = 32") as node:
                found = soak(folder, node, pacs, films, originals, arguments.minutes)
            write_json(arguments.soak_out, found | provenance("benchmarks/pacs.py"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
