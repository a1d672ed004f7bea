"""Keeps freed memory: on a CPU this decides the speed of training more than anything else.

A training step allocates and frees buffers of 100 MB. The C library gives each back to the kernel at once and faults
its pages in again at the next step, which costs more than the arithmetic. Told to keep them, the same step runs about
twice as fast (`results/speed/`).
"""

import ctypes
import sys

# From malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tells the C library to serve large blocks from the heap and never to shrink it.

    Must be called before the first large allocation to have its full effect.

    Returns:
        Whether the library knows these settings; False elsewhere than on Linux with the GNU C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)
