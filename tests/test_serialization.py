"""save and load: everything that is saved comes back, and nothing that is loaded runs. No PyTorch needed here."""
from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn, serialization
from cltorch.serialization import zipformat
from cltorch.testing import assert_close

DTYPES = [cltorch.uint8, cltorch.int8, cltorch.int16, cltorch.int32, cltorch.int64, cltorch.float16, cltorch.float32, cltorch.float64, cltorch.bfloat16,
          cltorch.complex64, cltorch.complex128, cltorch.bool]


def saved(obj: Any, **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    serialization.save(obj, stream, **options)
    stream.seek(0)
    return stream


def again(obj: Any, **options: Any) -> Any:
    return serialization.load(saved(obj), **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_every_dtype(dtype: cltorch.dtype, shape: tuple[int, ...]) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape)
    t = cltorch.tensor(values, dtype=dtype)
    back = again(t)
    assert_close(back, t, rtol=0, atol=0)
    assert back.shape == shape
    assert (back + back).shape == shape


def test_views_share_memory_again() -> None:
    base = cltorch.arange(12, dtype=cltorch.float32).reshape(3, 4)
    view, column, row = again([base, base.t(), base[1], base])[1:][::-1]
    view = view.t()
    assert view.stride() == (1, 4)
    row[0] = 99.0
    assert column[0, 1].item() if column.ndim == 2 else column[0].item() == 99.0
    loaded = again({"all": base, "row": base[1], "turned": base.t()})
    loaded["row"][2] = -1.0
    assert loaded["all"][1, 2].item() == -1.0
    assert loaded["turned"][2, 1].item() == -1.0


def test_other_bits_of_a_storage() -> None:
    halves = cltorch.tensor([1.0, 2.0], dtype=cltorch.float32)
    bits = halves.view(cltorch.int32)
    back = again([halves, bits])
    assert back[1].dtype is cltorch.int32
    back[1][0] = 0
    assert back[0].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("obj", [
    None, True, 3, -5, 2 ** 40, 2 ** 100, 1.5, 2 + 3j, "text ü", b"\x00\xff bytes", b"", bytearray(b"ab"), [1, [2, [3]]], (1,), (), {}, {"a": {"b": (1, 2)}},
    {1, 2}, frozenset((1, 2)), collections.OrderedDict(a=1, b=2), collections.Counter("aab"), cltorch.Size([2, 3]), cltorch.float32, cltorch.bfloat16,
    cltorch.bool, cltorch.device("cpu"), cltorch.device("cuda", 1), [None, False, 0, 255, 256, 65536], tuple(range(5)), "x" * 1000,
], ids=lambda o: repr(o)[:30])
def test_plain_objects(obj: Any) -> None:
    for protocol in (2, 3, 4, 5):
        back = serialization.load(saved(obj, pickle_protocol=protocol))
        assert back == obj
        assert type(back) is type(obj)


def test_repeated_objects_stay_one() -> None:
    inner = [1]
    back = again([inner, inner])
    assert back[0] is back[1]
    loop: list = []
    loop.append(loop)
    assert (looped := again(loop))[0] is looped


def test_attributes_of_ordered_dict() -> None:
    state = collections.OrderedDict(w=cltorch.ones(2))
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    assert again(state)._metadata == {"": {"version": 1}}


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1j), np.str_("abc"), np.arange(6).reshape(2, 3), np.array(2.0),
                                   np.zeros((0, 3)), np.array(["a", "bcd"]), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
                                   np.dtype("float32"), np.dtype("<U3")],
                         ids=repr)
def test_numpy(value: Any) -> None:
    back = again({"x": value, "again": value})["x"]
    assert type(back) is type(value)
    np.testing.assert_array_equal(back, value) if not isinstance(value, np.dtype) else None
    assert getattr(back, "dtype", back) == getattr(value, "dtype", value)


def test_parameters_and_gradients() -> None:
    p = nn.Parameter(cltorch.ones(2, 3))
    frozen = nn.Parameter(cltorch.ones(2), requires_grad=False)
    back, still, leaf = again([p, frozen, cltorch.ones(2, requires_grad=True)])
    assert [type(x) for x in (back, still)] == [nn.Parameter, nn.Parameter]
    assert [x.requires_grad for x in (back, still, leaf)] == [True, False, True]
    assert (back.is_leaf, back.grad) == (True, None)


def test_devices(device: cltorch.device) -> None:
    t = cltorch.arange(4, device=device) + 1
    assert again(t).device == device
    for place in ("cpu", cltorch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, name: storage, lambda storage, name: storage.cpu()):
        back = again(t, map_location=place)
        assert back.device.type == "cpu"
        assert back.tolist() == [1, 2, 3, 4]
    here = cltorch.ones(3)
    for place in ("cuda", "cuda:0", device, {"cpu": "cuda:0"}, lambda storage, name: storage.cuda(0), lambda storage, name: storage.to("cuda:0")):
        assert again(here, map_location=place).device == device
    for place in ({"cuda:0": "cpu"}, lambda storage, name: None):
        assert again(here, map_location=place).device.type == "cpu"
    with pytest.raises(TypeError, match="map_location must be a device, its name, a dict or a function, not list"):
        again(here, map_location=[1])
    with pytest.raises(TypeError, match="must return the storage it was given"):
        again(here, map_location=lambda storage, name: 3)


def test_devices_that_are_not_here() -> None:
    data = saved(cltorch.ones(2)).getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x07\x00\x00\x00cuda:99")
    stream = rewritten(data)
    with pytest.raises(RuntimeError, match=r"Attempting to deserialize object on device 'cuda:99'.*map_location='cpu'"):
        serialization.load(stream)
    stream.seek(0)
    assert serialization.load(stream, map_location="cpu").tolist() == [1.0, 1.0]


def rewritten(damaged: bytes) -> io.BytesIO:
    """The data.pkl of a file whose bytes were changed without regard for lengths, in a sound archive."""
    start = damaged.index(b"\x80\x02")
    return archive({"data.pkl": damaged[start:damaged.index(b".", damaged.rindex(b"tq")) + 1], "data/0": np.ones(2, np.float32).tobytes()})


def archive(records: dict[str, bytes], folder: str = "archive", compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as z:
        for name, payload in records.items():
            z.writestr(f"{folder}/{name}", payload)
    stream.seek(0)
    return stream


# files


def test_paths_and_files(tmp_path: Path) -> None:
    t = cltorch.arange(5)
    for name in (tmp_path / "a.pt", str(tmp_path / "b.pt")):
        serialization.save(t, name)
        assert serialization.load(name).tolist() == t.tolist()
    with open(tmp_path / "c.pt", "wb") as stream:
        serialization.save(t, stream)
    with open(tmp_path / "c.pt", "rb") as stream:
        assert serialization.load(stream).tolist() == t.tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt"]
    with zipfile.ZipFile(tmp_path / "a.pt") as z:
        assert z.namelist()[0] == "a/data.pkl"


def test_layout_of_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.best.pt"
    serialization.save({"a": cltorch.ones(3), "b": cltorch.zeros(0), "c": cltorch.ones(100, dtype=cltorch.int8)}, path)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None
        assert [n.removeprefix("model.best/") for n in z.namelist()] == [
            "data.pkl", ".format_version", ".storage_alignment", "byteorder", "data/0", "data/1", "data/2", "version", ".data/serialization_id"]
        assert z.read("model.best/version") == b"3\n"
        for info in z.infolist():
            name, extra = struct.unpack("<HH", raw[info.header_offset + 26:info.header_offset + 30])
            assert (info.header_offset + 30 + name + extra) % 64 == 0
            assert info.compress_type == zipfile.ZIP_STORED
        opcodes = {op.name for op, _, _ in pickletools.genops(z.read("model.best/data.pkl"))}
    assert "STACK_GLOBAL" not in opcodes
    serialization.save({"a": 1}, tmp_path / "x.pt")
    first = (tmp_path / "x.pt").read_bytes()
    serialization.save({"a": 1}, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").read_bytes() == first


def test_large_records_are_aligned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipformat, "_ZIP64_FROM", 8)
    stream = saved([cltorch.arange(4), cltorch.arange(5)])
    raw = stream.getvalue()
    with zipfile.ZipFile(stream) as z:
        for info in z.infolist():
            name, extra = struct.unpack("<HH", raw[info.header_offset + 26:info.header_offset + 30])
            assert (info.header_offset + 30 + name + extra) % 64 == 0
    assert [t.tolist() for t in serialization.load(io.BytesIO(raw))] == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]


class Interrupted:
    """Fails in the middle of a save."""

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    serialization.save({"v": 1}, path)
    with pytest.raises(KeyboardInterrupt):
        serialization.save({"v": 2, "x": Interrupted()}, path)

    def broken(storage: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(serialization, "to_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        serialization.save(cltorch.ones(3), path)
    assert serialization.load(path) == {"v": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_links_and_permissions_survive(tmp_path: Path) -> None:
    path, link = tmp_path / "real.pt", tmp_path / "link.pt"
    serialization.save(1, path)
    path.chmod(0o640)
    link.symlink_to(path)
    serialization.save(2, link)
    assert link.is_symlink()
    assert serialization.load(path) == 2
    assert path.stat().st_mode & 0o777 == 0o640
    umask = os.umask(0o022)
    os.umask(umask)
    serialization.save(1, tmp_path / "new.pt")
    assert (tmp_path / "new.pt").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_bytes)
        serialization.save(cltorch.arange(3), pipe)
    assert serialization.load(io.BytesIO(received.result())).tolist() == [0, 1, 2]
    assert pipe.is_fifo()


# refusals


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo owned > /tmp/owned",)


class Allowed:
    def __init__(self, value: int = 0) -> None:
        self.value = value


def pickled(obj: Any, protocol: int = 2) -> io.BytesIO:
    return archive({"data.pkl": pickle.dumps(obj, protocol)})


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("obj", [Evil(), eval, print, {"x": [os.path.join]}, slice(1), Path("x"), range(3), collections.defaultdict(list), object(),
                                 np.array([object()]), type], ids=lambda o: repr(o)[:20])
def test_forbidden_names(obj: Any, weights_only: bool) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"load: |Weights only load failed"):
        serialization.load(pickled(obj), weights_only=weights_only)


def test_allowing_a_class() -> None:
    stream = saved(Allowed(5))
    with pytest.raises(pickle.UnpicklingError, match=r"names .*\.Allowed, which is not on the list.*add_safe_globals\(\[Allowed\]\)"):
        serialization.load(stream)
    with serialization.safe_globals([Allowed]):
        assert serialization.load(stream).value == 5
        assert serialization.get_safe_globals() == [Allowed]
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(Allowed, f"{Allowed.__module__}.Allowed")])
    assert serialization.load(stream).value == 5
    serialization.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        serialization.load(stream)
    with serialization.safe_globals([os.system]), pytest.raises(pickle.UnpicklingError, match="never loaded"):
        serialization.load(pickled(os.system))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.register_buffer("mean", cltorch.ones(3))
        self.note = {"a": [1, 2]}

    def forward(self, x: Any) -> Any:
        return self.layer(x) + self.mean


def test_whole_modules() -> None:
    net = nn.Sequential(Net(), nn.ReLU())
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False"):
        again(net)
    back = again(net, weights_only=False)
    assert type(back[0]) is Net
    assert back[0].note == {"a": [1, 2]}
    x = cltorch.ones(4, 2)
    assert_close(back(x), net(x))
    assert [p.requires_grad for p in back.parameters()] == [True, True]


def program(*steps: bytes) -> io.BytesIO:
    return archive({"data.pkl": b"\x80\x02" + b"".join(steps) + b".", "data/0": bytes(16)})


def tensor_program(key: bytes = b"0", kind: bytes = b"ctorch\nFloatStorage\n", count: bytes = b"K\x04", offset: bytes = b"K\x00",
                   size: bytes = b"K\x02K\x02\x86", stride: bytes = b"K\x02K\x01\x86", location: bytes = b"cpu") -> io.BytesIO:
    def text(t: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(t)) + t
    storage = b"(" + text(b"storage") + kind + text(key) + text(location) + count + b"tQ"
    return program(b"ctorch._utils\n_rebuild_tensor_v2\n(", storage, offset, size, stride, b"\x89}tR")


def test_the_hostile_programs_start_from_a_sound_one() -> None:
    assert serialization.load(tensor_program()).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("stream, error, text", [
    (tensor_program(count=b"K\x05"), RuntimeError, "should hold 5 elements of 4 bytes, but its record has 16"),
    (tensor_program(count=b"K\x03"), RuntimeError, "should hold 3 elements"),
    (tensor_program(count=b"J\xff\xff\xff\xff"), pickle.UnpicklingError, "record is wrong"),
    (tensor_program(key=b"7"), RuntimeError, "no record 'data/7'"),
    (tensor_program(key=b"../0"), RuntimeError, "no record"),
    (tensor_program(kind=b"ctorch\nQInt8Storage\n"), pickle.UnpicklingError, "torch.QInt8Storage, which cltorch does not load"),
    (tensor_program(kind=b"ctorch\nuint16\n"), pickle.UnpicklingError, "type torch.uint16, which cltorch does not have"),
    (tensor_program(kind=b"ctorch\nfloat32\n"), pickle.UnpicklingError, "record is wrong"),
    (tensor_program(offset=b"K\x01"), RuntimeError, "out of bounds for storage of size 16"),
    (tensor_program(offset=b"J\xff\xff\xff\xff"), pickle.UnpicklingError, "storage offset"),
    (tensor_program(stride=b"J\xff\xff\xff\xffK\x01\x86"), pickle.UnpicklingError, "stride"),
    (tensor_program(stride=b"K\x03K\x01\x86"), RuntimeError, "out of bounds"),
    (tensor_program(stride=b"K\x01\x85"), pickle.UnpicklingError, "differ in length"),
    (tensor_program(size=b"K\x02G@\x00\x00\x00\x00\x00\x00\x00\x86"), pickle.UnpicklingError, "size"),
    (tensor_program(size=b"\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00K\x01\x86"), pickle.UnpicklingError, "size"),
    (tensor_program(location=b"moon"), RuntimeError, "device 'moon'"),
    (program(b"K\x01Q"), pickle.UnpicklingError, "a storage's record was expected"),
    (program(b""), pickle.UnpicklingError, "damaged"),
    (program(b"h\x05"), pickle.UnpicklingError, "damaged"),
    (program(b"K\x01K\x02\x87"), pickle.UnpicklingError, "too few values"),
    (program(b"K\x01t"), pickle.UnpicklingError, "mark is missing"),
    (program(b"}]K\x01s"), pickle.UnpicklingError, "damaged"),
    (program(b"]K\x01K\x02s"), pickle.UnpicklingError, "sets items of a list"),
    (program(b"}K\x01a"), pickle.UnpicklingError, "appends to a dict"),
    (program(b"ctorch\nfloat32\n)R"), pickle.UnpicklingError, "may not be called"),
    (program(b"ctorch\nSize\nK\x01R"), pickle.UnpicklingError, "not a tuple"),
    (program(b"ctorch\nSize\nX\x01\x00\x00\x00a\x85\x85R"), pickle.UnpicklingError, "torch.Size of"),
    (program(b"c__builtin__\nbytearray\n\x8a\x05\xff\xff\xff\xff\x00\x85R"), pickle.UnpicklingError, "bytearray of int"),
    (program(b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R"), pickle.UnpicklingError, "encoding 'rot13'"),
    (program(b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb"), pickle.UnpicklingError, "tries to set attribute 'items'"),
    (program(b"ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb"), pickle.UnpicklingError, "set the state of a Constructor"),
    (program(b"]]b"), pickle.UnpicklingError, "set the state of a list"),
    (program(b"ctorch\nTensor\n)\x81"), pickle.UnpicklingError, "make an object"),
    (program(b"cposix\nsystem\n"), pickle.UnpicklingError, "never loaded"),
    (program(b"(cos\nsystem\nX\x01\x00\x00\x00ao"), pickle.UnpicklingError, "never loaded"),
    (program(b"(X\x01\x00\x00\x00ai__main__\nX\n"), pickle.UnpicklingError, "pickle operation INST"),
    (program(b"\x82\x01"), pickle.UnpicklingError, "pickle operation EXT1"),
    (program(b"Pabc\n"), pickle.UnpicklingError, "pickle operation PERSID"),
    (program(b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R"), pickle.UnpicklingError, "NumPy data of type 'O'"),
    (program(b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RC\x02ab\x86R"), pickle.UnpicklingError, "don't match the bytes"),
    (program(b"ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nctorch\nTensor\n)}X\x05\x00\x00\x00itemsK\x01stR"),
     pickle.UnpicklingError, "'items'"),
    (archive({"data.pkl": b"\x80\x02X\xff\xff\xff\x7fabc."}), pickle.UnpicklingError, "damaged"),
    (archive({"data.pkl": b"\x80\x02K"}), pickle.UnpicklingError, "damaged"),
    (archive({"data.pkl": b""}), pickle.UnpicklingError, "damaged|early"),
    (archive({"other": b""}), RuntimeError, "no data.pkl"),
    (archive({"data.pkl": b"\x80\x02N.", "code/x.py": b""}), RuntimeError, "TorchScript"),
    (archive({"data.pkl": b"\x80\x02N." + bytes(10_000)}, compression=zipfile.ZIP_DEFLATED), RuntimeError, "compressed"),
    (archive({"data.pkl": b"\x80\x02N.", "byteorder": b"middle"}), RuntimeError, "unknown byte order"),
    (io.BytesIO(b""), EOFError, "empty"),
    (io.BytesIO(b"not a checkpoint"), pickle.UnpicklingError, "not a file that save wrote"),
    (io.BytesIO(b"PK\x03\x04 and then nothing"), RuntimeError, "can't be read as an archive"),
    (io.BytesIO(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.rest"), RuntimeError, "before version 1.6"),
    (io.BytesIO(pickle.dumps([1])), pickle.UnpicklingError, "not a file that save wrote"),
])
@pytest.mark.parametrize("weights_only", [True, False])
def test_hostile_files(stream: io.BytesIO, error: type[Exception], text: str, weights_only: bool) -> None:
    stream.seek(0)
    with pytest.raises(error, match=text):
        serialization.load(stream, weights_only=weights_only)


def test_two_folders_and_double_records() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("a/data.pkl", b"\x80\x02N.")
        z.writestr("b/data.pkl", b"\x80\x02N.")
    with pytest.raises(RuntimeError, match="one top folder"):
        serialization.load(stream_at_start(stream))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("a/data.pkl", b"\x80\x02N.")
        z.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(RuntimeError, match="twice"):
        serialization.load(stream_at_start(stream))


def stream_at_start(stream: io.BytesIO) -> io.BytesIO:
    stream.seek(0)
    return stream


class OnlyReads:
    """A file with read, seek and tell, and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self.read, self.seek, self.tell = self._stream.read, self._stream.seek, self._stream.tell


class OnlyReadsForward:
    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("kind", [OnlyReads, OnlyReadsForward])
def test_plain_streams(kind: Any) -> None:
    data = saved(cltorch.arange(1000)).getvalue()
    assert serialization.load(kind(data)).tolist() == list(range(1000))


def test_a_wrong_checksum_is_found() -> None:
    data = bytearray(saved(cltorch.ones(100)).getvalue())
    data[data.index(np.ones(100, np.float32).tobytes()) + 50] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        serialization.load(io.BytesIO(bytes(data)))


def test_every_truncation_is_an_error() -> None:
    whole = saved({"w": cltorch.arange(100), "b": [1, 2, 3]}).getvalue()
    for end in range(0, len(whole), 37):
        with pytest.raises((RuntimeError, EOFError)):
            serialization.load(io.BytesIO(whole[:end]))


def test_random_damage_never_does_worse_than_an_error() -> None:
    whole, rng = saved({"w": cltorch.arange(20), "b": [1, "x", (2.5, None)]}).getvalue(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(0, 256)
        try:
            serialization.load(io.BytesIO(bytes(damaged)))
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            continue


def test_random_pickles_never_do_worse_than_an_error() -> None:
    with zipfile.ZipFile(saved({"w": cltorch.arange(20), "b": [1, "x", (2.5, None)], "n": np.arange(3)})) as z:
        whole, storage, rng = z.read("archive/data.pkl"), z.read("archive/data/0"), np.random.default_rng(1)
    for _ in range(2000):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
        try:
            serialization.load(archive({"data.pkl": bytes(damaged), "data/0": storage}))
        except (RuntimeError, pickle.UnpicklingError):
            continue


def test_big_endian() -> None:
    values = np.array([[1.5, -2.0], [3.0, 4.0]], np.float32)
    stream = archive({"data.pkl": zipfile.ZipFile(tensor_program()).read("archive/data.pkl"), "byteorder": b"big", "data/0": values.astype(">f4").tobytes()})
    assert serialization.load(stream).tolist() == values.tolist()


@pytest.mark.parametrize("call, error, text", [
    (lambda: serialization.save(lambda: 1, io.BytesIO()), pickle.PicklingError, "save: .*top level of a module"),
    (lambda: serialization.save(1, "/no/such/folder/x.pt"), RuntimeError, "parent directory /no/such/folder does not exist"),
    (lambda: serialization.save(1, io.BytesIO(), pickle_module=json_like), ValueError, "pickle_module can't be replaced"),
    (lambda: serialization.save(1, io.BytesIO(), _use_new_zipfile_serialization=False), ValueError, "before PyTorch 1.6"),
    (lambda: serialization.load(3), TypeError, "expected a path or a binary file opened for reading, got int"),
    (lambda: serialization.load("/no/such/file.pt"), FileNotFoundError, "no/such/file"),
    (lambda: serialization.load(at_the_end()), EOFError, r"seek\(0\)"),
])
def test_wrong_calls(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


class json_like:  # noqa: N801 - stands for a module
    pass


def at_the_end() -> io.BytesIO:
    stream = saved(1)
    stream.seek(0, os.SEEK_END)
    return stream


def test_non_leaf_tensors_are_saved_as_values() -> None:
    x = cltorch.ones(2, requires_grad=True)
    y = again(x * 2)
    assert (y.tolist(), y.is_leaf, y.requires_grad) == ([2.0, 2.0], True, True)
