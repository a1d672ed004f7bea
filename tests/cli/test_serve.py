import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.integration

SECONDS = 60


@pytest.fixture
def started(phantom_bundle, tmp_path):
    """Starts the command as a process of its own; gives it and its address."""
    running = []

    def start(*words):
        command = [sys.executable, "-m", "pneumoscope", "serve", "--port", "0", "--workers", "1", "--bundle"]
        running.append(
            subprocess.Popen(
                [*command, str(phantom_bundle), *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
        return running[-1], running[-1].stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def answer(url, content=None):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, content, timeout=SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:  # it does not listen yet
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_receives_a_signal(started, images_in_bytes, stop):
    process, url = started()
    assert url.startswith("http://127.0.0.1:")
    assert answer(f"{url}v1/ready")["status"] == "ready"
    request = urllib.request.Request(f"{url}v1/predict", images_in_bytes, {"Content-Type": "image/jpeg"})
    assert answer(request)["bundle"]["name"] == "test"
    process.send_signal(stop)
    assert process.wait(SECONDS) == 0
    said = process.stderr.read()
    assert "Research use only. Not a medical device." in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [line["route"] for line in lines] == ["/v1/ready", "/v1/predict"]
    assert "Traceback" not in said
    assert "leaked" not in said


@pytest.fixture
def images_in_bytes(phantoms):
    return next(iter(sorted(phantoms.rglob("*.jpeg")))).read_bytes()


def test_it_warns_where_the_network_may_ask(started):
    process, url = started("--host", "0.0.0.0", "--no-request-log")
    assert answer(url.replace("0.0.0.0", "127.0.0.1") + "v1/health")["status"] == "alive"
    process.terminate()
    assert process.wait(SECONDS) == 0
    assert "Everybody on the network may ask it" in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bundle", "gone.zip"), "expected a bundle"),
        (("--new-key", "me"), "expected --api-keys FILE"),
        (("--api-keys", "gone"), "expected a file of API keys"),
        (("--host", "203.0.113.9"), "expected to listen on 203.0.113.9 port 0"),
        (("--history", "folder"), "expected an SQLite file"),
        (("--queue", "2", "--workers", "-1"), None),
    ],
)
def test_an_error_is_one_line(pneumoscope, tmp_path, words, message):
    (tmp_path / "folder").mkdir()
    code, _, err = pneumoscope("serve", "--port", 0, *words)
    if message is None:
        assert code == 2
        return
    assert code == 1
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line


def test_a_port_in_use_is_told(pneumoscope):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        code, _, err = pneumoscope("serve", "--port", port)
    assert code == 1
    assert f"port {port}, found: Address already in use: name another by --host and --port" in err
    assert "Traceback" not in err


def test_the_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['uvicorn'] = None; from pneumoscope.cli import main; sys.argv = ['pneumoscope', 'serve']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'pneumoscope[serve]'" in done.stderr
