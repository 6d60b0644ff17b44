"""Why a machine shows no OpenCL device: what is installed, what of it can't be loaded, which permission is missing.

Each finding is one sentence that ends with what to do. ``root`` is "/" except in tests.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..config import debug
from . import platforms

SECONDS = 60  # to load one driver's library
LOAD = "import ctypes, sys\ntry: ctypes.CDLL(sys.argv[1])\nexcept OSError as error: sys.exit(str(error))"
GPU_NODES = {"dev/dri/renderD*": "a GPU (/dev/dri)", "dev/kfd": "an AMD GPU (/dev/kfd)"}
VENDORS = Path("etc/OpenCL/vendors")


def findings(root: Path = Path("/")) -> list[str]:
    """What is wrong, most telling first; empty where nothing is known."""
    said = [f"{driver} failed while its devices were listed: {error}" for driver, error in platforms.FAILURES.items()]
    if sys.platform.startswith("linux"):
        said += _registered(root) + _nvidia_container(root) + _forbidden(root)
    return said


def _registered(root: Path) -> list[str]:
    """About the .icd files that the loader reads."""
    chosen = os.environ.get("OCL_ICD_VENDORS", "")
    place = Path(chosen) if chosen else root / VENDORS
    if chosen and not place.exists():
        return [f"OCL_ICD_VENDORS={chosen} doesn't exist, and hides every driver: unset it, or name a folder of .icd files"]
    files = [place] if place.is_file() else sorted(place.glob("*.icd")) if place.is_dir() else []
    if not files:
        return [f"no OpenCL driver is registered: {place} holds no .icd file. {platforms.INSTALL_HINT}"]
    return [text for file in files for text in _about(file)]


def _about(file: Path) -> list[str]:
    try:
        library = file.read_text(errors="replace").strip()
    except OSError as error:
        return [f"{file} can't be read ({error.strerror}): make it readable for everybody (chmod a+r {file})"]
    if not library:
        return [f"{file} is empty: it has to name the driver's library; install that driver again"]
    wrong = load_error(library)
    return [f"{file} names {library}, which can't be loaded: {wrong}. Install the driver's package again, or remove the file"] if wrong else []


def load_error(library: str) -> str:
    """What the system says against loading a library; empty where it loads. Tried in a child process: a broken driver may crash."""
    try:
        done = subprocess.run([sys.executable, "-c", LOAD, library], capture_output=True, text=True, timeout=SECONDS, check=False,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"it does not load within {SECONDS} seconds"
    if done.returncode < 0:
        return f"the process that loads it dies of signal {-done.returncode}"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it fails without a word"])[-1]


def _nvidia_container(root: Path) -> list[str]:
    """NVIDIA's device nodes come into a container by themselves, its OpenCL library and .icd file only on demand."""
    if not list((root / "dev").glob("nvidia[0-9]*")) or not load_error("libnvidia-opencl.so.1"):
        return _unregistered_nvidia(root)
    where = ("this is a container: start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility (docker run --gpus all -e ...)"
             if in_container(root) else "install the driver's OpenCL package (Debian, Ubuntu: nvidia-opencl-icd or libnvidia-compute-*)")
    return [f"an NVIDIA GPU is here (/dev/nvidia*), but its OpenCL library libnvidia-opencl.so.1 is missing: {where}"]


def _unregistered_nvidia(root: Path) -> list[str]:
    nodes, files = list((root / "dev").glob("nvidia[0-9]*")), (root / VENDORS).glob("*.icd")
    if not nodes or os.environ.get("OCL_ICD_VENDORS") or any("nvidia" in file.read_text(errors="replace") for file in files if os.access(file, os.R_OK)):
        return []
    return [f"NVIDIA's OpenCL library is here but not registered: mkdir -p /{VENDORS} && echo libnvidia-opencl.so.1 > /{VENDORS}/nvidia.icd"]


def in_container(root: Path = Path("/")) -> bool:
    """Whether this looks like a container."""
    return (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()


def _forbidden(root: Path) -> list[str]:
    """About device nodes that the user may not open."""
    said = []
    for pattern, what in GPU_NODES.items():
        closed = [node for node in sorted(root.glob(pattern)) if not os.access(node, os.R_OK | os.W_OK)]
        if closed:
            groups = sorted({group_of(node) for node in closed})
            said.append(f"{what} is here, but {closed[0]} may not be opened: add yourself to its group (sudo usermod -aG {','.join(groups)} $USER) "
                        "and log in again; in a container, pass --device and --group-add")
    return said


def group_of(node: Path) -> str:
    """The group that owns a file, by number where it has no name."""
    try:
        return node.group()
    except KeyError as error:
        debug(1, f"the group of {node} has no name: {error}")
        return str(node.stat().st_gid)
