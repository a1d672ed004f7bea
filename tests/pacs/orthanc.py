"""A real PACS for tests: Orthanc with its DICOMweb plugin, and dcmtk's storescu.

Orthanc 1.10 listens on every interface whatever its configuration says, so it runs in a network namespace of its own only: see
`test_hospital.py`.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
from pydicom.datadict import keyword_for_tag

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin"
_START_SECONDS, _STOP_SECONDS = 30.0, 30.0


def missing():
    """Reason why no PACS can be had here; empty where one can."""
    for program, package in (("Orthanc", "orthanc"), ("storescu", "dcmtk")):
        if not shutil.which(program, path=_SEARCHED):
            return f"{program} is not installed (Debian: {package})"
    return "" if _PLUGIN.exists() else "Orthanc's DICOMweb plugin is not installed (Debian: orthanc-dicomweb)"


class Orthanc:
    """A PACS that keeps its storage in `folder` between `stop` and `start`; a context manager.

    Args:
        folder: Folder of configuration, log and storage.
        ae_title: AE title.
        dicom_port: Port for C-ECHO, C-STORE, C-FIND and C-MOVE.
        http_port: Port of the REST interface and of DICOMweb.
        modalities: Symbolic name to (AE title, address, port) of the peers that it sends to.
        dicomweb: Whether the DICOMweb plugin runs.
        settings: Further settings of Orthanc's configuration file.

    `rest` is a client of the REST interface, `dicomweb_url` the address of DICOMweb.
    """

    def __init__(
        self,
        folder,
        ae_title="ORTHANC",
        dicom_port=4242,
        http_port=8042,
        modalities=None,
        dicomweb=True,
        settings=None,
    ):
        self.folder, self.ae_title, self.dicom_port, self.http_port = Path(folder), ae_title, dicom_port, http_port
        self.url = f"http://127.0.0.1:{http_port}"
        self.dicomweb_url = f"{self.url}/dicom-web"
        self.rest = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "orthanc.log"
        self._process = None
        self._configuration = self.folder / "orthanc.json"
        self._configuration.write_text(
            json.dumps(
                {
                    "Name": ae_title,
                    "StorageDirectory": str(self.folder / "storage"),
                    "IndexDirectory": str(self.folder / "storage"),
                    "DicomAet": ae_title,
                    "DicomPort": dicom_port,
                    "HttpPort": http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {name: list(peer) for name, peer in (modalities or {}).items()},
                    "DicomThreadsCount": 4,
                    "StableAge": 1,
                    "Plugins": [str(_PLUGIN)] if dicomweb else [],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    **(settings or {}),
                },
                indent=2,
            )
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.rest.close()

    def start(self):
        """Starts it and waits until it answers."""
        networks = {name for _, name in socket.if_nameindex()}
        assert networks == {"lo"}, f"Orthanc would listen on {networks}: run its tests by test_hospital.py"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [shutil.which("Orthanc", path=_SEARCHED), str(self._configuration)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.rest.get("/system").raise_for_status()
                return
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise AssertionError(f"Orthanc did not start:\n{self.log.read_text()[-4000:]}") from None
                time.sleep(0.05)

    def stop(self):
        """Ends it in good order; what it stored stays. Does nothing where it is not running."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self):
        """Ends it by SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._process = None

    def get(self, path, **query):
        """JSON of a resource of the REST interface."""
        return self.rest.get(path, params=query).raise_for_status().json()

    def find(self, level, **query):
        """Resources at a level (`Patient`, `Study`, `Series` or `Instance`) by DICOM keywords, expanded with all main tags."""
        question = {"Level": level, "Query": query, "Expand": True}
        return self.rest.post("/tools/find", json=question).raise_for_status().json()

    def instances(self, **query):
        """Instances by DICOM keywords, all of them where there are none."""
        return self.find("Instance", **query)

    def series(self, **query):
        """Series by DICOM keywords, all of them where there are none."""
        return self.find("Series", **query)

    def file(self, instance):
        """DICOM file of an instance, by its Orthanc identifier."""
        return self.rest.get(f"/instances/{instance}/file").raise_for_status().content

    def picture(self, instance):
        """PNG as Orthanc renders an instance, by its Orthanc identifier."""
        return self.rest.get(f"/instances/{instance}/rendered").raise_for_status().content

    def upload(self, content):
        """Stores a DICOM file through the REST interface; gives its Orthanc identifier."""
        return self.rest.post("/instances", content=content).raise_for_status().json()["ID"]

    def send(self, modality, resources):
        """Sends resources, by their Orthanc identifiers, to a peer by C-STORE; gives the job's summary."""
        question = {"Resources": list(resources), "Synchronous": True}
        return self.rest.post(f"/modalities/{modality}/store", json=question).raise_for_status().json()

    def qido(self, path, **query):
        """Answers of QIDO-RS below DICOMweb's root, such as `qido("series", Modality="SR")`: keyword to value or values."""
        headers = {"Accept": "application/dicom+json"}
        answer = self.rest.get(f"/dicom-web/{path}", params=query, headers=headers).raise_for_status()
        return [_by_keyword(each) for each in answer.json()]


def storescu(*files, port, called="ORTHANC", calling="STORESCU", options=()):
    """Sends DICOM files by dcmtk's storescu; gives the finished process.

    `options` are storescu's own: `-R` to propose only the presentation contexts that are needed, `-xs` and its like for
    compressed files, `+sd` for folders.
    """
    command = ["storescu", "-v", "-aec", called, "-aet", calling, *options, "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def _by_keyword(record):
    found = {}
    for tag, element in record.items():
        values = element.get("Value", [])
        found[keyword_for_tag(tag) or tag] = values[0] if len(values) == 1 else values
    return found
