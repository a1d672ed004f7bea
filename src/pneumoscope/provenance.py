"""Provenance of a result: command, versions, commit, machine, date."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "pneumoscope",
    "torch",
    "lightning-fabric",
    "numpy",
    "pillow",
    "simplejpeg",
    "scikit-learn",
    "h5py",
)


def provenance(program: str = "pneumoscope") -> dict[str, Any]:
    """Plain data for JSON: command, commit, machine, versions, date (UTC).

    Args:
        program: Name of the program; a script by its path in the repository.
    """
    return {
        "command": " ".join([program, *_arguments()]),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _arguments() -> list[str]:
    """Arguments of the command; paths outside the working directory are shortened to their last part."""
    return list(map(_shortened, sys.argv[1:]))


def _shortened(argument: str) -> str:
    name, equals, value = argument.rpartition("=")
    return f"{name}{equals}{Path(value).name}" if value.startswith(("/", "../")) else argument


def commit() -> str:
    """Commit of the source tree, with `+` where files other than results are modified; `unknown` outside a repository."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        # Files that a command writes to results/, such as the ledger, do not change its results.
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)results")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return revision + ("+" if changed else "")


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603, S607
    return done.stdout.strip()


def machine() -> str:
    """Description of processor, threads, memory, GPU and operating system."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            name = next((line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), name)
        with open("/proc/meminfo", encoding="utf-8") as stream:
            memory = f", {int(stream.readline().split()[1]) / 1e6:.0f} GB"
    except (OSError, ValueError, IndexError):
        memory = ""
    threads, gpu = _torch_threads_and_gpu()
    return f"{name}, {threads} threads{memory}{gpu}, {platform.system()} {platform.machine()}"


def _torch_threads_and_gpu() -> tuple[int, str]:
    """Number of threads and name of the GPU that PyTorch uses; cores of this process where PyTorch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return len(os.sched_getaffinity(0)), ""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return torch.get_num_threads(), gpu


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
