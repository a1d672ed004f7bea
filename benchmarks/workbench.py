"""Size of a worklist: hundreds of films in Chromium beside the service's own rate, long tasks of the page, and keys; writes JSON.

    .venv/bin/python benchmarks/workbench.py [--films 500] [--rounds 3]

The service runs as users start it. Its own rate is that of requests for the same files by another program, in forms of as many files and as
many at a time as the page sends them, and one by one over four connections; page and requests in turn, on the same cores. A key press
counts until the next film is on the stage, a third of a second after the one before.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import httpx
from playwright.sync_api import expect, sync_playwright

from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
CONNECTIONS = 4
# As page/service.js sends films.
REQUESTS, TOGETHER = 3, 8
KEYS = 40
PAUSE_MS = 333
TIMEOUT_MS = 600_000
BYTES = {"Content-Type": "application/octet-stream"}
WATCH_TASKS = """() => {
    window.tasks = [];
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
}"""
EMPTY_INPUT = """() => {
    const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, id: "empty-input" });
    input.addEventListener("change", () => { window.chosen = [...input.files]; });
    document.body.append(input);
}"""
# Milliseconds from a key press to the frame after which the caption names another film and its picture is shown.
PRESS = """() => new Promise((done) => {
    const caption = document.querySelector(".stage .caption"), before = caption.textContent, began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
    const look = () => {
        if (caption.textContent !== before && !document.querySelector(".stage .picture").hidden) requestAnimationFrame(() => done(performance.now() - began));
        else requestAnimationFrame(look);
    };
    look();
})"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/speed/workbench.json"))
    options = parser.parse_args()
    every = sorted((locate(None).root / "train").rglob("*.jpeg"))
    files = every[:: max(1, len(every) // options.films)][: options.films]
    service = subprocess.Popen(
        [sys.executable, "-m", "pneumoscope", "serve", "--port", "0", "--no-request-log"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = service.stdout.readline().strip().rstrip("/")
        while not is_ready(address):
            time.sleep(0.1)
        rounds = []
        for _ in range(options.rounds):
            singly = len(files) / seconds_of_requests(address, files, CONNECTIONS, 1)
            together = len(files) / seconds_of_requests(address, files, REQUESTS, TOGETHER)
            found = {"service_films_per_second": together, "service_films_per_second_one_by_one": singly}
            rounds.append(found | in_browser(address, files))
            print(rounds[-1], flush=True)
    finally:
        service.terminate()
        service.wait()
    record = {"films": len(files), "keys": KEYS, "rounds": rounds} | medians(rounds)
    write_json(options.out, record | provenance("benchmarks/workbench.py"))


def medians(rounds):
    """Medians over the rounds, and how the page's rate compares with the service's own in the same round."""
    found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    shares = [each["page_films_per_second"] / each["service_films_per_second"] for each in rounds]
    singly = [each["page_films_per_second"] / each["service_films_per_second_one_by_one"] for each in rounds]
    return {
        "median": found
        | {"share_of_service": statistics.median(shares), "share_of_one_by_one": statistics.median(singly)}
    }


def is_ready(address):
    try:
        return httpx.get(f"{address}/v1/ready").is_success
    except httpx.TransportError:
        return False


def seconds_of_requests(address, files, connections, together):
    """Seconds until every file has a prediction, requested so many together over so many connections."""
    left = SimpleQueue()
    contents = [file.read_bytes() for file in files]
    for start in range(0, len(contents), together):
        left.put(contents[start : start + together])

    def work():
        with httpx.Client(base_url=address, timeout=60) as client:
            while True:
                try:
                    part = left.get_nowait()
                except Empty:
                    return
                if together == 1:
                    client.post("/v1/predict", content=part[0], headers=BYTES).raise_for_status()
                else:
                    form = [("files", (str(place), content)) for place, content in enumerate(part)]
                    client.post("/v1/predict/batch", files=form).raise_for_status()

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def in_browser(address, files):
    """Rate, tasks and key presses of a worklist of these films."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-GB")
        page.set_default_timeout(TIMEOUT_MS)
        # What choosing so many files takes by itself, on a page that does nothing with them.
        page.goto(f"{address}/docs")
        page.evaluate(WATCH_TASKS)
        page.evaluate(EMPTY_INPUT)
        page.set_input_files("#empty-input", files)
        page.wait_for_timeout(1000)
        choosing = page.evaluate("() => window.tasks.splice(0)")
        page.goto(address)
        expect(page.locator("html[data-ready]")).to_have_count(1)
        page.evaluate(WATCH_TASKS)
        measure = page.context.new_cdp_session(page)
        measure.send("Performance.enable")
        before = busy_seconds(measure)
        began = time.perf_counter()
        page.set_input_files("#files", files)
        expect(page.locator("#announcement")).to_have_text(
            f"{len(files)} of {len(files)} films analysed.", timeout=TIMEOUT_MS
        )
        seconds = time.perf_counter() - began
        busy = busy_seconds(measure) - before
        tasks = page.evaluate("() => window.tasks.splice(0)")
        keys = []
        for _ in range(KEYS):
            page.wait_for_timeout(PAUSE_MS)
            keys.append(page.evaluate(PRESS))
        busy_keys = page.evaluate("() => window.tasks.splice(0)")
        browser.close()
    return {
        "page_films_per_second": len(files) / seconds,
        "main_thread_seconds": busy,
        "longest_task_ms": max(tasks, default=0),
        "tasks_over_50_ms": len(tasks),
        "longest_task_of_choosing_ms": max(choosing, default=0),
        "longest_task_of_keys_ms": max(busy_keys, default=0),
        "key_ms_median": statistics.median(keys),
        "key_ms_most": max(keys),
    }


def busy_seconds(measure):
    """Seconds that the page's main thread has been at work."""
    return {each["name"]: each["value"] for each in measure.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


if __name__ == "__main__":
    main()
