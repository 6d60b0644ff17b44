"""A processor for each of PoCL's threads: runtime/affinity.py."""
from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest
from processes import run_python

from cltorch.runtime import affinity
from cltorch.runtime.device import get
from cltorch.runtime.facts import is_pocl

POCL = "Portable Computing Language"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's threads")
SHOW = """
import os
before = os.sched_getaffinity(0)
import cltorch
cltorch.ones(3, device="cuda").sum().item()
assert os.sched_getaffinity(0) == before  # the main thread may go where it could
print(sorted(next(iter(where)) for thread in os.listdir("/proc/self/task") if len(where := os.sched_getaffinity(int(thread))) == 1))
"""
PROCESSORS = sorted(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else []


@pytest.mark.parametrize("choice,expected", [({}, PROCESSORS), ({"POCL_AFFINITY": "0"}, []), ({"POCL_MAX_PTHREAD_COUNT": str(len(PROCESSORS) + 1)}, [])])
def test_each_thread_of_pocl_has_a_processor(choice: dict[str, str], expected: list[int]) -> None:
    dev = get("cuda")
    if not is_pocl(dev.platform_name) or not dev.name.startswith(("pthread", "cpu")) or len(PROCESSORS) == 1:
        pytest.skip("PoCL's threads on several processors")
    done = run_python(SHOW, **choice)
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.fixture
def waiting() -> Iterator[list[threading.Thread]]:
    """Threads that a test starts, and that wait until it is over."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in PROCESSORS]
    yield threads
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("driver", [POCL, "Another"])
def test_only_one_driver_s_threads_are_moved(waiting: list[threading.Thread], driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(affinity.CHOICE, raising=False)
    with affinity.spread(driver):
        for thread in waiting:
            thread.start()
    where = [os.sched_getaffinity(thread.native_id or 0) for thread in waiting]
    assert where == [{processor} if driver == POCL else set(PROCESSORS) for processor in PROCESSORS]


def test_where_the_system_refuses(waiting: list[threading.Thread], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(thread: int, processors: set[int]) -> None:
        raise PermissionError("not here")

    monkeypatch.delenv(affinity.CHOICE, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setenv("CLTORCH_DEBUG", "1")
    with affinity.spread(POCL):
        for thread in waiting:
            thread.start()
    assert "stays where the system puts it: not here" in capfd.readouterr().err
