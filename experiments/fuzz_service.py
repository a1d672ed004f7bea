"""Fuzzed requests to a running service: it goes on answering, and answers nothing but what it documents; writes JSON.

    .venv/bin/python experiments/fuzz_service.py [--bodies 20000] [--seed 0]

Bodies are the mutated images and DICOM objects of `fuzz.py`, sent to every route that takes one, alone and in forms whose own
bytes are mutated too, some with wrong lengths, aborted in the middle, or followed by rubbish. Meanwhile some callers send a byte
a second. After every hundred requests an image must be answered for as before.
"""

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from fuzz import made, mutated, seeds

from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

PROGRAM = Path(sys.executable).with_name("pneumoscope")
ROUTES = ("/v1/predict", "/v1/predict?evidence=true", "/v1/film", "/v1/evidence", "/v1/predict/batch")
KINDS = ("jpeg", "png", "dicom")
SLOW, SECONDS, PATIENCE = 8, 60, 0.3
BOUNDARY = b"----a"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/fuzz_service.json"))
    options = parser.parse_args()
    service = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--bundle", "nano", "--no-request-log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    port = int(service.stdout.readline().strip().rstrip("/").rpartition(":")[2])
    threading.Thread(target=lambda: said.extend(service.stderr), daemon=True).start()
    stop = threading.Event()
    callers = [threading.Thread(target=slowly, args=(port, stop), daemon=True) for _ in range(SLOW)]
    try:
        told = fuzz(options, port, service, callers)
    finally:
        stop.set()
        service.send_signal(signal.SIGTERM)
        code = service.wait(90)
    told |= {"exit_code": code, "said_on_stderr": [line.strip()[:300] for line in said[1:]][:20]}
    print(json.dumps(told, indent=1))
    write_json(options.out, told | provenance("experiments/fuzz_service.py"))


def fuzz(options, port, service, callers):
    whole, rng = seeds(), random.Random(options.seed)
    good = whole["png"][0]
    until_ready(port, good)
    expected = ask(port, request("/v1/predict", good))
    for caller in callers:
        caller.start()
    statuses, slowest, wrong, began = Counter(), 0.0, 0, time.monotonic()
    before = memory(service.pid)
    for number in range(options.bodies):
        kind = KINDS[number % len(KINDS)]
        content = made(kind, number, options.seed, whole)
        sent = odd_request(rng, ROUTES[rng.randrange(len(ROUTES))], content)
        start = time.monotonic()
        status = ask(port, sent, rng.random() < 0.05, SECONDS if is_whole(sent) else PATIENCE)[0]
        statuses[status] += 1
        if isinstance(status, int):
            slowest = max(slowest, time.monotonic() - start)
        if number % 100 == 99:
            wrong += ask(port, request("/v1/predict", good)) != expected
            if number % 2000 == 1999:
                print(
                    f"{number + 1}: {dict(statuses)}, slowest {slowest:.1f} s, {memory(service.pid):.0f} MB", flush=True
                )
    return {
        "bodies": options.bodies,
        "statuses": {str(status): count for status, count in sorted(statuses.items(), key=str)},
        "films_answered_otherwise_meanwhile": wrong,
        "slowest_seconds": slowest,
        "slow_callers": SLOW,
        "memory_megabytes": {"before": before, "after": memory(service.pid)},
        "minutes": (time.monotonic() - began) / 60,
    }


def is_whole(sent):
    """Whether a request has the length that it announces: others may wait for the rest of it."""
    head, _, body = sent.partition(b"\r\n\r\n")
    return f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


def until_ready(port, good):
    while True:
        try:
            if ask(port, request("/v1/predict", good))[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)


def request(route, content, kind=b"application/octet-stream", length=None):
    head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    length = len(content) if length is None else length
    return head + b"Content-Type: " + kind + f"\r\nContent-Length: {length}\r\n\r\n".encode() + content


def odd_request(rng, route, content):
    """As it should be, or with something wrong about it."""
    if route.endswith("batch"):
        part = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        form = part + content + b"\r\n" + part + content[:50] + b"\r\n--" + BOUNDARY + b"--\r\n"
        if rng.random() < 0.5:
            form = mutated(form, rng, [form])
        return request(route, form, b"multipart/form-data; boundary=" + BOUNDARY)
    whole = request(route, content)
    change = rng.randrange(12)
    if change == 0:  # the head itself
        head, _, body = whole.partition(b"\r\n\r\n")
        return mutated(head, rng, [head]) + b"\r\n\r\n" + body
    if change == 1:
        return request(route, content, length=max(0, len(content) + rng.randrange(-50, 50)))
    if change == 2:
        chunks = b"".join(f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in (content[:99], content[99:]) if p)
        head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = chunks + b"0\r\n\r\n"
        return head.encode() + (mutated(body, rng, [body]) if rng.random() < 0.5 else body)
    if change == 3:
        return request(
            route, content, kind=rng.choice((b"text/html", b"image/jpeg", b"", b"multipart/form-data", b"\xff"))
        )
    if change == 4:
        point = rng.choice(
            ("operating_point=%00", "prevalence=nan", "prevalence=1e-300", "evidence=2", "file=%ff%0a", "alone=x")
        )
        return request(f"{route}{'&' if '?' in route else '?'}{point}", content)
    return whole


def ask(port, sent, abort=False, seconds=SECONDS):
    """Status and answer; what became of the connection where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(sent[: len(sent) // 2] if abort else sent)
            if abort:
                return "aborted", b""
            received = b""
            while not is_answer(received) and (piece := connection.recv(1 << 16)):
                received += piece
        except TimeoutError:
            return "still waits for more, left", b""
        except OSError:
            return "closed", b""
    if not received.startswith(b"HTTP/1.1 "):
        return "closed", b""
    return int(received[9:12]), received.partition(b"\r\n\r\n")[2]


def is_answer(received):
    """Whether an answer has arrived whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found and lengths) and len(body) >= int(lengths[0].partition(b":")[2])


def slowly(port, stop):
    """A byte a second, again and again."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
                for place in range(len(head) + 60):
                    connection.sendall(head[place : place + 1] or b"x")
                    if stop.wait(1):
                        return
        except OSError:
            pass


def memory(pid):
    """Megabytes of a process and its children, shared pages counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = [line for p in (pid, *children) for line in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
