"""Intel's OpenCL for CPUs as pip installs it (the ``intel`` extra) doesn't announce itself: its .icd file names a folder of the
machine it was built on, and its libraries aren't on the loader's path. This makes the loader find it, on Linux, without
administrator rights: the libraries are loaded first, and the loader is shown a folder with a right .icd file beside the system's.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..config import debug

NEEDED = {  # in the order of loading, and the package that brings it
    "libintlc.so.5": "intel-cmplr-lib-rt", "libirng.so": "intel-cmplr-lib-rt", "libimf.so": "intel-cmplr-lib-rt",
    "libsvml.so": "intel-cmplr-lib-rt", "libtbb.so.12": "tbb", "libtbbmalloc.so.2": "tbb",
}
SYSTEM = Path("/etc/OpenCL/vendors")


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Within the block the loader's first look for platforms finds Intel's as well, where pip installed it."""
    library = Path(sys.prefix) / "lib" / "libintelocl.so"
    if not sys.platform.startswith("linux") or "OCL_ICD_VENDORS" in os.environ or not library.exists() or not _preload(library.parent):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="cltorch-icd-") as folder:
        Path(folder, "intel-cpu.icd").write_text(f"{library}\n")
        for entry in SYSTEM.glob("*.icd") if SYSTEM.is_dir() else ():
            if "intelocl" not in entry.read_text(errors="replace"):
                shutil.copy(entry, folder)
        os.environ["OCL_ICD_VENDORS"] = folder
        try:
            yield
        finally:
            del os.environ["OCL_ICD_VENDORS"]


def _preload(folder: Path) -> bool:
    """Load what Intel's library links to by name only. False where a part of it is missing."""
    try:
        for name in NEEDED:
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        debug(1, f'intel-opencl-rt is installed but cannot be used: {error}. pip install "cltorch[intel]"')
        return False
    return True
