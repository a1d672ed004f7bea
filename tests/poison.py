"""Images that crash, hang or exhaust the process that reads them, as images do that a decoder cannot bear."""

import ctypes
import os
import time

from pneumoscope.types import NamedImage


class Poison(NamedImage):
    """An image whose content harms every process but the one that made it."""

    def __init__(self, name, harm):
        vars(self).update(name=name, harm=harm, maker=os.getpid())

    @property
    def content(self):
        if os.getpid() != self.maker:
            _HARMS[self.harm]()
        return b""


def _crash():
    ctypes.string_at(0)  # reads address 0, as a faulty decoder does


def _hang():
    ctypes.CDLL(None).sleep(600)


def _spin():
    while True:
        pass


def _exhaust():
    held = []
    while True:
        held.append(bytearray(100_000_000))


def _end():
    os._exit(3)


_HARMS = {
    "crash": _crash,
    "hang": _hang,
    "spin": _spin,
    "exhaust": _exhaust,
    "end": _end,
    "sleep": lambda: time.sleep(600),
}
