"""The service under load, on loopback, its callers on the same cores: capacity, overload, memory, first paint; writes JSON.

    .venv/bin/python benchmarks/serving.py [--seconds 60] [--requests 10000]

Capacity: sixteen callers who ask again as soon as they are answered. Overload: calls arrive at one and a half times that, evenly,
whether earlier ones are answered or not. Every answer is compared with what the detector says of that image. Beside it, in the
same run, `pneumoscope predict --out` on the same images.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.provenance import provenance

PROGRAM = Path(sys.executable).with_name("pneumoscope")
IMAGES = 200
CALLERS = 16


class Caller(asyncio.Protocol):
    """A kept connection that carries one request at a time."""

    def __init__(self):
        self.held, self.answer, self.length = b"", None, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.held += data
        if self.length is None:
            head, found, rest = self.held.partition(b"\r\n\r\n")
            if not found:
                return
            self.status = int(head[9:12])
            announced = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self.length, self.held = int(announced.split(b":")[1]), rest
        if len(self.held) >= self.length:
            body, self.held, self.length = self.held[: self.length], b"", None
            self.answer.set_result((self.status, body))

    def connection_lost(self, error):
        if self.answer and not self.answer.done():
            self.answer.set_exception(ConnectionResetError())

    async def ask(self, request):
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


class Load:
    """Requests for images, and what became of them."""

    def __init__(self, port, images):
        self.port = port
        self.requests = [self._request(image) for image in images]
        detector = load_detector()
        self.expected = [detector.predict(image).to_dict() | {"file": ""} for image in images]
        self.statuses, self.latencies, self.wrong = Counter(), [], 0

    @staticmethod
    def _request(image):
        content = Path(image).read_bytes()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    async def caller(self):
        _, made = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", self.port)
        return made

    async def one(self, caller, place):
        began = time.perf_counter()
        status, body = await caller.ask(self.requests[place])
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.perf_counter() - began)
            self.wrong += json.loads(body) != self.expected[place]

    async def closed(self, requests, callers=CALLERS):
        """Requests per second of callers who wait for their answers."""
        left = iter(range(requests))

        async def go_on():
            caller = await self.caller()
            for number in left:
                await self.one(caller, number % len(self.requests))

        began = time.perf_counter()
        await asyncio.gather(*(go_on() for _ in range(callers)))
        return requests / (time.perf_counter() - began)

    async def open(self, rate, seconds):
        """Requests at a steady rate; as many connections as that takes."""
        free, running, began = deque(), set(), time.perf_counter()

        async def call(place):
            caller = free.popleft() if free else await self.caller()
            await self.one(caller, place)
            free.append(caller)

        for number in range(round(rate * seconds)):
            wait = began + number / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(call(number % len(self.requests)))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        return {"callers": len(free)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/speed/serving.json"))
    options = parser.parse_args()
    images = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))[::20][:IMAGES]
    service, port = started()
    try:
        told = measure(options, images, service, port)
    finally:
        service.send_signal(signal.SIGTERM)
        told_code = service.wait(60)
    told["exit_code"] = told_code
    write_json(options.out, told | provenance("benchmarks/serving.py"))


def started():
    service = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return service, int(service.stdout.readline().strip().rstrip("/").rpartition(":")[2])


def measure(options, images, service, port):
    load = Load(port, images)
    while True:  # until it is ready
        try:
            asyncio.run(load.closed(400))
            break
        except OSError:
            time.sleep(0.1)
    rates, batch = [], []
    for _ in range(options.rounds):
        batch.append(of_the_command(images))
        rates.append(asyncio.run(load.closed(2000)))
        print(f"capacity {rates[-1]:.0f}/s, the command {batch[-1]:.0f}/s", flush=True)
    capacity = statistics.median(rates)
    ratios = [rate / of_it for rate, of_it in zip(rates, batch, strict=True)]

    load.latencies, load.statuses = [], Counter()
    before = memory(service.pid)
    asyncio.run(load.closed(options.requests))
    after = memory(service.pid)
    calm = sorted(load.latencies)
    print(f"memory {before:.0f} -> {after:.0f} MB over {options.requests} requests", flush=True)

    load.latencies, load.statuses = [], Counter()
    asyncio.run(load.open(1.5 * capacity, options.seconds))
    hard = sorted(load.latencies)
    told = {
        "capacity_per_second": {"median": capacity, "values": rates},
        "command_per_second": {"median": statistics.median(batch), "values": batch},
        "ratio": {"median": statistics.median(ratios), "values": ratios},
        "calm_milliseconds": quantiles(calm),
        "memory_megabytes": {"before": before, "after": after, "requests": options.requests},
        "overload": {
            "seconds": options.seconds,
            "asked_per_second": 1.5 * capacity,
            "answered_per_second": load.statuses[200] / options.seconds,
            "statuses": dict(load.statuses),
            "milliseconds": quantiles(hard),
            "memory_after": memory(service.pid),
        },
        "wrong_answers": load.wrong,
        "first_paint_milliseconds": first_paint(port),
    }
    print(json.dumps(told, indent=1), flush=True)
    return told


def quantiles(sorted_seconds):
    return {
        name: 1000 * sorted_seconds[int(len(sorted_seconds) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def of_the_command(images, count=2000):
    """Images per second of `pneumoscope predict --out`, its start left out as the service's is."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for number in (count // 4, count):
            listed = Path(folder) / "films.csv"
            listed.write_text("path\n" + "\n".join(images[i % len(images)] for i in range(number)) + "\n")
            command = [PROGRAM, "predict", listed, "--out", Path(folder) / "p.jsonl", "--overwrite"]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    return (count - count // 4) / (seconds[1] - seconds[0])


def memory(pid):
    """Megabytes that a process and its children hold together, shared pages counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for process in (pid, *children):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def first_paint(port, rounds=5):
    """Milliseconds from asking for the page to its first paint, in a browser that has not seen it."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync"]
    found = []
    with sync_playwright() as started_:
        browser = started_.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for _ in range(rounds + 1):
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator("html[data-ready]").wait_for()
            paint = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
            while (value := page.evaluate(paint)) is None:
                page.wait_for_timeout(20)
            found.append(value)
            context.close()
        browser.close()
    return {"median": statistics.median(found[1:]), "values": found[1:]}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
