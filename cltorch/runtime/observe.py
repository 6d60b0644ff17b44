"""Looking at launches: CLTORCH_SYNC, CLTORCH_DEBUG and CLTORCH_DUMP. A device without observers pays nothing for this."""
from __future__ import annotations

import itertools
import re
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from .. import config
from .facts import clean

if TYPE_CHECKING:
    from .launch import Kernel

DUMP_CONTENTS = 1 << 26  # a reproducer carries the memory's contents up to this many bytes
_number = itertools.count()


def memory_of(args: tuple) -> list[Any]:
    """The different buffers among a launch's arguments."""
    return list({arg.int_ptr: arg for arg in args if isinstance(arg, cl.Buffer)}.values())


class Observer:
    """Sees each launch of the devices that it watches (``device.watch``)."""

    def before(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Called with the arguments bound for a launch that hasn't been enqueued yet."""

    def after(self, kernel: Kernel, event: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Called with the launch's event."""


class Waiter(Observer):
    """CLTORCH_SYNC=1: an error shows at the launch that caused it."""

    def after(self, kernel: Kernel, event: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        event.wait()


class Printer(Observer):
    """CLTORCH_DEBUG=2: one line a launch. GB/s counts each whole buffer once: what the kernel moves at most."""

    def before(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.start = time.perf_counter()

    def after(self, kernel: Kernel, event: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        event.wait()
        seconds = max(duration(event), 1e-9) or time.perf_counter() - self.start
        nbytes = sum(mem.size for mem in memory_of(args))
        print(f"cltorch: {kernel.device.spec} {kernel.program.label}:{kernel.name} {global_size}/{local_size} "
              f"{seconds * 1e6:.1f} us {nbytes / seconds / 1e9:.2f} GB/s", file=sys.stderr)


def duration(event: Any) -> float:
    """Seconds that a finished command ran; 0 where its queue doesn't profile."""
    try:
        return (event.profile.end - event.profile.start) * 1e-9
    except cl.Error:
        return 0.0


class Dumper(Observer):
    """CLTORCH_DUMP=folder: a script for each launch that repeats it with pyopencl and NumPy alone (where the driver knows the processor)."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)

    def before(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        stem = f"{next(_number):06d}_{file_name(kernel.program.label)}_{kernel.name}"
        source = dump_source(kernel.program.label, kernel.program.source)
        contents = sum(mem.size for mem in memory_of(args)) <= DUMP_CONTENTS
        arrays: dict[str, np.ndarray] = {}
        lines = [self._argument(kernel, arrays, i, arg, contents) for i, arg in enumerate(args)]
        if arrays:
            np.savez(self.folder / f"{stem}.npz", **arrays)  # type: ignore[arg-type]
        needed, first = ("pyopencl and numpy", "") if kernel.device.version == clean(kernel.device.cl_device.version) else ("cltorch", NAMED)
        text = SCRIPT.format(label=kernel.program.label, device=kernel.device.name, needed=needed, first=first, source=source.name,
                             options=list(kernel.program.options),
                             entry=kernel.name, data=f"{stem}.npz" if arrays else "", global_size=global_size, local_size=local_size,
                             types=[a.scalar and a.scalar.__name__ for a in kernel.arguments], arguments="\n".join(lines))
        (self.folder / f"{stem}.py").write_text(text)

    def _argument(self, kernel: Kernel, arrays: dict, i: int, arg: Any, contents: bool) -> str:
        name = kernel.arguments[i].name
        if isinstance(arg, cl.LocalMemory):
            return f"    cl.LocalMemory({arg.size}),  # {name}"
        if not isinstance(arg, cl.Buffer):
            return f"    {arg!r},  # {name}"
        if not contents:
            return f"    memory(np.zeros({arg.size}, np.uint8)),  # {name}"
        arrays[f"a{i}"] = kernel.device.read(arg, arg.size)
        return f"    memory(data['a{i}']),  # {name}"


def file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label)[:60]


def dump_source(label: str, source: str) -> Path:
    """Write a rendered source into CLTORCH_DUMP's folder; the number tells versions of one name apart."""
    folder = Path(config.get("DUMP")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(label)}_{zlib.crc32(source.encode()):08x}.cl"
    if not path.exists():
        path.write_text(source)
    return path


def chosen_observers() -> tuple[Observer, ...]:
    """What the environment asks for."""
    observers: list[Observer] = []
    if config.get("DUMP"):
        observers.append(Dumper(config.get("DUMP")))
    if config.get("DEBUG") >= 2:
        observers.append(Printer())
    if config.get("SYNC"):
        observers.append(Waiter())
    return tuple(observers)


NAMED = """
from cltorch.runtime import platforms

platforms.survey()  # the driver's compiler gets a name for a processor that it doesn't know
"""
SCRIPT = '''"""One launch of {label}, recorded on {device}. Needs {needed}. usage: python THIS [PLATFORM:DEVICE]"""
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pyopencl as cl
{first}
here = Path(__file__).resolve().parent
chosen = [int(n) for n in sys.argv[1].split(":")] if len(sys.argv) > 1 else [0, 0]
device = cl.get_platforms()[chosen[0]].get_devices()[chosen[1]]
context = cl.Context([device])
queue = cl.CommandQueue(context)
program = cl.Program(context, (here / "{source}").read_text()).build({options})
kernel = cl.Kernel(program, "{entry}")
types = {types}
kernel.set_scalar_arg_dtypes([name and getattr(np, name) for name in types])
data = np.load(here / "{data}") if "{data}" else {{}}


def memory(array):
    return cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=array)


args = [
{arguments}
]
start = time.perf_counter()
kernel(queue, {global_size}, {local_size}, *args)
queue.finish()
print(f"{entry} ran in {{(time.perf_counter() - start) * 1e6:.0f}} us on {{device.name}}, code generation included")
for i, arg in enumerate(args):
    if isinstance(arg, cl.Buffer):
        out = np.empty(min(arg.size, 16) // 4, np.float32)
        cl.enqueue_copy(queue, out, arg)
        print(f"argument {{i}}: {{arg.size}} bytes, the first as float32 {{out.tolist()}}")
'''
