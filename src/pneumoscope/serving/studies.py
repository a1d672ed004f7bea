"""Studies of a PACS, by its DICOMweb server: search, a patient's images, one image, and the store of answers.

The server is that of the node's settings: no caller chooses it. Its client is synchronous, so it works in a few threads of its own,
and a server that hangs takes none of the others. Neither errors nor log lines name patients.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pneumoscope.errors import ConfigError, DataError, StorageError
from pneumoscope.serving.problems import Problem, ProblemError

if TYPE_CHECKING:
    from pneumoscope.pacs.settings import NodeSettings

Result = TypeVar("Result")
_log = logging.getLogger("pneumoscope.serving")
# Requests to the server at a time, and seconds that a caller waits for one.
_THREADS, _SECONDS = 4, 60.0
# Series that are looked at for a list of studies, and images for those of one patient.
_MOST_SERIES, _MOST_IMAGES = 1000, 500
# Images of a study that are listed, and the last ones of the patient's earlier studies.
_OF_STUDY, _EARLIER = 20, 8
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "IssuerOfPatientID")
_STUDY = ("AccessionNumber", "StudyDate", "StudyTime", "StudyDescription")
_WILDCARDS = frozenset("*?")


@dataclass(frozen=True)
class Study:
    """Study with radiographs.

    Attributes:
        study: Study Instance UID.
        date: Date, ISO 8601; empty where the server gives none, as below.
        time: Time of day, ISO 8601.
        patient_name: Name of the patient, its parts separated by ^.
        patient_id: Identifier of the patient.
        birth_date: Date of birth, ISO 8601.
        accession_number: Accession number.
        description: Description of the study.
        images: Number of radiographs; null where the server does not say.
    """

    study: str
    date: str
    time: str
    patient_name: str
    patient_id: str
    birth_date: str
    accession_number: str
    description: str
    images: int | None


@dataclass(frozen=True)
class StudyImage:
    """Radiograph in the PACS.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        instance: SOP Instance UID.
        date: Date of the study, ISO 8601; empty where the server gives none, as below.
        patient_name: Name of the patient, its parts separated by ^.
        patient_id: Identifier of the patient.
        accession_number: Accession number.
        modality: Modality.
        view: View position.
        earlier: Whether it is of an earlier study.
    """

    study: str
    series: str
    instance: str
    date: str
    patient_name: str
    patient_id: str
    accession_number: str
    modality: str
    view: str
    earlier: bool


@dataclass(frozen=True)
class Wanted:
    """Studies that are searched; those that match all that is not empty.

    Attributes:
        patient_id: Identifier of the patient; * and ? are wildcards, here and below.
        patient_name: Beginning of the name of the patient.
        accession_number: Accession number.
        since: Earliest date of the study, ISO 8601.
        until: Latest date of the study, ISO 8601.
    """

    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    since: str = ""
    until: str = ""


class Studies:
    """Studies of the server that the settings of a node name."""

    def __init__(self, settings: "NodeSettings", image_bytes: int) -> None:
        """Prepares requests; nothing is sent yet.

        Args:
            settings: Settings of the node, with a DICOMweb server.
            image_bytes: Size of the largest image, bytes.

        Raises:
            ConfigError: No such server, or certificates that cannot be read.
        """
        from pneumoscope.pacs.dicomweb import DicomWeb

        if settings.dicomweb is None:
            raise ConfigError("expected a table [dicomweb] in the node's settings, found none: add it")
        self._node = settings
        largest = max(1, min(settings.dicomweb.megabytes, image_bytes // 1_000_000))
        self._web = DicomWeb(replace(settings.dicomweb, megabytes=largest))
        self._threads = ThreadPoolExecutor(_THREADS, "pacs")

    def close(self) -> None:
        """Breaks off what is under way."""
        self._web.close()
        self._threads.shutdown(cancel_futures=True)

    @property
    def writable(self) -> bool:
        """Whether the settings allow to store answers on the server."""
        return bool(self._web.settings.answers) and not self._node.silent

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of answers."""
        return self._node.answers

    @property
    def station(self) -> str:
        """Station name in the answers."""
        return self._node.ae_title

    async def search(self, wanted: Wanted, limit: int) -> tuple[list[Study], bool]:
        """Studies with radiographs, the newest first; and whether there may be more.

        Args:
            wanted: Studies that are searched.
            limit: Largest number of studies.

        Raises:
            ProblemError: The server does not answer as expected, here and below.
        """
        return await self._ask(partial(self._search, wanted, limit))

    async def images(self, study: str) -> list[StudyImage]:
        """Radiographs of a study in the order of acquisition; then the last ones of the patient's earlier studies, the newest first.

        Args:
            study: Study Instance UID.

        Raises:
            ProblemError: The study has no radiographs, too.
        """
        return await self._ask(partial(self._images, study))

    async def retrieve(self, study: str, series: str, instance: str) -> bytes:
        """DICOM file of a radiograph.

        Raises:
            ProblemError: It is no radiograph, too.
        """
        return await self._ask(partial(self._retrieve, study, series, instance))

    async def store(self, answers: Mapping[str, bytes]) -> bool:
        """Stores answers, those that the server has already left out; whether there were others.

        Args:
            answers: Kind to DICOM file.

        Raises:
            ProblemError: The settings do not allow it, or the server did not take all, too. What it took is left out the next time.
        """
        if not self.writable:
            raise ProblemError(Problem.PACS_READ_ONLY)
        return await self._ask(partial(self._store, answers))

    async def _ask(self, call: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, call), _SECONDS)
        except TimeoutError as error:
            detail = f"expected the PACS to answer within {_SECONDS:g} seconds, found nothing: try it again later"
            raise ProblemError(Problem.PACS_FAILED, detail) from error
        except ConfigError as error:  # which names files of this machine
            _log.warning("the PACS cannot be asked: %s", error)
            detail = "expected credentials for the PACS, found none: the log of the service says which file to correct"
            raise ProblemError(Problem.PACS_FAILED, detail) from error
        except (DataError, StorageError) as error:
            _log.warning("the PACS failed: %s", error)
            raise ProblemError(Problem.PACS_FAILED, str(error)) from error

    def _search(self, wanted: Wanted, limit: int) -> tuple[list[Study], bool]:
        filters = _filters(wanted)
        fields = (*_PATIENT, *_STUDY, "NumberOfSeriesRelatedInstances")
        found = list(islice(self._web.radiographs("series", filters, fields, _MOST_SERIES), _MOST_SERIES))
        of_study: dict[str, list[dict[str, str]]] = {}
        for record in found:
            if _is_wanted(record, wanted) and (uid := record.get("StudyInstanceUID")):
                of_study.setdefault(uid, []).append(record)
        studies = [_study(uid, series) for uid, series in of_study.items()]
        studies.sort(key=lambda study: (study.date, study.time), reverse=True)
        return studies[:limit], len(found) == _MOST_SERIES or len(studies) > limit

    def _images(self, study: str) -> list[StudyImage]:
        from pneumoscope.pacs.dicomweb import searchable

        own = self._records({"StudyInstanceUID": study})
        if not own:
            raise ProblemError(Problem.NOT_FOUND, "expected a study with radiographs in the PACS, found none")
        first = min(own, key=_moment)
        listed = [_image(record, False) for record in sorted(own, key=_number)[:_OF_STUDY]]
        patient, day = first.get("PatientID", ""), first.get("StudyDate", "")
        if not patient.strip() or not day:
            return listed
        others = self._records({"PatientID": searchable(patient), "StudyDate": f"-{day}"})
        earlier = [
            record
            for record in others
            if record["StudyInstanceUID"] != study and _moment(record) <= _moment(first) and _is_same(record, first)
        ]
        earlier.sort(key=_moment, reverse=True)
        return listed + [_image(record, True) for record in earlier[:_EARLIER]]

    def _records(self, filters: Mapping[str, str]) -> list[dict[str, str]]:
        fields = (*_PATIENT, *_STUDY, "ViewPosition", "SeriesNumber", "InstanceNumber")
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        found = islice(self._web.radiographs("instances", filters, fields, _MOST_IMAGES), _MOST_IMAGES)
        return [record for record in found if all(record.get(name) for name in uids)]

    def _retrieve(self, study: str, series: str, instance: str) -> bytes:
        from pneumoscope.pacs.dicomweb import Instance, is_radiograph

        content = self._web.retrieve(Instance(study, series, instance))
        if not is_radiograph(content):
            raise ProblemError(Problem.NOT_FOUND, "expected a radiograph in the PACS, found another object")
        return content

    def _store(self, answers: Mapping[str, bytes]) -> bool:
        from pneumoscope.pacs.dicomweb import instance_uid

        new = {kind: content for kind, content in answers.items() if not self._has(instance_uid(content))}
        if not new:
            return False
        results = dict(zip(new, self._web.store(new.values()), strict=True))
        if refused := [f"{kind}: {result.detail}" for kind, result in results.items() if not result.stored]:
            raise ProblemError(
                Problem.PACS_FAILED,
                f"expected the PACS to store {', '.join(new)}, found that it refuses {'; '.join(refused)}: see its log",
            )
        return True

    def _has(self, instance: str) -> bool:
        found = self._web.search("instances", {"SOPInstanceUID": instance}, most=1)
        return any(record.get("SOPInstanceUID") == instance for record in found)


def _filters(wanted: Wanted) -> dict[str, str]:
    from pneumoscope.pacs.dicomweb import searchable

    days = "-".join(day.replace("-", "") for day in (wanted.since, wanted.until))
    # A name as a person types it: its parts in their order, the last one perhaps begun. Orthanc 1.10 finds no letter beyond ASCII by ?.
    name = searchable("*".join(wanted.patient_name.replace("^", " ").replace(",", " ").split())).replace("?", "*")
    filters = {
        "PatientID": wanted.patient_id.strip(),
        "PatientName": f"{name}*" if name else "",
        "AccessionNumber": wanted.accession_number.strip(),
        "StudyDate": days if days != "-" else "",
    }
    return {keyword: searchable(value) for keyword, value in filters.items() if value}


def _is_wanted(record: Mapping[str, str], wanted: Wanted) -> bool:
    """Whether identifiers are those that were typed: a search may put wildcards in their place."""
    pairs = (("PatientID", wanted.patient_id), ("AccessionNumber", wanted.accession_number))
    return all(
        record.get(keyword, "").strip() == typed.strip()
        for keyword, typed in pairs
        if typed.strip() and not _WILDCARDS & set(typed)
    )


def _study(uid: str, series: Iterable[Mapping[str, str]]) -> Study:
    known: dict[str, str] = {}
    for record in series:
        known = {**record, **known}
    numbers = [record.get("NumberOfSeriesRelatedInstances", "") for record in series]
    return Study(
        uid,
        _day(known.get("StudyDate", "")),
        _time(known.get("StudyTime", "")),
        known.get("PatientName", ""),
        known.get("PatientID", "").strip(),
        _day(known.get("PatientBirthDate", "")),
        known.get("AccessionNumber", "").strip(),
        known.get("StudyDescription", "").strip(),
        sum(map(int, numbers)) if all(number.isdecimal() for number in numbers) else None,
    )


def _image(record: Mapping[str, str], earlier: bool) -> StudyImage:
    return StudyImage(
        record["StudyInstanceUID"],
        record["SeriesInstanceUID"],
        record["SOPInstanceUID"],
        _day(record.get("StudyDate", "")),
        record.get("PatientName", ""),
        record.get("PatientID", "").strip(),
        record.get("AccessionNumber", "").strip(),
        record.get("Modality", "").strip(),
        record.get("ViewPosition", "").strip(),
        earlier,
    )


def _is_same(record: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two records are of one patient: one identifier, and no issuer or date of birth that says otherwise."""
    if record.get("PatientID", "").strip() != other.get("PatientID", "").strip():
        return False
    pairs = [(record.get(name), other.get(name)) for name in ("IssuerOfPatientID", "PatientBirthDate")]
    return all(one == two for one, two in pairs if one and two)


def _moment(record: Mapping[str, str]) -> tuple[str, str]:
    return record.get("StudyDate", ""), record.get("StudyTime", "")


def _number(record: Mapping[str, str]) -> tuple[int, int, str]:
    """Place of an image in its study."""
    numbers = [record.get(name, "") for name in ("SeriesNumber", "InstanceNumber")]
    series, image = (int(number) if number.isdecimal() else 0 for number in numbers)
    return series, image, record["SOPInstanceUID"]


def _day(text: str) -> str:
    """Date of DICOM in ISO 8601; empty for anything else."""
    try:
        return datetime.strptime(text.strip(), "%Y%m%d").date().isoformat()
    except ValueError:
        return ""


def _time(text: str) -> str:
    """Time of day of DICOM in ISO 8601, to the minute; empty for anything else."""
    try:
        return datetime.strptime(text.strip()[:4], "%H%M").time().isoformat("minutes")
    except ValueError:
        return ""
