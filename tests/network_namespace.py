"""Runs a command in a network namespace of its own, which holds nothing but loopback, as tests that open ports on every interface do.

`python network_namespace.py COMMAND ...` brings loopback up inside the namespace that `isolated` makes, then becomes the command.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


@lru_cache
def can_isolate() -> bool:
    """Whether this machine lets an ordinary process make a network namespace."""
    return (
        bool(shutil.which("unshare")) and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
    )


def isolated(command: Sequence[object]) -> list[str]:
    """The command, wrapped so that it runs in a network namespace of its own."""
    return ["unshare", "-rn", sys.executable, __file__, *map(str, command)]


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    os.execvp(sys.argv[1], sys.argv[1:])
