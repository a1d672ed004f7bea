"""A small PACS in this process that speaks DICOMweb: it keeps DICOM objects in memory, and searches, gives and takes them."""

import io
import json
import re
from collections import Counter
from email.message import Message
from fnmatch import fnmatchcase

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword

from test_dicomweb import JSON, Server, related

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_STUDY = ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "StudyTime")
_STUDY += ("AccessionNumber", "StudyDescription", "IssuerOfPatientID")
_SERIES = ("SeriesInstanceUID", "Modality", "SeriesNumber", "BodyPartExamined", "Manufacturer", "SeriesDescription")
_INSTANCE = ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ViewPosition")
_GIVEN = {"studies": _STUDY, "series": _STUDY + _SERIES, "instances": _STUDY + _SERIES + _INSTANCE}
_OWN_UID = dict(zip(("studies", "series", "instances"), _UIDS, strict=True))
_PATH = re.compile(r"/dicom-web/studies/([0-9.]+)/series/([0-9.]+)/instances/([0-9.]+)")


class PacsServer(Server):
    """A DICOMweb server, and what it holds: SOP Instance UID to file in `files`; `refuses` has the reasons by SOP class."""

    def __init__(self):
        super().__init__()
        self.files, self.refuses, self.stored = {}, {}, Counter()
        self.answers = _Answers(self._answer)

    def add(self, *contents):
        """Keeps files."""
        for content in contents:
            self.files[str(dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID)] = content

    def objects(self, **attributes):
        """Objects with these attributes."""
        found = [dcmread(io.BytesIO(content)) for content in self.files.values()]
        return [each for each in found if all(_is_like(each, *pair) for pair in attributes.items())]

    def asked(self):
        """Queries so far, without paging."""
        return [
            {name: values[0] for name, values in request.query.items() if name not in ("limit", "offset")}
            for request in self.requests
            if request.query
        ]

    def _answer(self, request):
        path = request.path.partition("?")[0]
        level = path.removeprefix("/dicom-web/")
        if request.command == "POST" and level == "studies":
            return self._store(request)
        if level in _GIVEN:
            return self._search(level, request.query)
        found = _PATH.fullmatch(path)
        if found and found[3] in self.files:
            return related(self.files[found[3]])
        return 404, {}, b""

    def _search(self, level, query):
        criteria = {name: values[0] for name, values in query.items() if tag_for_keyword(name)}
        found = {}
        for each in self.objects(**criteria):
            found.setdefault(str(each[_OWN_UID[level]].value), []).append(each)
        start, limit = int(query["offset"][0]), int(query["limit"][0])
        records = [_record(level, objects) for objects in found.values()][start : start + limit]
        return 200, JSON, json.dumps(records).encode()

    def _store(self, request):
        declared = Message()
        declared["Content-Type"] = request.headers["Content-Type"]
        _, *parts, _ = (b"\r\n" + request.body).split(b"\r\n--" + declared.get_param("boundary").encode())
        taken, refused = [], []
        for part in parts:
            content = part.partition(b"\r\n\r\n")[2]
            dataset = dcmread(io.BytesIO(content), stop_before_pixels=True)
            reason = self.refuses.get(dataset.Modality)
            item = {"00081155": {"vr": "UI", "Value": [str(dataset.SOPInstanceUID)]}}
            if reason:
                refused.append(item | {"00081197": {"vr": "US", "Value": [reason]}})
            else:
                taken.append(item)
                self.stored[str(dataset.SOPInstanceUID)] += 1
                self.add(content)
        answer = {"00081199": {"vr": "SQ", "Value": taken}, "00081198": {"vr": "SQ", "Value": refused}}
        return (409 if refused and not taken else 202 if refused else 200), JSON, json.dumps(answer).encode()


class _Answers(dict):
    """One answer to every request."""

    def __init__(self, answer):
        super().__init__()
        self._one = answer

    def get(self, key, default=None):
        return self._one


def _is_like(dataset, keyword, wanted):
    found = str(dataset.get(keyword) or "")
    if dictionary_VR(keyword) == "DA" and "-" in wanted:
        first, _, last = wanted.partition("-")
        return (first or "0") <= found <= (last or "9") and bool(found)
    if dictionary_VR(keyword) == "PN":
        found, wanted = found.lower(), wanted.lower()
    return fnmatchcase(found, wanted)


def _record(level, objects):
    values = {name: objects[0].get(name) for name in _GIVEN[level]}
    if level == "series":
        values["NumberOfSeriesRelatedInstances"] = len(objects)
    return {f"{tag_for_keyword(name):08X}": _element(name, value) for name, value in values.items() if value}


def _element(keyword, value):
    kind = dictionary_VR(keyword)
    text = {"Alphabetic": str(value)} if kind == "PN" else int(value) if kind in ("IS", "US") else str(value)
    return {"vr": kind, "Value": [text]}
