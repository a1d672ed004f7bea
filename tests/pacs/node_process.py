"""The node as a process of its own, started as a user starts it."""

import signal
import subprocess
import sys
import time

SETTINGS = """
ae_title = "PNEUMOSCOPE"
port = {port}
seconds = 10
{more}

[[peers]]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {pacs_port}

[[peers]]
ae_title = "STORESCU"
"""


class NodeProcess:
    """`pneumoscope pacs start` on settings in a folder; a context manager.

    Args:
        folder: Folder of the settings, and of the node's own folder `node`.
        port: Port that it listens on.
        pacs_port: Port that answers go to.
        more: Further lines of the settings file.
        options: Further options of the command.
    """

    def __init__(self, folder, port=11112, pacs_port=4242, more="", options=()):
        self.folder, self.port, self.options = folder, port, options
        self.config = folder / "node.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(SETTINGS.format(port=port, pacs_port=pacs_port, more=more))
        self.log = folder / "node.log"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts it and waits until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pneumoscope", "pacs", "start", "--config", self.config, *self.options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self.process.stdout.readline()
        assert line.startswith("PNEUMOSCOPE 127.0.0.1:"), self.log.read_text()[-4000:]

    def stop(self):
        """Ends it in good order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(60)
            self._forget()
            assert code == 0, self.log.read_text()[-4000:]

    def kill(self):
        """Ends it by SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        self.process.stdout.close()
        self.process = None

    def command(self, *words):
        """A further command of `pneumoscope pacs` on the same settings; gives the finished process."""
        return self.command_without_config(*words, "--config", self.config)

    @staticmethod
    def command_without_config(*words):
        """A command of `pneumoscope pacs`; gives the finished process."""
        command = [sys.executable, "-m", "pneumoscope", "pacs", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


def until(what, seconds=60.0, every=0.1):
    """What `what` gives as soon as that is true, or after some seconds."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(every)
    return found
