"""A DICOM server for tests that keeps what it is sent."""

import threading

from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts


class Archive:
    """A DICOM server that keeps what it is sent; answers each with `status` of its modality."""

    def __init__(self, contexts=StoragePresentationContexts, tls=None, host="127.0.0.1", **attributes):
        """Starts to listen, by a TLS context where there is one; `attributes` are those of pynetdicom's AE."""
        self.stored, self.status, self.asked = [], {}, threading.Event()
        # SOP Instance UIDs over which it ends the association.
        self.ended_by, self.ended = set(), 0
        self.entity = AE("ARCHIVE")
        self.entity.supported_contexts = contexts
        for name, value in attributes.items():
            setattr(self.entity, name, value)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = self.entity.start_server((host, 0), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = self._server.server_address[1]

    def _store(self, event):
        dataset = event.dataset
        self.asked.set()
        if dataset.SOPInstanceUID in self.ended_by:
            self.ended += 1
            event.assoc.abort()
            return 0xC000
        status = self.status.get(dataset.Modality, 0)
        if not status:
            self.stored.append((dataset.Modality, dataset.SOPInstanceUID, dataset.StudyInstanceUID))
        return status

    def close(self):
        self._server.shutdown()
