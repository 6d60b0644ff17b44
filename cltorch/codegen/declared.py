"""What templates say about their tunables: names, defaults by strategy, legal values, and the constraints between them.

``CONSTRAINTS = ("TM % RM == 0", "TM // RM * (TN // RN) <= work_group")`` in a template's header are Python expressions that must hold. They
may name the family's tunables, ``wide`` (bool), ``work_group`` (the most work-items of a group) and ``local_bytes`` (local memory) of the
device. A tunable WG is the work-items of a group: 1 in wide, and the device allows as many. Nobody has to write that.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from .templates import kernel_root, module_of, tunables

OF_WORK_GROUPS = ("WG == 1 or not wide", "WG <= work_group")


@cache
def families() -> tuple[str, ...]:
    """The templates that declare tunables, in order."""
    paths = sorted(path for path in kernel_root().rglob("*.mako") if re.search(r"^(<%! )?TUNABLES\b", path.read_text(encoding="utf-8"), re.M))
    return tuple(path.relative_to(kernel_root()).with_suffix("").as_posix() for path in paths)


def is_template(name: str) -> bool:
    return (kernel_root() / f"{name}.mako").is_file()


def defaults(template: str, strategy: str) -> dict[str, Any]:
    """The numbers that a template takes under a strategy where nobody says otherwise."""
    return {name: declared[strategy != "wide"] for name, declared in tunables(template).items()}


@cache
def constraints(template: str) -> tuple[str, ...]:
    """The expressions that a family's tunables must fulfil."""
    own = tuple(getattr(module_of(template), "CONSTRAINTS", ()))
    return own + (OF_WORK_GROUPS if "WG" in tunables(template) else ())


def broken(template: str, strategy: str, values: Mapping[str, Any], limits: Mapping[str, int]) -> str:
    """The first constraint that all of a family's ``values`` together don't fulfil on a device of such limits, or ""."""
    names = {**values, **limits, "wide": strategy == "wide"}
    return next((text for text in constraints(template) if not eval(text, {"__builtins__": {}, "max": max, "min": min}, names)), "")
