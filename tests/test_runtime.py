"""Names of devices, finding and selecting them, transfers, the "cpu" device with and without shared memory, forks."""
from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from processes import run_python

from cltorch.errors import LaunchError, NoOpenCLError, UnsupportedDtypeError
from cltorch.runtime import platforms, program
from cltorch.runtime.device import Device, current_index, default_device, device, devices, get, host, resolve, set_current_index, set_default_device

SCALE = """
__kernel void scale(__global const float *x, __global float *y, int n, float factor)
{ for (int i = get_global_id(0); i < n; i += get_global_size(0)) y[i] = x[i] * factor; }
"""


@pytest.mark.parametrize("args,kind,index", [
    (("cpu",), "cpu", None), (("cuda",), "cuda", None), (("cuda:1",), "cuda", 1), (("cuda", 1), "cuda", 1), ((2,), "cuda", 2),
    (("opencl:1",), "cuda", 1), (("opencl",), "cuda", None), (("cpu:0",), "cpu", 0),
])
def test_device_names(args: tuple, kind: str, index: int | None) -> None:
    named = device(*args)
    assert (named.type, named.index) == (kind, index)
    assert named is device(named) is pickle.loads(pickle.dumps(named)) is eval(repr(named))
    assert str(named) == (kind if index is None else f"{kind}:{index}")


def test_device_equality_is_pytorchs() -> None:
    assert device("cuda:0") == device("cuda", 0) != device("cuda") and device("cpu") != "cpu"
    assert len({device("cuda:0"), device(0), device("cpu")}) == 2
    with pytest.raises(AttributeError, match="can't be changed"):
        device("cpu").index = 3  # type: ignore[misc]


@pytest.mark.parametrize("args,error,text", [
    (("gpu",), RuntimeError, "Expected one of cpu, cuda, opencl device type at start of device string: gpu"),
    (("",), RuntimeError, "device type at start"), (("cuda:",), RuntimeError, "Invalid device string: 'cuda:'"),
    (("cuda:x",), RuntimeError, "Invalid device string"), (("cuda:-1",), RuntimeError, "Invalid device string"),
    (("cuda:01",), RuntimeError, "Invalid device string"), ((-1,), RuntimeError, "must not be negative"),
    (("cuda", -1), RuntimeError, "must not be negative"), (("cuda:1", 1), RuntimeError, "index twice"),
    ((1.5,), TypeError, "not float"), ((True,), TypeError, "not bool"), ((None,), TypeError, "not NoneType"),
])
def test_bad_device_names(args: tuple, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        device(*args)


def test_default_device_nests_and_is_per_thread() -> None:
    assert default_device() == device("cpu")
    with device("cuda:0") as named, device("cuda:1"):
        assert default_device() == device("cuda:1") and named == device("cuda:0")
        seen: list[device] = []
        thread = threading.Thread(target=lambda: seen.append(default_device()))
        thread.start()
        thread.join()
        assert seen == [device("cpu")]
    set_default_device("cuda:0")
    try:
        assert default_device() == device("cuda:0")
    finally:
        set_default_device(None)
    assert default_device() == device("cpu")


def test_getting_devices() -> None:
    first = get("cuda", 0)
    assert get("cuda") is get("opencl", 0) is resolve() is resolve("cuda:0") is resolve(0) is first and first.spec is device("cuda:0")
    assert get("cpu") is get("cpu", 0) is host() and host().spec is device("cpu")
    with pytest.raises(RuntimeError, match=r"invalid device ordinal: cuda:99 .* cuda:0"):
        get("cuda", 99)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        set_current_index(99)
    with pytest.raises(RuntimeError, match="Expected one of"):
        get("tpu")
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        resolve("cpu")
    assert current_index() == 0


def test_what_a_device_says() -> None:
    dev = get("cuda")
    assert dev.name == dev.name.strip() and dev.compute_units > 0 and dev.max_work_group_size > 0
    assert 0 < dev.max_alloc <= dev.global_mem_size and dev.wide_groups % dev.compute_units == 0
    assert dev.strategy == os.environ.get("CLTORCH_STRATEGY", "wide" if dev.kind == "CPU" and "wide" not in dev.disabled else "grid")
    assert dev.queue is dev.queue and dev.context is dev.context
    assert "cuda:0" in repr(dev)
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        dev.colour  # noqa: B018


def test_cpu_shares_the_context_of_the_opencl_cpu() -> None:
    engine = next((dev for dev in devices() if dev.kind == "CPU" and dev.cl_device == host().cl_device), None)
    if engine is None:
        pytest.skip("no OpenCL CPU device, or the program doesn't use it")
    assert host().queue is engine.queues[0] and host().context is engine.context


def test_transfers() -> None:
    dev = get("cuda")
    data = np.arange(1000, dtype=np.int32)
    block, other = dev.allocator.allocate(data.nbytes), dev.allocator.allocate(data.nbytes)
    dev.write(block.mem, data)
    dev.copy(other.mem, block.mem, 400, 800, 400)
    dev.fill(other.mem, np.int32(-1), 400, 400)
    assert (dev.read(other.mem, 400, 800).view(np.int32) == data[100:200]).all()
    assert (dev.read(other.mem, 400, 400).view(np.int32) == -1).all()
    out = np.empty((10, 10), np.int32)
    dev.read_into(out, block.mem, 2000)
    assert (out.ravel() == data[500:600]).all()
    dev.write(block.mem, data[::-1].copy(), blocking=False)
    dev.synchronize()
    assert (dev.read(block.mem, data.nbytes).view(np.int32) == data[::-1]).all() and not dev.inflight
    dev.read(block.mem, 0), dev.write(block.mem, np.empty(0)), dev.copy(block.mem, other.mem, 0), dev.fill(block.mem, np.int8(0), 0)
    with pytest.raises(LaunchError, match="could not copy memory"):
        dev.copy(block.mem, other.mem, 1 << 30)


def test_kernels_work_in_host_memory() -> None:
    dev = host()
    if not dev.shares_host:
        pytest.skip("no OpenCL CPU device that works in host memory")
    x, y = dev.allocator.allocate(4000), dev.allocator.allocate(4000)
    dev.host_view(x).view(np.float32)[:1000] = np.arange(1000)
    kernel = program.build(dev, SCALE, "scale").kernel("scale")
    kernel((4,), (1,), x.mem, y.mem, 1000, 2.0)
    assert dev.pending(y)
    assert (dev.host_view(y).view(np.float32)[:1000] == 2 * np.arange(1000)).all()
    assert not dev.pending(dev.allocator.allocate(12345678))


@pytest.fixture
def staged() -> Device:
    """A "cpu" device as on a machine whose only OpenCL device doesn't work in host memory."""
    engine = get("cuda")
    found = next(e for e in platforms.usable() if e.device == engine.cl_device)
    dev = Device(device("cpu"), found, engine)
    assert dev.queue is engine.queues[0]
    dev.shares_host, dev.staged = False, True
    return dev


def test_staged_cpu_computes_on_copies(staged: Device) -> None:
    x, y = staged.allocator.allocate(4000), staged.allocator.allocate(4000)
    staged.host_view(x).view(np.float32)[:1000] = np.arange(1000)
    staged.host_view(y).view(np.float32)[:1000] = 5
    kernel = program.build(staged, SCALE, "scale").kernel("scale")
    for factor in (2.0, 3.0):
        kernel((4,), (1,), x.mem, y.mem, 500, factor)
        assert (staged.host_view(y).view(np.float32)[:500] == factor * np.arange(500)).all()
        assert (staged.host_view(y).view(np.float32)[500:1000] == 5).all()
    staged.host_view(x).view(np.float32)[:500] = 1  # NumPy writes are seen by the next launch
    kernel((4,), (1,), x.mem, y.mem, 500, 7.0)
    assert (staged.host_view(y).view(np.float32)[:500] == 7).all()
    staged.fill(x.mem, np.float32(4), 40, 40)
    staged.copy(y.mem, x.mem, 40, 0, 40)
    staged.write(y.mem, np.float32([8]), 40)
    assert (staged.host_view(y).view(np.float32)[:11] == [4] * 10 + [8]).all()
    assert (staged.read(y.mem, 44).view(np.float32) == [4] * 10 + [8]).all()


def test_wrapped_memory_on_a_staged_cpu(staged: Device) -> None:
    data, out = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)
    x, y = staged.allocator.wrap(data), staged.allocator.wrap(out)
    program.build(staged, SCALE, "scale").kernel("scale")((1,), (1,), x.mem, y.mem, 100, 2.0)
    assert (out == 2 * data).all()
    del x, y
    assert not [h for h in staged.allocator.hosts.values() if np.shares_memory(h, out)]


def test_require_names_the_device_and_the_fix() -> None:
    dev = get("cuda")
    before, dev.has_fp64 = dev.has_fp64, False
    try:
        dev.require(SimpleNamespace(name="float32"))
        with pytest.raises(UnsupportedDtypeError, match=r"cuda:0 .*float64 needs: use float32"):
            dev.require(SimpleNamespace(name="float64"))
        with pytest.raises(RuntimeError, match="use complex64"):
            dev.require(SimpleNamespace(name="complex128"))
    finally:
        dev.has_fp64 = before


def test_without_opencl_memory_still_works(tmp_path: Path) -> None:
    code = """
import numpy as np
from cltorch.errors import NoOpenCLError
from cltorch.runtime.device import devices, get, host
dev = host()
assert devices() == [] and dev.spec.type == "cpu", devices()
block = dev.allocator.allocate(40)
dev.host_view(block)[:] = 3
dev.synchronize()
assert block.host.sum() == 3 * 512 and not dev.pending(block)
for use in (lambda: dev.queue, lambda: dev.context, lambda: get("cuda"), lambda: get("cuda", 2), lambda: block.mem):
    try:
        use()
    except NoOpenCLError as error:
        assert "pip install" in str(error) and isinstance(error, RuntimeError), error
    else:
        raise AssertionError(use)
print("fine")
"""
    done = run_python(code, OCL_ICD_VENDORS=str(tmp_path / "nothing"))
    assert done.stdout == "fine\n", done.stderr


def test_selecting_no_device_says_so() -> None:
    done = run_python("from cltorch.runtime.device import get; get('cuda')", CLTORCH_DEVICES="no such thing")
    assert "NoOpenCLError: cuda:0 was asked for, but CLTORCH_DEVICES='no such thing' selects none" in done.stderr


def test_forced_strategy() -> None:
    for strategy in ("wide", "grid"):
        assert run_python("from cltorch.runtime.device import get; print(get('cuda').strategy)", CLTORCH_STRATEGY=strategy).stdout == f"{strategy}\n"
    assert "the strategies are wide and grid" in run_python("from cltorch.runtime.device import get; get('cuda')", CLTORCH_STRATEGY="tall").stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_use_cpu_memory_but_not_opencl() -> None:
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from cltorch.runtime import program
from cltorch.runtime.device import get, host
SCALE = {SCALE!r}
dev, cuda = host(), get("cuda")
x, y = dev.allocator.allocate(4000), dev.allocator.allocate(4000)
dev.host_view(x).view(np.float32)[:] = 2
kernel = program.build(dev, SCALE, "scale").kernel("scale")
kernel((1,), (1,), x.mem, y.mem, 1000, 3.0)
other = cuda.allocator.allocate(100)
child = os.fork()
if child == 0:
    try:
        assert (dev.host_view(y).view(np.float32)[:1000] == 6).all()   # finished before the fork
        assert dev.allocator.allocate(4000).host.nbytes >= 4000
        del x, other
        refused = []
        for use in (lambda: kernel((1,), (1,), y.mem, y.mem, 10, 3.0), lambda: cuda.queue, lambda: cuda.read(None, 4),
                    lambda: dev.allocator.allocate(99999).mem):
            try:
                use()
            except RuntimeError as error:
                refused.append("spawn" in str(error))
        assert refused == [True] * 4, refused
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
kernel((1,), (1,), x.mem, y.mem, 1000, 4.0)
assert (dev.host_view(y).view(np.float32)[:1000] == 8).all()
print("fine")
"""
    done = run_python(code)
    assert done.stdout == "fine\n", done.stderr


def test_no_opencl_error_is_a_runtime_error() -> None:
    assert issubclass(NoOpenCLError, RuntimeError)


def test_a_machine_with_a_gpu_only_computes_cpu_tensors_on_it() -> None:
    code = """
import warnings
import numpy as np
from cltorch.runtime import platforms
platforms.kind_of = lambda facts: "discrete GPU"     # the device stands in for a GPU
import cltorch
from cltorch.runtime.device import get, host
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    x = cltorch.tensor([[1., 2.], [3., 4.]])
    y = (x * 2 + 1).sum(0)
    host().synchronize()
assert len(caught) == 1 and "pocl" in str(caught[0].message), caught
assert host().staged and not host().shares_host and host().strategy == get("cuda").strategy == "grid"
assert y.tolist() == [10, 14] and (x @ x).tolist() == [[7, 10], [15, 22]]
array = np.arange(4, dtype=np.float32)
shared = cltorch.from_numpy(array)
shared += 1
assert array.tolist() == [1, 2, 3, 4]
array[:] = 5
assert (shared + 0).tolist() == [5] * 4 and shared.sum().item() == 20
z = x.clone()
z[0] = 9
z[:, 1] *= 2
assert z.tolist() == [[9, 18], [3, 8]] and x.to("cuda").cpu().tolist() == x.tolist()
print("fine")
"""
    done = run_python(code, CLTORCH_STRATEGY="")
    assert done.stdout == "fine\n", done.stderr
