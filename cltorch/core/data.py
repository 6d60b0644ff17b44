"""Bringing data in and moving it: ``tensor``, ``from_numpy``, ``to``, ``clone``, ``copy_``, pickling, DLPack. Conversions are recorded operators."""
from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtype as dtypes
from ..dtype import CATEGORY_FLOAT, bool_, dtype, encode, from_numpy_dtype, get_default_dtype
from ..runtime.device import Device, get
from ..runtime.spec import default_device, device
from ..shape import Size, as_shape, contiguous_strides
from . import pointwise
from .autograd import Like, OperatorNode, edge, needs_grad
from .lazy import realize
from .modes import modes
from .pointwise import CONVERT, constant, inplace
from .printing import tensor_repr
from .relayout import tiled_copy
from .storage import Storage, Value, write_bytes
from .tensor import Tensor, empty, fresh, make
from .view import make_alias


def resolve(spec: Any = None) -> Device:
    """The runtime device of a ``device`` argument: None (the default device), a string, an index, a device."""
    if isinstance(spec, Device):
        return spec
    spec = default_device() if spec is None else device(spec)
    return get(spec.type, spec.index)


def get_default_device() -> device:
    """Where tensors go when no device is given."""
    return resolve().spec


def check_dtype(d: Any) -> dtype | None:
    if d is not None and not isinstance(d, dtype):
        raise TypeError(f"dtype must be a torch.dtype, not {type(d).__name__}")
    return d


def _nested_dtype(array: np.ndarray) -> dtype:
    if array.dtype.kind == "f":
        return get_default_dtype()
    if array.dtype.kind == "c":
        return get_default_dtype().to_complex
    if array.dtype.kind == "b":
        return bool_
    return dtypes.int64


def _from_sequence(data: Any) -> tuple[np.ndarray, dtype]:
    """A nested sequence (of numbers, 0-d tensors, arrays) as an array and the type PyTorch infers."""
    typed: list[dtype] = []

    def plain(item: Any) -> Any:
        if isinstance(item, Tensor):
            typed.append(item.dtype)
            return item.tolist()
        if isinstance(item, (np.ndarray, np.generic)):
            typed.append(from_numpy_dtype(item.dtype))
            return item.tolist()
        if isinstance(item, (list, tuple)):
            return [plain(i) for i in item]
        return item

    converted = plain(data) if _holds_typed(data) else data
    try:
        array = np.array(converted)
    except ValueError as error:
        raise ValueError(f"expected sequences of equal length in tensor(): {error}") from error
    if array.size == 0 and array.dtype == np.float64:
        return array, get_default_dtype()
    if array.dtype.kind in "OUS":
        raise _not_numbers(data)
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        raise RuntimeError("Overflow when unpacking long: an integer does not fit into int64")
    inferred = _nested_dtype(array)
    if typed and all(d.category == inferred.category for d in typed):
        inferred = typed[0]
        for d in typed[1:]:
            inferred = dtypes.promote_types(inferred, d)
    return array, inferred


def _holds_typed(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(_holds_typed(i) for i in data[:1]) or any(isinstance(i, (Tensor, np.ndarray, np.generic)) for i in data)
    return isinstance(data, (Tensor, np.ndarray, np.generic))


def _not_numbers(data: Any) -> Exception:
    """PyTorch's error for the first thing in nested sequences that no dtype stores."""
    first = False
    while isinstance(data, (list, tuple)) and data:
        k = next((k for k, i in enumerate(data) if not isinstance(i, (int, float, complex, bool))), 0)
        data, first = data[k], k == 0
    if isinstance(data, int):
        return RuntimeError(f"Overflow when unpacking long: {data} does not fit into int64 (tensor)")
    if isinstance(data, (str, bytes)):
        kind = type(data).__name__
        return ValueError(f"too many dimensions '{kind}': tensor() takes numbers") if first else TypeError(
            f"new(): invalid data type '{kind}': tensor() takes numbers")
    return RuntimeError(f"Could not infer dtype of {type(data).__name__}: tensor() takes numbers and nested sequences of them")


def _check_fits(array: np.ndarray, d: dtype) -> None:
    """Python numbers must fit an integer type asked for; negative ones wrap in an unsigned type, as in PyTorch."""
    if array.dtype.kind == "c" and not (d.is_complex or d is bool_):
        raise TypeError(f"tensor(): must be real number, not complex, for {d}")
    if not d.is_integral or not array.size or array.dtype.kind == "b":
        return
    limits = dtypes.iinfo(d)
    low = limits.min if d.is_signed else -limits.max
    if not (array.min() >= low and array.max() <= limits.max):
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: tensor() got numbers from {array.min()} to {array.max()}")


def tensor(data: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new tensor with a copy of nested sequences, a number, an array or a tensor.

    The type is inferred as PyTorch does: bool, int64, the default float, its complex; NumPy arrays keep theirs. Raises ValueError for
    ragged sequences and text, RuntimeError for other things that are not numbers and for numbers that an integer ``dtype`` can't hold.
    """
    check_dtype(dtype)
    if isinstance(data, Tensor):
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() rather than tensor(sourceTensor).",
                      UserWarning, stacklevel=2)
        out = data.detach().to(dtype=dtype or data.dtype, device=device if device is not None else data.device, copy=True)
    else:
        if isinstance(data, (np.ndarray, np.generic)):
            array, inferred = np.asarray(data), from_numpy_dtype(np.asarray(data).dtype)
        else:
            array, inferred = _from_sequence(data)
            if dtype is not None:
                _check_fits(array, dtype)
        out = _place(array, dtype or inferred, resolve(device))
    if requires_grad:
        out.requires_grad = True
    return out


def _place(array: np.ndarray, d: dtype, dev: Device) -> Tensor:
    out = empty(array.shape, d, dev)
    if array.size:
        if array.dtype.kind == "O":
            raise RuntimeError("value cannot be converted to type int64 without overflow")
        bits = np.ascontiguousarray(encode(array, d)).reshape(-1).view(np.uint8)
        write_bytes(out.storage.value.block, dev, bits)
    return out


def from_numpy(array: np.ndarray) -> Tensor:
    """A "cpu" tensor that shares memory with a NumPy array; operators on it run at once. TypeError for other things and types."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    d = from_numpy_dtype(array.dtype)
    if any(s < 0 for s in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides are not supported. "
                         "Make a copy with array.copy() first.")
    if not array.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order. Conversion between byte orders is not supported.")
    dev = get("cpu", 0)
    strides = tuple(s // d.itemsize for s in array.strides)
    if any(s % d.itemsize for s in array.strides):
        raise ValueError("given numpy array strides not a multiple of the element byte size. Copy array to reallocate the memory.")
    if not array.flags.writeable:
        warnings.warn("The given NumPy array is not writable, and PyTorch does not support non-writable tensors; writing to the tensor "
                      "would be undefined. Copy the array to protect its data.", UserWarning, stacklevel=2)
    if array.size == 0:
        return make(Storage(Value(dev.allocator.allocate(0), dev, d, 0), dev, 0, True), d, array.shape, contiguous_strides(array.shape), 0, True)
    count = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
    flat = np.lib.stride_tricks.as_strided(array, (count,), (d.itemsize,), writeable=array.flags.writeable).view(np.uint8)
    storage = Storage(Value(dev.allocator.wrap(flat), dev, d, count), dev, count * d.itemsize, True)
    return make_alias(storage, d, array.shape, strides if array.ndim else (), 0)


def as_tensor(data: Any, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, sharing memory and autograd history where type and device already fit."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype or data.dtype, device=device if device is not None else data.device)
    if isinstance(data, np.ndarray) and data.dtype.name in dtypes.NAMES and not any(s < 0 for s in data.strides):
        out = from_numpy(data)
        return out if dtype is None and device is None else out.to(dtype=dtype or out.dtype, device=resolve(device).spec)
    return tensor(data, dtype=dtype, device=device)


def move(t: Tensor, dev: Device) -> Tensor:
    """A copy of t on another device, through the host; dtype and shape stay. Recorded."""
    dev.require(t.dtype)
    out = empty(t.shape, t.dtype, dev)
    if t.numel():
        write_bytes(out.storage.value.block, dev, np.ascontiguousarray(t._host()).reshape(-1).view(np.uint8))
    if needs_grad((t,)):
        home = t._dev
        out._fn = OperatorNode("ToCopyBackward0", [edge(t)], {}, [(lambda g: move(g, home), ("g",), None)], [Like(t)])
        out._rg = True
    return out


def to(self: Tensor, *args: Any, dtype: dtype | None = None, device: Any = None, non_blocking: bool = False, copy: bool = False,
       memory_format: Any = None) -> Tensor:
    """``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``: this tensor itself where nothing changes and copy is false."""
    for arg in args:
        if isinstance(arg, dtypes.dtype):
            dtype = arg
        elif isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg._dev
        elif arg is not None and not isinstance(arg, bool):  # a bool is non_blocking, which copies here never are
            device = arg
    dev = self._dev if device is None else resolve(device)
    d = check_dtype(dtype) or self.dtype
    out = self
    if d is not self.dtype:
        dev.require(d)
        shrink = dev is self._dev or d.itemsize <= self.dtype.itemsize
        if not shrink:
            out = move(out, dev)
        out = CONVERT.convert(out, d)
    if out._dev is not dev:
        out = move(out, dev)
    return clone(out) if copy and out is self else out


def clone(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own. Contiguous tensors share the immutable value until one side is written."""
    if not self.plain or self.storage.shared:
        return CONVERT.convert(self, self.dtype)
    out = fresh(self.storage.value, self.dtype, self.shape, self._dev)
    if modes.grad and self._rg:
        pointwise.attach(_CLONE, (self,), (), out)
    return out


class _Clone:
    """The node of ``clone``: the gradient passes."""

    operands, scalars, node_name = ("x",), (), "CloneBackward0"
    gradient = pointwise.Gradient({"x": lambda g: g}, ("x",), ("x",))


_CLONE = _Clone()


def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor where it is contiguous already, else a contiguous copy."""
    if self.is_contiguous():
        return self
    tiled = tiled_copy(self)
    return CONVERT.convert(self, self.dtype) if tiled is None else tiled


def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Writes src (broadcast, converted, moved) into this tensor."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'src' must be Tensor, not {type(src).__name__}")
    moved = move(src, self._dev) if src._dev is not self._dev else src
    if moved.shape != self.shape:
        moved = moved.expand(self.shape)
    if moved.dtype.category > self.dtype.category:
        moved = CONVERT.convert(moved, self.dtype)
    return inplace(self, moved, "copy_")


def fill_(self: Tensor, value: Any) -> Tensor:
    """Writes one number (or 0-d tensor) into every element."""
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {len(value.shape)} dimensions.")
        return copy_(self, value)
    return inplace(self, constant(self.shape, value, self.dtype, self._dev), "fill_")


def zero_(self: Tensor) -> Tensor:
    return fill_(self, 0)


def cpu(self: Tensor) -> Tensor:
    return to(self, device="cpu")


def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """A copy on an OpenCL device (the current one by default)."""
    return to(self, device="cuda" if device is None else device)


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Without an argument PyTorch's type string; with a dtype, a type string or FloatTensor and its like, the converted tensor."""
    if dtype is None:
        return f"torch.{'cuda.' if self.is_cuda else ''}{pointwise.TYPE_NAMES[self.dtype.name]}Tensor"
    if callable(dtype):
        dtype = get_default_dtype() if dtype is Tensor else dtype.dtype
    if isinstance(dtype, str):
        names = {v: k for k, v in pointwise.TYPE_NAMES.items()}
        short = dtype.rsplit(".", 1)[-1].removesuffix("Tensor")
        if short not in names:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = dtypes.NAMES[names[short]]
    return to(self, dtype.dtype if callable(dtype) else dtype)


def _cast(d: dtype, name: str) -> Any:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return self if self.dtype is d else to(self, d)

    method.__name__, method.__doc__ = name, f"This tensor as {d}."
    return method


def reduce_ex(self: Tensor, protocol: Any) -> tuple:
    """Pickling and copying go through the storage's bytes (tied storages are kept apart; use cltorch.save for that)."""
    state = {k: v for k, v in self.__dict__.items() if k not in _STATE}
    if self._fn is not None:
        raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy and pickle protocols at the moment; "
                           "use detach() first.")
    return _rebuild, (type(self), np.ascontiguousarray(self._host()), self.dtype, str(self.device), self._rg, state)


_STATE = frozenset(("storage", "dtype", "shape", "_strides", "offset", "_dev", "plain", "_rg", "_fn", "_base", "_view", "_views", "_generation",
                    "_hooks", "_grad"))


def _rebuild(cls: type, bits: np.ndarray, d: dtype, place: str, requires_grad: bool, state: dict) -> Tensor:
    dev = resolve(place)
    out = empty(bits.shape, d, dev)
    if bits.size:
        write_bytes(out.storage.value.block, dev, bits.reshape(-1).view(np.uint8))
    if cls is not Tensor:
        out = out.as_subclass(cls)
    out._rg = requires_grad
    out.__dict__.update(state)
    return out


def as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same memory as an instance of a Tensor subclass."""
    out: Any = object.__new__(cls)
    out.__dict__.update(self.detach().__dict__)
    return out


def deepcopy(self: Tensor, memo: dict) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if self._fn is not None:
        raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment; use detach() first.")
    with_memory = clone(self.detach())
    out = as_subclass(with_memory, type(self))
    out._rg = self._rg
    extra = {k: v for k, v in self.__dict__.items() if k not in _STATE}
    out.__dict__.update(copy.deepcopy(extra, memo))
    if self._grad is not None:
        out._grad = deepcopy(self._grad, memo)
    memo[id(self)] = out
    return out


def dlpack(self: Tensor, **options: Any) -> Any:
    """DLPack export of a "cpu" tensor, through the NumPy array that shares its memory."""
    if self._rg:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return self.numpy().__dlpack__(**options)


def from_dlpack(external: Any) -> Tensor:
    """A "cpu" tensor over memory that another library exports by DLPack."""
    return from_numpy(np.from_dlpack(external))


def iterate(self: Tensor) -> Any:
    if not self.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter([self[i] for i in range(self.shape[0])])


def contains(self: Tensor, element: Any) -> bool:
    if not isinstance(element, (Tensor, bool, int, float, complex, np.number, np.bool_)):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool((self == element).any())


def _format(self: Tensor, spec: str) -> str:
    return self.item().__format__(spec) if not self.shape and spec else repr(self)


def to_bytes(storage: Storage) -> np.ndarray:
    """A host copy of all the storage's bytes, pending work included."""
    block, dev = realize(storage.value), storage.device
    if storage.nbytes == 0:
        return np.empty(0, np.uint8)
    if block.host is not None:
        return dev.host_view(block)[:storage.nbytes].copy()
    return dev.read(block.mem, storage.nbytes)


def _legacy(d: dtype | None) -> Any:
    def construct(*args: Any, device: Any = None) -> Tensor:
        """PyTorch's old constructor: sizes give uninitialised memory, one sequence gives its numbers."""
        kind = d or get_default_dtype()
        if len(args) == 1 and not isinstance(args[0], (int, Size)):
            return tensor(args[0], dtype=kind, device=device) if not isinstance(args[0], Tensor) else to(args[0], kind)
        return empty(as_shape(args) if args else (0,), kind, resolve(device))

    construct.dtype = d  # type: ignore[attr-defined]  # what Tensor.type(FloatTensor) converts to
    return construct


def _construct(cls: type, *args: Any, device: Any = None) -> Tensor:
    out = _legacy(None)(*args, device=device)
    return out if cls is Tensor else out.as_subclass(cls)


def legacy_constructors() -> dict[str, Any]:
    """FloatTensor, LongTensor, ... by name."""
    return {f"{short}Tensor": _legacy(dtypes.NAMES[name]) for name, short in pointwise.TYPE_NAMES.items() if "Complex" not in short}


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def _attach() -> None:
    for name, d in (("half", dtypes.float16), ("float", dtypes.float32), ("double", dtypes.float64), ("bfloat16", dtypes.bfloat16), ("int", dtypes.int32),
                    ("long", dtypes.int64), ("short", dtypes.int16), ("byte", dtypes.uint8), ("char", dtypes.int8), ("bool", bool_),
                    ("cfloat", dtypes.complex64), ("cdouble", dtypes.complex128)):
        setattr(Tensor, name, _cast(d, name))
    methods: dict[str, Any] = dict(
        to=to, clone=clone, contiguous=contiguous, copy_=copy_, fill_=fill_, zero_=zero_, cpu=cpu, cuda=cuda, type=type_, as_subclass=as_subclass,
        __reduce_ex__=reduce_ex, __deepcopy__=deepcopy, __dlpack__=dlpack, __iter__=iterate, __contains__=contains, __repr__=tensor_repr, __str__=tensor_repr,
        __format__=_format, type_as=lambda self, other: to(self, other.dtype), pin_memory=lambda self: self, share_memory_=lambda self: self,
        is_pinned=lambda self: False, __dlpack_device__=lambda self: (1, 0),
    )
    for name, method in methods.items():
        setattr(Tensor, name, method)
    setattr(Tensor, "__new__", _construct)  # noqa: B010 - see modes.py


_attach()
__all__: Sequence[str] = ("CATEGORY_FLOAT", "Size", "as_tensor", "from_dlpack", "from_numpy", "is_tensor", "resolve", "tensor", "to_bytes")
