"""Text in, text out: C types of data types, templates, the function library's rules. No device, but for the test that builds it all."""
from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from mako.template import Template

import cltorch
from cltorch import codegen
from cltorch.codegen import TemplateError, compiled, complete, ctype, kernel_root, library_has, library_names, prelude, render, templates
from cltorch.codegen.ctypes import SUFFIXES, by_suffix
from cltorch.dtype import TABLE, complex64, dtype, float16, float32, int32
from cltorch.runtime import program
from cltorch.runtime.device import get
from cltorch.tools import show_kernel

DTYPES = pytest.mark.parametrize("d", TABLE, ids=lambda d: d.name)


# -- C types --------------------------------------------------------------------------------------------------------------


@DTYPES
def test_one_c_type_for_each_dtype(d: dtype) -> None:
    t = ctype(d)
    assert t is ctype(d.name) is ctype(t)
    assert t.s in SUFFIXES and t.itemsize == d.itemsize
    assert (t.is_float, t.is_complex, t.is_integral) == (d.is_floating_point, d.is_complex, d.is_integral)
    assert t.acc.acc is t.acc and t.compute.compute is t.compute
    assert t.acc is ctype({"float16": "float32", "bfloat16": "float32"}.get(d.name, d.name if d.category > 1 else "int64"))


@DTYPES
def test_no_double_unless_the_type_needs_it(d: dtype) -> None:
    t = ctype(d)
    text = " ".join([t.c, t.storage, t.kernel_scalar, t.load("p", "i"), t.store("p", "i", "v"), t.lit(1), t.zero, t.round("v"),
                     *t.scalar_parameters("a"), t.scalar_value("a"), *([] if t.is_complex else [t.lowest, t.highest])])
    assert ("double" in text) == t.needs_fp64
    assert not t.is_float or t.needs_fp64 or re.fullmatch(r"[\d.e+-]+f", t.lit(0.1))


@pytest.mark.parametrize("value", [0.0, 0.1, 1.5, -2.0, 1e-45, 3.4028234663852886e38, 1 / 3, 1e10, math.pi])
def test_literals_read_back_exactly(value: float) -> None:
    text = ctype("float32").lit(value)
    assert np.float32(text.strip("()").rstrip("f")) == np.float32(value)
    assert float(ctype("float64").lit(value).strip("()")) == value


def test_literals_of_special_numbers() -> None:
    assert ctype("float32").lit(-math.inf) == "(-INFINITY)" and ctype("float16").lit(math.nan) == "NAN"
    assert ctype("int64").lit(-(2**63)) == "(-9223372036854775807L - 1)" and ctype("int32").lit(7) == "7"
    assert ctype("bool").lit(True) == "1" and ctype("uint8").highest == "255"
    assert ctype("complex64").lit(1 - 2j) == "(float2)(1.0f, (-2.0f))"


@pytest.mark.parametrize(("name", "value"), [("uint8", 256), ("int8", -129), ("int32", 1.5), ("float32", 1j), ("int64", math.inf)])
def test_a_literal_that_the_type_cannot_hold_is_refused(name: str, value: complex) -> None:
    with pytest.raises((ValueError, OverflowError)):
        ctype(name).lit(value)


def test_complex_has_no_order() -> None:
    with pytest.raises(TypeError, match="complex64 has no order"):
        _ = ctype("complex64").lowest


def test_halves_store_shorts_and_compute_floats() -> None:
    t = ctype("bfloat16")
    assert (t.storage, t.c, t.s, t.is_half, t.precision) == ("ushort", "float", "f32", True, 8)
    assert t.load("p", "i") == "from_bfloat_f32(p[i])" and t.store("p", "i", "v") == "p[i] = to_bfloat_f32(v)"
    assert t.round("v") == "round_bfloat_f32(v)" and ctype("float32").round("v") == "v" and ctype("int8").round("v") == "(char)(v)"


def test_scalars_of_complex_types_are_two_arguments() -> None:
    t = ctype("complex64")
    assert t.scalar_parameters("alpha") == ["const float alpha_re", "const float alpha_im"]
    assert t.scalar_value("alpha") == "(float2)(alpha_re, alpha_im)" and t.scalar_arguments(2) == (2.0, 0.0)
    with pytest.raises(TypeError, match="complex number"):
        ctype("float32").scalar_arguments(1j)


# -- the library's rules --------------------------------------------------------------------------------------------------


def test_only_what_is_called_is_put_in_front() -> None:
    text = prelude("y = tanh_f32(x); z = own_f32(x); /* erf_f32(x) */ // sin_f32(x)", wide=True)
    assert "tanh_f32(float x)" in text and "erf_f32" not in text and "sin_f32" not in text
    assert "double" not in text and "pragma OPENCL EXTENSION" not in text
    assert prelude("y = x * 2.0f;", wide=True) == ""


def test_what_a_function_calls_comes_before_it() -> None:
    text = prelude("asinh_f32(x)", wide=True)
    order = [text.index(f" float {name}(") for name in ("log_tail_f32", "log1p_f32", "asinh_f32")]
    assert order == sorted(order)
    assert text.count(" float log_tail_f32(") == 1


def test_fp64_is_enabled_where_double_is_used() -> None:
    assert complete("double x = 0;", wide=True).startswith("#pragma OPENCL EXTENSION cl_khr_fp64 : enable")
    assert "cl_khr_fp64" in complete("exp_f64(x)", wide=False)


def test_functions_without_a_suffix_and_complex_definitions() -> None:
    assert "static inline uint4 philox(" in prelude("w = philox_at(seed, 0, i)", wide=False)
    assert "static inline __attribute__((always_inline)) float2 exp_c64(" in prelude("exp_c64(z)", wide=True)
    assert library_has("tanh", float16) and library_has("exp", complex64) and not library_has("tanh", int32)


def test_a_function_that_the_type_lacks_is_named() -> None:
    with pytest.raises(TemplateError, match=r"popcount_f32: common/integer.mako defines no popcount for float32"):
        prelude("popcount_f32(x)", wide=True)


def _call_all(suffix: str, wide: bool) -> str:
    """A text that calls every function there is for a type (in a comment-free form that is only scanned)."""
    return " ".join(f"{name.removeprefix('complex_')}_{suffix}(" for name in library_names()
                    if templates._library()[name].typed and name not in ("from_f64", "from_c128")
                    and library_has(name, by_suffix(suffix)))


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "grid"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_function_builds(suffix: str, wide: bool, device: cltorch.device) -> None:
    dev = cltorch.empty(1, device=device)._dev
    if by_suffix(suffix).needs_fp64 and not dev.has_fp64:
        pytest.skip("the device has no double")
    text = prelude(_call_all(suffix, wide) + "philox_at(", wide)
    assert "double" not in text or by_suffix(suffix).needs_fp64
    program.build(dev, text + f"__kernel void none(__global {by_suffix(suffix).c} *p) {{ p[0] = p[1]; }}\n", f"every {suffix}")


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "grid"])
def test_line_marks_point_at_the_template(wide: bool) -> None:
    """Each rendered line that the template holds as it stands is on the line its #line mark counts to."""
    sources = {f"common/{p.name}": p.read_text().splitlines() for p in (kernel_root() / "common").glob("*.mako")}
    checked = 0
    for suffix in SUFFIXES:
        file, line = "", 0
        for text in prelude(_call_all(suffix, wide), wide).splitlines():
            mark = re.match(r'#line (\d+)(?: "(.*)")?', text)
            if mark:
                line, file = int(mark[1]), mark[2] or file
                continue
            if file in sources and len(text) > 2 and text in sources[file] and "${" not in sources[file][line - 1]:
                assert sources[file][line - 1] == text, f"{file}:{line}"
                checked += 1
            line += 1
    assert checked > 100


# -- templates ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that writes test/<name>.mako beside the real kernels/common and forgets all of it afterwards."""
    (tmp_path / "test").mkdir()
    (tmp_path / "common").symlink_to(kernel_root() / "common")
    caches = [templates._templates, templates._library, templates._function]
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(templates, "kernel_root", lambda: tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / "test" / f"{name}.mako").write_text(text)
        return f"test/{name}"

    yield write
    for cached in caches:
        cached.cache_clear()


def test_dtypes_reach_the_template_as_c_types(template) -> None:
    name = template("copy", "__kernel void ${name}(__global ${t.storage} *o) { ${t.store('o', '0', ins[0].zero)}; } // ${strategy} ${wide}\n")
    text = render(name, "grid", t=float16, ins=[float32])
    assert "__kernel void copy(__global ushort *o) { o[0] = to_half_f32(0.0f); } // grid False" in text
    assert text.index("static inline ushort to_half_f32") < text.index("__kernel")


def test_a_missing_parameter_is_an_error_with_file_and_line(template) -> None:
    name = template("missing", "<%doc>\nwords\n</%doc>\nint a;\n% if wide:\nint b = ${absent};\n% endif\n")
    with pytest.raises(TemplateError, match=r"test/missing.mako, near line 6: NameError: .*absent"):
        render(name, "wide")


def test_an_error_in_a_python_line_names_the_line(template) -> None:
    name = template("broken", "int a;\n% for i in range(count):\nint b${i};\n% endfor\n")
    with pytest.raises(TemplateError, match=r"test/broken.mako, near line 2: TypeError"):
        render(name, "wide", count="three")


def test_line_marks_follow_loops_and_multi_line_values(template) -> None:
    name = template("lines", "int a;\n% for i in range(2):\nint b${i};\n% endfor\n${text}\nint c;\n")
    lines = render(name, "wide", text="int x;\nint y;").splitlines()
    assert lines[0] == '#line 1 "test/lines.mako"'
    assert lines[lines.index("int c;") - 1] == "#line 6"
    assert lines[lines.index("int b1;") - 1] == "#line 3"


def test_tunables_have_defaults_by_strategy_and_legal_values(template) -> None:
    name = template("tuned", "<%! TUNABLES = dict(WG=(1, 64, (1, 64, 128))) %>\nint wg = ${WG};\n")
    assert "int wg = 1;" in render(name, "wide") and "int wg = 64;" in render(name, "grid")
    assert "int wg = 128;" in render(name, "grid", WG=128)
    assert codegen.tunables(name) == {"WG": (1, 64, (1, 64, 128))}
    with pytest.raises(ValueError, match="WG is one of"):
        render(name, "grid", WG=100)


@pytest.mark.parametrize("state", ["kept", "damaged", "no cache"])
def test_templates_that_mako_has_read_come_from_the_disk_cache(template, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CLTORCH_CACHE_SIZE", "0" if state == "no cache" else "1")
    template("inner", '<%def name="twice(text)">\nint ${text}, ${text}2;\n</%def>\n')
    name = template("outer", '<%! TUNABLES = dict(N=(1, 2, (1, 2))) %>\n<%namespace name="inner" file="inner.mako"/>\n'
                             "% for k in range(N):\n${inner.twice(f'a{k}')}\n% endfor\nfloat b = tanh_${t.s}(1.0f);\nint c = ${5 // divisor};\n")
    read: list[str] = []
    monkeypatch.setattr(compiled, "Template", lambda text, uri, **options: read.append(uri) or Template(text, uri=uri, **options))
    told, counts = [], []
    for _ in range(2):
        for cached in (templates._templates, templates._function):
            cached.cache_clear()
        told.append(render(name, "grid", t=float32, divisor=2))
        with pytest.raises(TemplateError, match=r"test/outer.mako, near line 7: ZeroDivisionError"):
            render(name, "grid", t=float32, divisor=0)
        assert codegen.tunables(name) == {"N": (1, 2, (1, 2))}
        counts.append(len(read))
        if state == "damaged":
            for file in (tmp_path / "cache" / "kernels").iterdir():
                file.write_bytes(file.read_bytes()[:-1])
    assert told[0] == told[1] and "int a1, a12;" in told[0] and counts[0] >= 3
    assert counts[1] == (counts[0] if state == "kept" else 2 * counts[0])
    monkeypatch.setenv("CLTORCH_CACHE_SIZE", "1")
    templates._templates.cache_clear()
    template("outer", "int changed;\n")
    assert "int changed;" in render(name, "grid")


def test_unknown_templates_and_strategies_are_named() -> None:
    with pytest.raises(TemplateError, match=r"no kernel template nothing/here\.mako"):
        render("nothing/here", "wide")
    with pytest.raises(ValueError, match="strategy is one of"):
        render("pointwise/map", "vector")


# -- the tool that prints sources -----------------------------------------------------------------------------------------


def test_show_kernel_prints_chains_operators_and_templates(capsys: pytest.CaptureFixture[str]) -> None:
    for target, expected in (("x * y + x", "void map("), ("tanh", "tanh_f32(input)"), ("pointwise/map", "void map("),
                             ("indexing/address", "void read("), *([("conv/weights", "void weights(")] if get("cuda").strategy == "wide" else [])):
        assert show_kernel.main([target]) == 0
        text = capsys.readouterr().out
        assert text.startswith("// ---- ") and expected in text, target


def test_show_kernel_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_kernel.main(["no such thing"]) == 1
    assert "neither a template, nor an operator" in capsys.readouterr().err
    assert show_kernel.main(["pointwise/map", "--set", "rank=0"]) == 1
    assert "pointwise/map.mako, near line" in capsys.readouterr().err
