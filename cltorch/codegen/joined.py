"""Several kernels as one program: its kernel does their work in turn, with nothing to hand over between them.

Each source keeps its text, with a number behind the names that it defines, so that sources of the same names get along. Its kernel becomes a
function that is told which work-item it is, called in a loop over a table. So a joined kernel computes the very bits that its members compute.

Where all members are little, one work-item does everything. Else as many as the device runs at once share it (``shared``): each takes the next
work-item of the member at hand, counted in global memory, until there is none, and goes on to the next member when all of this one's are done.
A work-item waits only for what another one has begun, so it makes no difference which of them run at the same time, or whether any do. Every second
of them takes from the end: neighbours in one member mostly go on from neighbours in the one before, which are in the same processor's caches then.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from .templates import COMMENT

# Work-items of groups of one, as loops count them.
_PLACES = """#define get_global_id(d) ((size_t)((d) == 0 ? joined_at0 : (d) == 1 ? joined_at1 : joined_at2))
#define get_group_id(d) get_global_id(d)
#define get_global_size(d) ((size_t)((d) == 0 ? joined_count0 : (d) == 1 ? joined_count1 : joined_count2))
#define get_num_groups(d) get_global_size(d)
#define get_local_id(d) ((size_t)0)
#define get_local_size(d) ((size_t)1)
"""
# Where a processor has vectors of 512 bits, clang splits them in two in a function that doesn't ask for them. (Kernels needn't: PoCL compiles them as
# parts of functions of its own.)
_FUNCTION = """#if defined(__has_attribute)
#if __has_attribute(min_vector_width)
#define JOINED_FUNCTION __attribute__((noinline, min_vector_width(512)))
#endif
#endif
#ifndef JOINED_FUNCTION
#define JOINED_FUNCTION __attribute__((noinline))
#endif
"""
_END = "".join(f"#undef {name}\n" for name in re.findall(r"#define (\w+)", _PLACES))
_PLACE = ", ".join(f"const uint joined_{name}{d}" for name in ("at", "count") for d in range(3))
_LINE = re.compile(r"^[ \t]*#[^\n]*", re.M)
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)")
_KERNEL = re.compile(r"__kernel\s*(?:__attribute__\s*\(\([^)]*\)\)\))?((?:\s*#[^\n]*\n)*\s*)void\s+(\w+)\s*\(")
_READ = {"float": "as_float((int)at[{}])", "double": "as_double(at[{}])"}
_COUNTS = "".join(f" const uint joined_count{d} = at[{d + 2}];" for d in range(3)) + " const uint joined_total = joined_count0 * joined_count1 * joined_count2;"
HEAD = 5  # of a member's part of the table: its length, its function, three counts of work-items
MARKS = 32  # 32-bit counters of a member, in two lines of the cache: of work-items begun, those from the front, those from the end; of those done
_ALONE = """
    for (uint joined_item = 0; joined_item < joined_total; joined_item++) {
"""
_ARRIVE = f"  const uint from_end = atomic_inc(marks + {MARKS // 2}) & 1;\n"
_SHARED = f"""
    volatile __global uint *const begun = marks + {MARKS} * (member + 1), *const done = begun + {MARKS // 2};
    while (atomic_inc(begun) < joined_total) {{
      const uint joined_item = from_end ? joined_total - 1 - atomic_inc(begun + 2) : atomic_inc(begun + 1);
"""
# What other work-items wrote can be read behind an atomic addition: PoCL's and Intel's are full barriers on the processors that they run on.
# Between two of them is a pause, so that those who wait don't keep the counter from those who work.
_DONE = """      atomic_inc(done);
    }
    while (atomic_add(done, 0) < joined_total)
      for (volatile int pause = 0; pause < 16; pause++) ;
"""
# The last one to leave clears the counters for the next launch.
_LEAVE = f"""  if (atomic_inc(marks) + 1 == get_num_groups(0))
    for (long line = 0; line < {MARKS} * (table[0] + 1); line += {MARKS // 2})
      for (int mark = 0; mark < 3; mark++) atomic_xchg(marks + line + mark, 0);
"""


class Argument(NamedTuple):
    """One argument of a member: the type as its source writes it, without qualifiers, and which of the joined kernel's arguments it is (counted
    from 0); ``place`` None: a number in the table."""

    type: str
    memory: bool
    place: int | None


class Member(NamedTuple):
    """One launch of a kernel whose groups are of one work-item: ``size`` of them in three dimensions, below 2**32 in all. Members of one source and
    entry have their numbers at the same places of the table, or none of them has."""

    source: str
    entry: str
    size: tuple[int, ...]
    arguments: tuple[Argument, ...]


def joinable(source: str) -> bool:
    """Whether a source can be a member: it shares nothing within a group."""
    return re.search(r"__local\b|\bbarrier\s*\(", source) is None


def join(members: Sequence[Member], shared: bool = False) -> tuple[str, list[int | tuple[int, int]]]:
    """The source of ``__kernel void joined(memory or number, ..., table)``, and its table of 64-bit integers.

    The table says how many members there are, and for each in turn: how long its part is, which function, its three counts of work-items, its
    arguments: the number of a memory object among the joined kernel's, of a number among those of its type, or the bits of a number, (member, argument)
    here. So each function is compiled once, however many members call it, and for all sizes. ``shared``: by several work-items; behind the
    table comes memory for MARKS counters a member and as many, all zero.
    """
    functions = {key: n for n, key in enumerate(dict.fromkeys((m.source, m.entry) for m in members))}
    kinds = {a.place: "" if a.memory else a.type for m in members for a in m.arguments if a.place is not None}
    lists = {kind: [place for place in sorted(kinds) if kinds[place] == kind] for kind in dict.fromkeys(kinds.values())}
    table: list[int | tuple[int, int]] = [len(members)]
    for k, m in enumerate(members):
        table += [HEAD + len(m.arguments), functions[m.source, m.entry], *(*m.size, 1, 1)[:3]]
        table += [(k, n) if a.place is None else lists[kinds[a.place]].index(a.place) for n, a in enumerate(m.arguments)]
    first = {(m.source, m.entry): m for m in reversed(members)}
    cases = [_case(first[key], n) for key, n in functions.items()]
    given = "".join(f"{f'const {kinds[place]} ' if kinds[place] else '__global char *'}a{place}, " for place in sorted(kinds))
    held = "".join(f"  {kind or '__global char *'} {_held(kind)}[] = {{{', '.join(f'a{place}' for place in places)}}};\n" for kind, places in lists.items())
    marks = ", volatile __global uint *marks" if shared else ""
    return (f"{_FUNCTION}{_PLACES}{''.join(_function(*key, n) for key, n in functions.items())}{_END}#line 1 \"joined\"\n"
            f"__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\nvoid joined({given}__global const long *restrict table{marks})\n{{\n{held}"
            f"{_ARRIVE if shared else ''}  __global const long *at = table + 1;\n"
            f"  for (long member = 0; member < table[0]; member++, at += at[0]) {{\n   {_COUNTS}"
            f"{_SHARED if shared else _ALONE}"
            "      const uint joined_at0 = joined_item % joined_count0, joined_row = joined_item / joined_count0;\n"
            "      const uint joined_at1 = joined_row % joined_count1, joined_at2 = joined_row / joined_count1;\n"
            f"      switch ((int)at[1]) {{\n{''.join(cases)}      }}\n{_DONE if shared else '    }'}\n  }}\n{_LEAVE if shared else ''}}}\n"), table


def _case(member: Member, number: int) -> str:
    """The call of one function."""
    values = [f"joined_{name}{d}" for name in ("at", "count") for d in range(3)]
    for k, argument in enumerate(member.arguments, HEAD):
        if argument.memory:
            values.append(f"({_rename(argument.type, _names(member.source), number)} *)memory[at[{k}]]")
        elif argument.place is not None:
            values.append(f"{_held(argument.type)}[at[{k}]]")
        else:
            values.append(_READ.get(argument.type, f"({argument.type})at[{{}}]").format(k))
    return f"        case {number}: {member.entry}_{number}({', '.join(values)}); break;\n"


def _held(kind: str) -> str:
    return f"{kind}s".replace(" ", "_") if kind else "memory"


def _function(source: str, entry: str, number: int) -> str:
    """A source whose kernel ``entry`` is a function, and whose other kernels are functions that nobody calls."""
    text = _KERNEL.sub(lambda m: f"static JOINED_FUNCTION{m[1] or ' '}void {m[2]}({_PLACE}, ", source)
    return _rename(text, _names(source), number)


def _rename(text: str, names: frozenset[str], number: int) -> str:
    return re.sub(r'"[^"\n]*"|\b[A-Za-z_]\w*\b', lambda word: f"{word[0]}_{number}" if word[0] in names else word[0], text)


@lru_cache(maxsize=256)
def _names(source: str) -> frozenset[str]:
    """The functions, types, constants and macros that a source defines."""
    text = _ATTRIBUTE.sub(" ", _LINE.sub("", COMMENT.sub(" ", source)))
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
