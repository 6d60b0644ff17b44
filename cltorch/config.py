"""One typed table of the CLTORCH_* environment variables. README's section is generated from it; a test compares."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Variable(NamedTuple):
    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str


def _flag(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


TABLE = {v.name: v for v in (
    Variable("DEVICES", str, "", "which OpenCL devices count, in which order: indices, names, vendors or types, comma separated; -word excludes"),
    Variable("DISABLE", str, "", "extras that are not used even where a device has them, comma separated (list_devices --verbose names them)"),
    Variable("STRATEGY", str, "", "wide or grid: forces the kernel strategy of every device (default: by device type)"),
    Variable("EAGER", _flag, False, "1 launches every operator alone instead of fusing chains"),
    Variable("INLINE", _flag, True, "0 gives little launches to the driver's threads too, where they run in the calling thread otherwise (PoCL from pip)"),
    Variable("COMMAND_BUFFERS", _flag, "", "1 replays graphs through the driver's command buffers on every device that has them, 0 on none (default: on GPUs)"),
    Variable("SYNC", _flag, False, "1 waits after each launch, so that an error names its operator"),
    Variable("DEBUG", int, 0, "1 devices and cache misses, 2 every launch with its time, 3 tunables, 4 kernel sources"),
    Variable("DUMP", str, "", "a folder that receives every rendered kernel and a stand-alone reproducer per launch"),
    Variable("CACHE_DIR", str, "", "where compiled kernels are kept (default: the user's cache folder)"),
    Variable("CACHE_SIZE", int, 256, "megabytes of compiled kernels kept on disk; 0 switches the disk cache off"),
    Variable("BUILDERS", int, "", "how many other processes may compile kernels while the program goes on, 0 for none (default: as many as there are "
                                  "processors, 8 at most; PoCL)"),
    Variable("PROFILE", str, "", "a JSON file of tuned kernel parameters, written by tools/tune.py"),
)}


def get(name: str) -> Any:
    """The value of CLTORCH_<name> now. Raises ValueError that names the variable where its text can't be read."""
    variable = TABLE[name]
    text = os.environ.get(f"CLTORCH_{name}")
    if text is None:
        return variable.default
    try:
        return variable.parse(text)
    except ValueError as error:
        raise ValueError(f"CLTORCH_{name}={text!r} can't be read: {variable.help}") from error


def debug(level: int, text: str) -> None:
    """Print to stderr from CLTORCH_DEBUG=level on."""
    if get("DEBUG") >= level:
        print(f"cltorch: {text}", file=sys.stderr)
