"""A processor that PoCL's compiler has no name for gets one (runtime/processor.py)."""
from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest
from fake_opencl import FakeDevice, FakePlatform, found

from cltorch.runtime import platforms, processor
from cltorch.runtime.facts import Facts

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


def facts(version: str) -> Facts:
    return found("pthread-Some Processor", "CPU", version=version).facts


class Description:
    """A device as PoCL describes it, as far as that matters: words, some of them pointers to texts."""

    def __init__(self, *words: int | str) -> None:
        self.texts = [ctypes.create_string_buffer(word.encode()) if isinstance(word, str) else word for word in words]
        self.words = (ctypes.c_void_p * (processor.DESCRIBED // ctypes.sizeof(ctypes.c_void_p)))(
            *(ctypes.addressof(text) if isinstance(text, ctypes.Array) else text for text in self.texts))
        self.int_ptr = ctypes.addressof(self.words)

    def text(self, place: int) -> str:
        return ctypes.string_at(self.words[place] or 0).decode()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the description is read through /proc")
def test_an_unknown_processor_gets_the_name_of_an_older_one() -> None:
    """Found among numbers, addresses of nothing and other texts; a second look changes nothing."""
    dev = Description(0, 1, 8, 2**64 - 1, 2**47 + 8, "generic", "pthread", X86, "x", X86, "generic", 3)
    version = f"OpenCL 3.0 PoCL HSTR: pthread-{X86}-generic"
    name = processor.nearest(processor.instructions())
    for _ in range(2):
        assert processor.named(dev, facts(version)).version == f"OpenCL 3.0 PoCL HSTR: pthread-{X86}-{name}"
        assert dev.text(10) == name
    assert dev.text(5) == "generic" and dev.text(9) == X86


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the description is read through /proc")
@pytest.mark.parametrize("name", ["haswell", "skylake-avx512"])
def test_a_name_that_keeps_built_ins_from_being_inlined(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM 14 calls a Zen 4 a Zen 3, and one is no Haswell, whose library is linked; where that name isn't found, it stays: it is slow, but programs can be
    built."""
    monkeypatch.setattr(processor, "instructions", lambda: processor.KNOWN[name])
    dev, version = Description(X86, "znver3"), f"OpenCL 3.0 PoCL HSTR: pthread-{X86}-"
    for _ in range(2):
        assert processor.named(dev, facts(f"{version}znver3")).version == version + name
        assert dev.text(1) == name
    assert processor.named(Description("something else"), facts(f"{version}znver3")).version == f"{version}znver3"


@pytest.mark.parametrize("version", [f"OpenCL 3.0 PoCL HSTR: pthread-{X86}-znver2", f"OpenCL 3.0 PoCL HSTR: pthread-{ARM}-generic", "OpenCL 3.0 Linux",
                                     "OpenCL 3.0 other-x86_64-linux-generic"])
def test_others_stay_as_they_are(version: str) -> None:
    """A processor that has a name; generic code of an architecture for which clang knows that word; other drivers."""
    assert processor.named(SimpleNamespace(), facts(version)).version == version


def test_a_description_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is left out, with a warning that says what helps."""
    dev = FakeDevice("pthread-New", "CPU", version=f"OpenCL 3.0 PoCL HSTR: pthread-{X86}-generic", int_ptr=Description(0, X86, "other", "generic").int_ptr)
    monkeypatch.setattr(platforms, "platforms", lambda: [FakePlatform("Portable Computing Language", dev)])
    monkeypatch.setattr(platforms, "FAILURES", {})
    with pytest.warns(UserWarning, match=r"doesn't know this processor .*pip install \"cltorch\[intel\]\""):
        assert platforms.survey() == []


@pytest.mark.parametrize(("flags", "name"), [
    ("", "x86-64"), ("sse2 avx", "x86-64"), ("avx avx2 fma f16c bmi1 bmi2 abm movbe", "haswell"),
    ("avx avx2 fma f16c bmi1 bmi2 abm movbe clwb avx512f avx512cd avx512bw avx512dq avx512vl", "skylake-avx512"),
    ("avx avx2 fma f16c bmi1 bmi2 abm movbe clwb avx512f avx512cd", "haswell")])
def test_the_nearest_known_processor(flags: str, name: str) -> None:
    assert processor.nearest(frozenset(flags.split())) == name
