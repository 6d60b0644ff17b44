"""Building kernels: once in memory, once on disk, with errors that a person can use.

Cold, PoCL needs about 15 ms for a small program, where its header would take 75 more, and 40 ms for a kernel's machine code; from a
binary about 1 ms (measured). The disk cache holds such binaries; whatever is wrong with a file there means "build again".
"""
from __future__ import annotations

import hashlib
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from .. import config
from ..config import debug
from ..errors import BuildError
from ..store import STORE
from . import builtins, faults, inline
from .builders import NO_CACHE, Job, most, place
from .launch import BUILD_LOCK, Kernel
from .observe import dump_source

if TYPE_CHECKING:
    from .device import Device

OPTIONS = ("-cl-std=CL1.2",)
FORMAT = "2"                    # part of the key: a change of what is stored makes new files


class Built:
    """What the driver made of one source in one context; the "cpu" and "cuda" devices of one processor share it.

    ``programs``: by OpenCL device, as far as they were needed. ``binary``: what more are made from. ``generated``: it holds the kernels' machine
    code, too, which some drivers generate at a first launch. ``job``: its compilation, while that is still to be done.
    """

    __slots__ = ("binary", "generated", "job", "key", "programs")

    def __init__(self, key: str, binary: bytes | None) -> None:
        self.key = key
        self.hold(binary)
        self.job: Job | None = None
        self.programs: dict[Any, Any] = {}

    def hold(self, binary: bytes | None) -> None:
        self.binary, self.generated = binary, binary is not None

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to compile."""
        return self.job is None or self.job.done.is_set()

    def finish(self) -> None:
        """Compile, or wait for whoever does. What fails is compiled again by who needs it, for the error."""
        if self.job is not None:
            self.job.finish()
            self.job = None


class Program:
    """A built source on one device. ``program.kernel(entry)`` gives its kernels."""

    __slots__ = ("_kernels", "built", "device", "label", "options", "source")

    def __init__(self, device: Device, source: str, label: str, options: tuple[str, ...], built: Built) -> None:
        self.device, self.source, self.label, self.options, self.built = device, source, label, options, built
        self._kernels: dict[str, Kernel] = {}

    @property
    def cl_program(self) -> Any:
        """For the device's own queues."""
        return self._on(self.device.cl_device)

    @property
    def inline_program(self) -> Any:
        """For the calling thread (inline.py)."""
        return self._on(self.device.inline_device)

    def _on(self, target: Any) -> Any:
        programs = self.built.programs
        if target not in programs:
            with BUILD_LOCK:
                self.built.finish()
                if target not in programs:
                    programs[target] = self._from_binary(target) or self._anew(target)
        return programs[target]

    def _from_binary(self, target: Any) -> Any:
        """None where the driver refuses it."""
        device, binary = self.device, self.built.binary
        if binary is not None and target == device.inline_device:
            binary = inline.relabelled(binary, device.cl_device, target)
        if binary is None:
            return None
        try:
            return quietly(cl.Program(device.context, [target], [binary]), target, [])
        except cl.Error as error:
            debug(1, f"the binary of {self.label} can't be used and is built again: {error}")
            return None

    def _anew(self, target: Any) -> Any:
        """Compiled, and the binary that was refused replaced."""
        device, built = self.device, self.built
        what = device, _mended(device, self.source), self.label, self.options
        if device.cl_device not in built.programs:
            _compile_into(built, *what)
        return built.programs.get(target) or self._from_binary(target) or _compile(*what, target)

    def kernel(self, entry: str) -> Kernel:
        """The kernel of that name, made once. Raises BuildError where the source has none."""
        found = self._kernels.get(entry)
        if found is None:
            with BUILD_LOCK:
                found = self._kernels.get(entry) or Kernel(self, entry)
                self._kernels[entry] = found
        return found


def build(device: Device, source: str, name: str = "", options: tuple[str, ...] = (), later: bool = False) -> Program:
    """The program of ``source`` on ``device``: from memory, from the disk cache, or compiled. Raises BuildError.

    ``later``: it may still have to be compiled, by others meanwhile (builders.py), and whoever needs it first waits and gets the BuildError.
    """
    options = OPTIONS + tuple(options)
    found = device.programs.get((source, options))
    if found is None:
        with BUILD_LOCK:
            found = device.programs.get((source, options))
            if found is None:
                found = device.programs[source, options] = _program(device, source, name or "unnamed", options, later)
    if not later and not (found.built.binary or found.built.programs):
        _ = found.cl_program
    return found


def _program(device: Device, source: str, name: str, options: tuple[str, ...], later: bool) -> Program:
    if config.get("DUMP"):
        dump_source(name, source)
    debug(4, f"source of {name}:\n{source}")
    return Program(device, source, name, options, _built(device, _mended(device, source), name, options, later))


def _mended(device: Device, source: str) -> str:
    """What the device's compiler gets instead of the source."""
    if "char_constants" in device.disabled:
        source = hide_constants(source)
    if "loop_vectors" in device.disabled and "WHOLE_VECTORS" in source:
        source = f"#define WHOLE_VECTORS 64\n#line 1\n{source}"
    return state_groups(source) if "group_loop" in device.disabled else source


def _built(device: Device, source: str, name: str, options: tuple[str, ...], later: bool) -> Built:
    sibling = _SHARED.get((device.context.int_ptr, source, options))
    if sibling is None:
        key = cache_key(device, source, options)
        sibling = Built(key, STORE.load(key))
        if sibling.binary is None:
            if later and "one_compiler" in device.disabled and most():
                _put_off(sibling, device, source, name, options)
            else:
                _compile_into(sibling, device, source, name, options)
        _SHARED[device.context.int_ptr, source, options] = sibling
    return sibling


def _put_off(built: Built, device: Device, source: str, name: str, options: tuple[str, ...]) -> None:
    """Leave the compilation to whoever is first: a helper, or this process when it needs a program."""
    def here() -> None:
        try:
            _compile_into(built, device, source, name, options)
        except BuildError as error:
            debug(1, f"{name} can't be built, as who needs it will be told: {error}")

    def keep(binary: bytes) -> None:
        debug(1, f"another process compiled {name} for {device.spec}")
        built.hold(binary)
        STORE.save(built.key, binary)

    text, options_of_text = _shortened(device, source, options) if "header" in device.disabled else (source, options)
    built.job = Job(place(device), text, options_of_text, here, keep)


def _compile_into(built: Built, device: Device, source: str, name: str, options: tuple[str, ...]) -> None:
    """Compile for the device, and keep the binary. A driver that generates code at launches (PoCL) generates it when it is asked for the binary."""
    made = built.programs[device.cl_device] = _compile(device, source, name, options, device.cl_device)
    if STORE.limit or device.inline_device is not None:
        try:
            binary = next(filter(None, made.get_info(cl.program_info.BINARIES)))
        except cl.Error as error:
            debug(1, f"{device.spec} has no binary of {name}: {error}")
            return
        built.hold(binary)
        STORE.save(built.key, binary)


_SHARED: dict[tuple, Built] = {}


def cache_key(device: Device, source: str, options: tuple[str, ...]) -> str:
    """What a binary depends on: the text, the options, the device, its driver, the format of the file."""
    parts = (FORMAT, source, *options, device.platform_name, device.name, device.version, device.driver_version, sys.byteorder)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _compile(device: Device, source: str, name: str, options: tuple[str, ...], target: Any) -> Any:
    debug(1, f"compiling {name} for {device.spec}")
    if "header" in device.disabled:
        try:
            text, more = _shortened(device, source, options)
            return quietly(cl.Program(device.context, text), target, list(more))
        except cl.Error as error:  # a mistake in the source, which the whole way names, or a function that builtins.py lacks
            short = error
    try:
        made = quietly(cl.Program(device.context, source), target, list(options))
    except cl.Error as error:
        if faults.means_lost(error):
            raise device.failure(f"build {name}", error) from error
        raise BuildError(describe_failure(device, source, name, options, str(error))) from None
    if "header" in device.disabled:
        device.disabled -= {"header"}
        debug(1, f"{device.spec} gets whole headers from now on, because {name} needs one: {short}")
    return made


def hide_constants(source: str) -> str:
    """A program with 8-bit integers in which no literal may stand alone as a choice of ?: or as a char: a zero is added that only the run knows."""
    if not re.search(r"\bchar\b", source):
        return source
    return re.sub(r"([?:]\s*|\(char\)\s*)(\d+|\(?-\d+\)?)(?=\s*[:;),])", r"\1(\2 + ((int)get_work_dim() & 128))", source)


_GROUPS = re.compile(r"reqd_work_group_size\((\d+), (\d+), (\d+)\)\)\)(?:\s*#[^\n]*\n)*\s*void\s+\w+\s*\([^{]*\{(?:\s*#[^\n]*\n)*")


def state_groups(source: str) -> str:
    """Each kernel that declares its work-group's size says in its body, too, that there is no other."""
    def stated(match: re.Match) -> str:
        differs = " || ".join(f"get_local_size({d}) != {match[d + 1]}" for d in range(3))
        return f"{match[0]}if ({differs}) __builtin_unreachable(); "
    return _GROUPS.sub(stated, source)


def _shortened(device: Device, source: str, options: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """With the declarations of what it calls only. The macro says that clang's header has been read."""
    return f"{builtins.declarations(source, device.has_fp64)}\n#line 1\n{source}", (*options, builtins.HEADER_READ)


def quietly(program: Any, target: Any, options: list[str]) -> Any:
    """Build for an OpenCL device; a compiler that praises its own work (Intel's does) is no reason to warn the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        return program.build(options, devices=[target], cache_dir=NO_CACHE)


def describe_failure(device: Device, source: str, name: str, options: tuple[str, ...], text: str) -> str:
    """The compiler's words, the lines of the template that they mean, and how to look closer."""
    complaint = text[text.index("Build on"):] if "Build on" in text else text
    complaint = re.sub(r"^Build on .*>:\s*|\(options: .*\)\s*$", "", complaint, flags=re.MULTILINE).strip()
    lines = [f"{device.spec} ({device.name}, driver {device.driver_version}) could not build {name} with {' '.join(options)}:", complaint]
    lines += [f"    {place}: {content}" for place, content in _quoted_lines(source, text)]
    lines.append(f"To look closer: CLTORCH_DUMP=folder keeps the source of {name}, CLTORCH_DEBUG=4 prints it")
    return "\n".join(lines)


def _quoted_lines(source: str, text: str) -> list[tuple[str, str]]:
    """The source lines that the compiler's ``file:line:`` marks mean, through the #line directives."""
    numbered, file, number = {}, "", 0
    for line in source.split("\n"):
        number += 1
        directive = re.match(r'\s*#\s*line\s+(\d+)(?:\s+"([^"]*)")?', line)
        if directive:
            number, file = int(directive[1]) - 1, os.path.basename(directive[2] or file)
        else:
            numbered[file, number] = line.strip()
    marks = dict.fromkeys((os.path.basename(place), int(n)) for place, n in re.findall(r'([^\s:"<>]+):(\d+):', text))
    return [(f"{place}:{n}", numbered[place, n]) for place, n in marks if (place, n) in numbered][:5]
