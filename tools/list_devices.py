"""Every OpenCL platform and device of this machine: what it is, what it can do, which "cuda:N" it gets. Exit status 1 without any."""
from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cltorch
from cltorch.dtype import ALL
from cltorch.errors import UnsupportedDtypeError
from cltorch.runtime import device as runtime
from cltorch.runtime import platforms
from cltorch.runtime.allocator import human_bytes

NOTHING = """No OpenCL device was found on this machine ({system}).

On the CPU, without administrator rights:   pip install "cltorch[pocl]"   (or: pip install pocl-binary-distribution)
On a GPU, its driver brings OpenCL:          NVIDIA: the driver.  AMD: amdgpu's or ROCm's OpenCL, or Mesa's rusticl.
                                             Intel: intel-opencl-icd.  macOS: nothing to install.
A driver that is installed but not found: on Linux its .icd file belongs into /etc/OpenCL/vendors, or OCL_ICD_VENDORS names its folder.
"cpu" tensors can be made, moved and saved without OpenCL, but nothing can be computed."""


def describe(found: platforms.Found) -> dict[str, Any]:
    """What matters about one device, as plain values."""
    listed = next((d for d in runtime.devices() if d.cl_device == found.device), None)
    dev = listed or runtime.Device(cltorch.device("cuda", 0), found)
    return {
        "cuda": None if listed is None else str(listed.spec),
        "skipped": found.skip or ("" if listed else "not selected by CLTORCH_DEVICES"),
        "name": dev.name, "vendor": dev.vendor, "type": found.kind, "platform": dev.platform_name,
        "platform_version": platforms.clean(found.platform.version), "driver": dev.driver_version, "opencl": dev.version,
        "opencl_c": platforms.clean(found.device.opencl_c_version), "compute_units": dev.compute_units,
        "clock_mhz": found.device.max_clock_frequency, "memory": dev.global_mem_size, "max_allocation": dev.max_alloc,
        "local_memory": dev.local_mem_size, "local_memory_is_global": found.facts.local_memory_is_global,
        "max_work_group": dev.max_work_group_size, "max_work_items": list(found.device.max_work_item_sizes),
        "fp16_arithmetic": "cl_khr_fp16" in dev.extensions, "fp64": dev.has_fp64, "shares_host_memory": bool(found.device.host_unified_memory),
        "strategy": dev.strategy, "quirks": sorted(dev.quirks), "extensions": sorted(dev.extensions),
    }


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
            "strategy": row["strategy"],
        }
        lines += [f"    {name:13} {text}" for name, text in facts.items()] + [""]
    return "\n".join([*lines, cpu_line()])


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def cpu_line() -> str:
    """What "cpu" tensors are computed on."""
    engine = next((entry for entry in platforms.usable() if entry.kind == "CPU"), None)
    if engine is None:
        return '"cpu" tensors are copied to the first device above for each operator; pip install "cltorch[pocl]" is quicker'
    return f'"cpu" tensors are computed on {platforms.clean(engine.device.name)} ({platforms.clean(engine.platform.name)})'


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


def main(argv: Sequence[str] | None = None) -> int:
    """Print the devices. Returns the exit status: 0, or 1 where no device counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--matrix", action="store_true", help="try every dtype on every device and print which work")
    options = parser.parse_args(argv)
    dtypes = sorted(ALL, key=lambda d: d.index)
    rows = [describe(found) for found in platforms.survey()]
    if options.json:
        extra = {"matrix": matrix(dtypes)} if options.matrix else {}
        print(json.dumps({"devices": rows, **extra}, indent=2))
    elif rows:
        print(matrix_table(matrix(dtypes), dtypes) if options.matrix and runtime.devices() else table(rows))
    if not runtime.devices():
        print(f"{platforms.nothing_found()}\n" if rows else NOTHING.format(system=platform.platform()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
