"""Several kernels of one work-item or few as one program: its kernel does their work in turn, with nothing to hand over between them.

Each source keeps its text, with a number behind the names that it defines, so that sources of the same names get along. Its kernel becomes a
function that is told which work-item it is. So a joined kernel computes the very bits that its members compute.
"""
from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

# Work-items of groups of one, as loops count them.
_PLACES = """#define get_global_id(d) ((size_t)((d) == 0 ? joined_at0 : (d) == 1 ? joined_at1 : joined_at2))
#define get_group_id(d) get_global_id(d)
#define get_global_size(d) ((size_t)((d) == 0 ? joined_count0 : (d) == 1 ? joined_count1 : joined_count2))
#define get_num_groups(d) get_global_size(d)
#define get_local_id(d) ((size_t)0)
#define get_local_size(d) ((size_t)1)
"""
_END = "".join(f"#undef {name}\n" for name in re.findall(r"#define (\w+)", _PLACES))
_PLACE = ", ".join(f"const uint joined_{name}{d}" for name in ("at", "count") for d in range(3))
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_LINE = re.compile(r"^[ \t]*#[^\n]*", re.M)
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)")
_KERNEL = re.compile(r"__kernel\s*(?:__attribute__\s*\(\([^)]*\)\)\))?((?:\s*#[^\n]*\n)*\s*)void\s+(\w+)\s*\(")
_READ = {"float": "as_float((int)numbers[{}])", "double": "as_double(numbers[{}])"}


class Argument(NamedTuple):
    """One argument of a member: the type as its source writes it, without qualifiers, and where the joined kernel finds it: its own
    argument of that number, or (``place`` None) the next of ``numbers``."""

    type: str
    memory: bool
    place: int | None


class Member(NamedTuple):
    """One launch of a kernel whose groups are of one work-item."""

    source: str
    entry: str
    arguments: tuple[Argument, ...]


def joinable(source: str) -> bool:
    """Whether a source can be a member: it shares nothing within a group."""
    return re.search(r"__local\b|\bbarrier\s*\(", source) is None


def join(members: Sequence[Member]) -> str:
    """The source of ``__kernel void joined(numbers, memory or number, ...)``.

    ``numbers``: for each member in turn its counts of work-items in three dimensions, then its numbers without a place, as 64-bit integers (a
    float's or double's bits).
    """
    functions = {key: n for n, key in enumerate(dict.fromkeys((m.source, m.entry) for m in members))}
    parts = [_function(source, entry, n) for (source, entry), n in functions.items()]
    slots = itertools.count()
    own: dict[int, str] = {}
    calls = [_call(member, functions[member.source, member.entry], slots, own) for member in members]
    parameters = ", ".join(["__global const long *restrict numbers", *(f"{own[place]}a{place}" for place in sorted(own))])
    return (f"{_PLACES}{''.join(parts)}{_END}#line 1 \"joined\"\n__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\n"
            f"void joined({parameters})\n{{\n{''.join(calls)}}}\n")


def _call(member: Member, number: int, slots: Iterator[int], own: dict[int, str]) -> str:
    """A block that does one member's work; ``own`` gets the types of the joined kernel's arguments that it takes."""
    counts = "".join(f" const uint joined_count{d} = numbers[{next(slots)}];" for d in range(3))
    values = ["joined_at0", "joined_at1", "joined_at2", "joined_count0", "joined_count1", "joined_count2"]
    for argument in member.arguments:
        place = argument.place
        if place is None:
            values.append(_READ.get(argument.type, f"({argument.type})numbers[{{}}]").format(next(slots)))
        else:
            own[place] = "__global char *" if argument.memory else f"const {argument.type} "
            values.append(f"({_rename(argument.type, _names(member.source), number)} *)a{place}" if argument.memory else f"a{place}")
    loops = "".join(f"    for (uint joined_at{d} = 0; joined_at{d} < joined_count{d}; joined_at{d}++)\n" for d in (2, 1, 0))
    return f"  {{{counts}\n{loops}      {member.entry}_{number}({', '.join(values)}); }}\n"


def _function(source: str, entry: str, number: int) -> str:
    """A source whose kernel ``entry`` is a function, and whose other kernels are functions that nobody calls."""
    text = _KERNEL.sub(lambda m: f"static{m[1] or ' '}void {m[2]}({_PLACE}, ", source)
    return _rename(text, _names(source), number)


def _rename(text: str, names: frozenset[str], number: int) -> str:
    return re.sub(r'"[^"\n]*"|\b[A-Za-z_]\w*\b', lambda word: f"{word[0]}_{number}" if word[0] in names else word[0], text)


@lru_cache(maxsize=256)
def _names(source: str) -> frozenset[str]:
    """The functions, types, constants and macros that a source defines."""
    text = _ATTRIBUTE.sub(" ", _LINE.sub("", _COMMENT.sub(" ", source)))
    names, depth, head = set(re.findall(r"^\s*#\s*define\s+(\w+)", source, re.M)), 0, ""
    for piece, mark in re.findall(r"([^{};]*)([{};])", text):
        if depth == 0:
            head += piece
            typed = head.lstrip().startswith("typedef")
            found = re.search(r"(\w+)\s*$", head) if typed and mark == ";" else None if typed else re.search(r"(\w+)\s*[(\[]", head)
            if found and mark in "{;":
                names.add(found[1])
            if mark == ";" or (mark == "{" and not typed):
                head = ""
        depth += (mark == "{") - (mark == "}")
    return frozenset(names)
