"""Intake: whatever way an object comes, it is routed, and kept where it is for the detector, before it is acknowledged."""

import re
import sqlite3
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn

import pydicom
from pydicom.uid import Comprehensive3DSRStorage, GrayscaleSoftcopyPresentationStateStorage

from pneumoscope.data.dicom import read_dicom_header
from pneumoscope.errors import PneumoscopeError, StorageError
from pneumoscope.pacs import DICOMWEB, is_own
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.queue import Arrival, Queue
from pneumoscope.pacs.rules import Action, Rule, route

# What an answer refers to an image by.
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID")
# Classes of the node's answers that are no images: whoever made such an object, there is nothing to analyse.
NO_IMAGES = (Comprehensive3DSRStorage, GrayscaleSoftcopyPresentationStateStorage)
_UID = re.compile(r"[0-9.]{1,64}")


class Refusal(StrEnum):
    """Reason why an object is not taken."""

    BY_RULE = "rule"
    TOO_LARGE = "too_large"
    NOT_UNDERSTOOD = "not_understood"
    NO_ROOM = "no_room"


class RefusedError(PneumoscopeError):
    """An object is not taken.

    Attributes:
        reason: Reason.
    """

    def __init__(self, reason: Refusal, message: str) -> None:
        """Describes the refusal in one line without anything that the object says of the patient."""
        super().__init__(message)
        self.reason = reason


class Intake:
    """Takes objects for the queue. Of use to several threads."""

    def __init__(self, queue: Queue, audit: AuditLog, rules: tuple[Rule, ...], most_bytes: int) -> None:
        """Sets up the intake.

        Args:
            queue: Queue of the images to analyse.
            audit: Log of who sent.
            rules: Routing.
            most_bytes: Largest object, bytes.
        """
        self._queue, self._audit, self._rules, self._most = queue, audit, rules, most_bytes

    def take(self, content: bytes, sender: str, address: str = "") -> Action:
        """Keep an object, where it is to be analysed; on return it is on disk.

        Args:
            content: Bytes of a DICOM file.
            sender: AE title of the sender, `DICOMWEB` or `FOLDER`.
            address: Network address of the sender; empty where there is none.

        Returns:
            `ANALYSE`, or `ACCEPT` for what is not for the detector and of which nothing is kept.

        Raises:
            RefusedError: Refused by a rule, too large, no DICOM object, or no room for it.
        """
        sop_uid = ""
        try:
            if len(content) > self._most:
                raise RefusedError(
                    Refusal.TOO_LARGE, f"expected an object of at most {self._most} bytes, found {len(content)}"
                )
            arrival, action = self._routed(content, sender)
            sop_uid = arrival.sop_uid
            # What is found, rather than sent, is found again at each start.
            if action is not Action.ANALYSE and sender == DICOMWEB:
                self._queue.leave_out(sop_uid)
            if action is Action.REFUSE:
                raise RefusedError(Refusal.BY_RULE, "expected what the node's rules are for, found another object")
            if action is Action.ACCEPT:
                self._log(AuditEvent.IGNORED, sender, address, sop_uid)
                self._queue.count("ignored")
                return action
            self._keep(content, arrival)
            self._log(AuditEvent.RECEIVED, sender, address, sop_uid)
        except RefusedError as error:
            self.refuse(error, sender, address, sop_uid)
        return action

    def refuse(self, error: RefusedError, sender: str, address: str = "", sop_uid: str = "") -> NoReturn:
        """Count a refusal, write it into the audit log, and raise it."""
        self.count_refusal(error.reason, sender, address, sop_uid)
        raise error

    def count_refusal(self, reason: Refusal, sender: str, address: str = "", sop_uid: str = "") -> None:
        """Count a refusal, and write it into the audit log."""
        self._queue.count(f"refused: {reason}")
        self._log(AuditEvent.REFUSED, sender, address, sop_uid, reason)

    def take_from(self, sender: str) -> Callable[[bytes], str]:
        """Function that takes objects of one sender; gives the reason where one is refused, else an empty text.

        It raises StorageError where there is no room for an object, which is then to be tried again.
        """

        def take(content: bytes) -> str:
            try:
                self.take(content, sender)
            except RefusedError as error:
                if error.reason is Refusal.NO_ROOM:
                    raise StorageError(str(error)) from error
                return str(error)
            return ""

        return take

    def _routed(self, content: bytes, sender: str) -> tuple[Arrival, Action]:
        try:
            header, identifiers = read_dicom_header(content, *_UIDS, "AccessionNumber")
            sop_uid, study_uid, *_ = uids = [str(identifiers.get(keyword, "")) for keyword in _UIDS]
        except Exception as error:  # pydicom raises anything on a damaged object
            raise RefusedError(
                Refusal.NOT_UNDERSTOOD, f"expected a DICOM object, found a damaged one ({type(error).__name__})"
            ) from error
        if not all(map(_UID.fullmatch, uids)):
            raise RefusedError(
                Refusal.NOT_UNDERSTOOD, "expected an object with UIDs of instance, study, series and class, found none"
            )
        arrival = Arrival(sop_uid, study_uid, _accession(identifiers), header.patient, header.taken, sender)
        action = Action.ACCEPT if is_own(header.manufacturer) else route(self._rules, header, sender)
        return arrival, Action.ACCEPT if action is Action.ANALYSE and uids[3] in NO_IMAGES else action

    def _keep(self, content: bytes, arrival: Arrival) -> None:
        try:
            self._queue.add(content, arrival, if_unknown=arrival.sender == DICOMWEB)
        except (OSError, sqlite3.Error) as error:
            raise RefusedError(Refusal.NO_ROOM, f"expected room for an object, found: {error}") from error

    def _log(self, event: AuditEvent, sender: str, address: str, sop_uid: str, reason: str = "") -> None:
        self._audit.append(AuditEntry(event, sender, address, sop_uid, reason=reason))


def _accession(identifiers: pydicom.Dataset) -> str:
    value = identifiers.get("AccessionNumber")
    return value.strip()[:64] if isinstance(value, str) else ""
