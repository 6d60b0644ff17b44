"""Every OpenCL platform and device of this machine: what it is, what it can do, which "cuda:N" it gets; without any, why.

Exit status 0; 1 where no device counts or a check fails.
"""
from __future__ import annotations

import argparse
import json
import platform
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cltorch
from cltorch.dtype import ALL
from cltorch.errors import UnsupportedDtypeError
from cltorch.runtime import device as runtime
from cltorch.runtime import diagnose, platforms, probes, quirks, tuning
from cltorch.runtime.allocator import human_bytes
from cltorch.tools import self_test

NOTHING = """No OpenCL device was found on this machine ({system}).
{findings}
On the CPU, without administrator rights:   pip install "cltorch[pocl]"   (or: pip install pocl-binary-distribution)
On a GPU, its driver brings OpenCL:          NVIDIA: the driver.  AMD: amdgpu's or ROCm's OpenCL, or Mesa's rusticl.
                                             Intel: intel-opencl-icd.  macOS: nothing to install.
A driver that is installed but not found: on Linux its .icd file belongs into /etc/OpenCL/vendors, or OCL_ICD_VENDORS names its folder.
"cpu" tensors can be made, moved and saved without OpenCL, but nothing can be computed."""
WIDTH = 130
LIMITS = {"max_parameter_size": "kernel arguments (bytes)", "mem_base_addr_align": "buffer alignment (bits)",
          "max_constant_buffer_size": "constant memory (bytes)", "max_work_group_size": "work-group", "local_mem_size": "local memory (bytes)",
          "max_mem_alloc_size": "one allocation (bytes)"}


def describe(found: platforms.Found, verbose: bool = False) -> dict[str, Any]:
    """What matters about one device, as plain values. ``verbose`` adds what takes time to find out."""
    facts = found.facts
    listed = next((d for d in runtime.devices() if d.cl_device == found.device), None)
    dev = listed or runtime.Device(cltorch.device("cuda", 0), found)
    return {
        "cuda": None if listed is None else str(listed.spec),
        "skipped": "" if listed else found.skip or "not selected by CLTORCH_DEVICES",
        "name": dev.name, "vendor": dev.vendor, "type": found.kind, "platform": dev.platform_name,
        "platform_version": facts.platform_version, "driver": dev.driver_version, "opencl": dev.version,
        "opencl_c": facts.opencl_c_version, "compute_units": dev.compute_units,
        "clock_mhz": facts.max_clock_frequency, "memory": dev.global_mem_size, "max_allocation": dev.max_alloc,
        "local_memory": dev.local_mem_size, "local_memory_is_global": facts.local_memory_is_global,
        "max_work_group": dev.max_work_group_size, "max_work_items": list(facts.max_work_item_sizes),
        "fp16_arithmetic": "cl_khr_fp16" in dev.extensions, "fp64": dev.has_fp64, "shares_host_memory": bool(facts.host_unified_memory),
        "strategy": dev.strategy, "inline": found.inline and platforms.clean(found.inline.name),
        "quirks": sorted(dev.quirks), "extensions": sorted(dev.extensions), **(details(found, listed) if verbose else {}),
    }


def details(found: platforms.Found, dev: runtime.Device | None) -> dict[str, Any]:
    """Limits, the quirks in force with their reasons, the probes and the tuned profiles of a device that is used."""
    facts = found.facts
    return {
        "limits": {name: getattr(facts, name) for name in LIMITS}, "pci": list(facts.bus), "profile": facts.profile,
        "quirks_in_force": [{"name": quirk.name, "disables": sorted(quirk.disables), "means": [quirks.FEATURES[name] for name in sorted(quirk.disables)],
                             "reason": quirk.reason, "evidence": quirk.evidence} for quirk in quirks.in_force(facts)],
        "probes": {} if dev is None else probes.results(dev),
        "tuned_profiles": [] if dev is None else [{"path": profile["path"], "level": profile["level"], "families": sorted(profile["families"])}
                                                  for profile in tuning.profiles(dev)],
    }


def detail_lines(row: dict[str, Any]) -> list[str]:
    """What ``details`` found, for a person."""
    facts = [("limits", ", ".join(f"{LIMITS[name]} {value}" for name, value in row["limits"].items()))]
    facts += [("quirk", f"{q['name']}: {q['reason']}; so {'; '.join(q['means'])} ({q['evidence']})") for q in row["quirks_in_force"]] or [("quirks", "none")]
    facts += [("probe" if row["probes"] else "", f"{name}: {answer}") for name, answer in row["probes"].items()]
    facts += [("profile", f"{p['path']} ({p['level']}): {', '.join(p['families'])}") for p in row["tuned_profiles"]] or [
        ("profile", "none: the defaults of the kernels' templates; tools/tune.py measures one")]
    facts.append(("extensions", " ".join(row["extensions"])))
    return [line for name, text in facts for line in wrapped(name, text)]


def wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"    {name:13} ", subsequent_indent=" " * 18, break_long_words=False, break_on_hyphens=False)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One block of lines a device: a terminal is too narrow for one row each."""
    lines = []
    for row in rows:
        lines.append(f"{row['cuda'] or '(skipped)'}  {row['name']}" + (f"  [{row['skipped']}]" if row["skipped"] else ""))
        facts = {
            "type": f"{row['type']}, {row['vendor']}",
            "platform": f"{row['platform']}, {row['platform_version']}",
            "driver": f"{row['driver']}, {row['opencl']}, {row['opencl_c']}",
            "memory": f"{human_bytes(row['memory'])}, one allocation at most {human_bytes(row['max_allocation'])}",
            "processor": f"{row['compute_units']} compute units, {row['clock_mhz']} MHz",
            "work-group": f"{row['max_work_group']} at most, dimensions {'x'.join(map(str, row['max_work_items']))}",
            "local memory": human_bytes(row["local_memory"]) + (" (in main memory)" if row["local_memory_is_global"] else ""),
            "precision": f"fp64 {yes(row['fp64'])}, fp16 storage yes, fp16 arithmetic {yes(row['fp16_arithmetic'])}",
            "strategy": row["strategy"] + (f", little launches in the calling thread (as {row['inline']})" if row["inline"] else ""),
        }
        lines += [f"    {name:13} {text}" for name, text in facts.items()]
        lines += [*(detail_lines(row) if "limits" in row else []), ""]
    return "\n".join([*lines, cpu_line()])


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def cpu_line() -> str:
    """What "cpu" tensors are computed on."""
    engine = next((entry for entry in platforms.usable() if entry.kind == "CPU"), None)
    if engine is None:
        return '"cpu" tensors are copied to the first device above for each operator; pip install "cltorch[pocl]" is quicker'
    return f'"cpu" tensors are computed on {engine.facts.name} ({engine.facts.platform_name})'


def matrix(dtypes: Sequence[Any]) -> list[dict[str, str]]:
    """For each device and dtype: "yes" where 1 + 2 was computed there, or why it could not be."""
    return [{"device": str(dev.spec), "name": dev.name, **{d.name: attempt(dev, d) for d in dtypes}} for dev in runtime.devices()]


def attempt(dev: runtime.Device, d: Any) -> str:
    try:
        x = cltorch.tensor([1, 0], dtype=d, device=dev.spec)
        total = (x | x if d.name == "bool" else x + x).tolist()
    except RuntimeError as error:
        return "no" if isinstance(error, UnsupportedDtypeError) else f"failed: {error}"
    return "yes" if total == ([True, False] if d.name == "bool" else [2, 0]) else f"wrong: {total}"


def matrix_table(rows: Sequence[dict[str, str]], dtypes: Sequence[Any]) -> str:
    width = max(len(d.name) for d in dtypes)
    lines = [f"{row['device']} is {row['name']}" for row in rows]
    lines.append(f"{'dtype':{width}}" + "".join(f"  {row['device']:>8}" for row in rows))
    lines += [f"{d.name:{width}}" + "".join(f"  {row[d.name]:>8}" for row in rows) for d in dtypes]
    return "\n".join(lines)


def used() -> list[Any]:
    """The OpenCL devices of the program's devices."""
    return [dev.cl_device for dev in runtime.devices()]


def used_first(row: dict[str, Any]) -> tuple[bool, int]:
    """The order of the program's devices, then the skipped ones."""
    return (True, 0) if row["cuda"] is None else (False, cltorch.device(row["cuda"]).index or 0)


def check_all() -> list[dict[str, Any]]:
    """The self-test of every device."""
    return [{"device": str(dev.spec), "name": dev.name, "checks": self_test.run(dev.index)} for dev in runtime.devices()]


def check_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a device, and one for each check that failed."""
    lines = []
    for row in rows:
        failed = failures(row)
        lacks = [name.split()[0] for name, result in row["checks"].items() if result.startswith("no:")]
        verdict = f"{len(failed)} of {len(row['checks'])} checks failed" if failed else f"{len(row['checks']) - len(lacks)} checks passed"
        lines.append(f"{row['device']}  {row['name']}: {verdict}" + (f" (without {', '.join(lacks)}: it has no fp64)" if lacks else ""))
        lines += [line for name, result in failed.items() for line in wrapped("FAILED", f"{name}: {result.removeprefix('failed: ')}")]
    return "\n".join(lines)


def failures(row: dict[str, Any]) -> dict[str, str]:
    return {name: result for name, result in row["checks"].items() if result.startswith("failed")}


def nothing(surveyed: bool) -> str:
    """Why there is no device, and what to do."""
    if surveyed:
        return platforms.nothing_found()
    found = "".join(f"\n- {line}" for line in diagnose.findings())
    return NOTHING.format(system=platform.platform(), findings=f"What was found instead:{found}\n" if found else "")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--verbose", action="store_true", help="also limits, extensions, probed extras, quirks with their reasons, tuned profiles")
    parser.add_argument("--matrix", action="store_true", help="try every dtype on every device and print which work")
    parser.add_argument("--check", action="store_true", help="test every device in a process of its own and name what fails")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the devices. Returns the exit status: 0, or 1 where no device counts or a check fails."""
    options = arguments(argv)
    dtypes = sorted(ALL, key=lambda d: d.index)
    serving = [found.inline for found in platforms.survey() if found.inline is not None and not options.verbose]
    rows = sorted((describe(found, options.verbose) for found in platforms.survey() if found.device not in serving or found.device in used()), key=used_first)
    checked = check_all() if options.check else []
    if options.json:
        extra = {"matrix": matrix(dtypes)} if options.matrix else {}
        print(json.dumps({"devices": rows, **extra, **({"check": checked} if options.check else {})}, indent=2))
    elif rows:
        print(check_table(checked) if options.check and used() else matrix_table(matrix(dtypes), dtypes) if options.matrix and used() else table(rows))
    if not runtime.devices():
        print(nothing(bool(rows)), file=sys.stderr)
        return 1
    return int(any(failures(row) for row in checked))


if __name__ == "__main__":
    sys.exit(main())
