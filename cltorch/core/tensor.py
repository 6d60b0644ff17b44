"""The Tensor: (storage, dtype, shape, strides, offset), its attributes and its host data. Operators are attached by the registry."""
from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..dtype import bfloat16, dtype
from ..dtype import decode as decode_bits
from ..runtime.device import Device
from ..runtime.spec import device
from ..shape import Size, contiguous_strides, extent, is_contiguous, normalize_dim
from .lazy import realize
from .modes import modes
from .storage import Storage, Value

TYPE_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "uint8": "Byte", "int8": "Char",
              "int16": "Short", "int32": "Int", "int64": "Long", "bool": "Bool", "complex64": "ComplexFloat", "complex128": "ComplexDouble"}
_new = object.__new__


class Tensor:
    """A multi-dimensional array of one dtype on one device.

    Attributes: ``shape`` (Size), ``dtype``, ``device``, ``requires_grad``, ``grad``, ``grad_fn``, ``is_leaf``, ``T``, ``data``.
    Made by creation functions (``tensor``, ``zeros``, ``randn``, ...). The constructor takes sizes, or a sequence of numbers, and
    gives a tensor of the default type.
    """

    storage: Storage
    dtype: dtype
    shape: Size
    _strides: tuple[int, ...]
    offset: int
    _dev: Device
    plain: bool  # contiguous, at the storage's start, and all of it: element i of the tensor is element i of the value
    _rg = False
    _fn: Any = None
    output_nr = 0
    _grad: Tensor | None = None
    _base: Tensor | None = None
    _view: Any = None  # for a view: remakes its gradient edge after its base was written in place
    _generation = 0
    _views: list | None = None  # weak references to views made while this tensor required no gradient
    _hooks: dict | None = None
    _retains = False
    layout = "torch.strided"
    is_sparse = is_quantized = is_meta = is_nested = False
    names = None
    __array_priority__ = 1000

    # attributes

    @property
    def device(self) -> device:
        return self._dev.spec

    @property
    def requires_grad(self) -> bool:
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        if not value and self._fn is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                               "subgraph that doesn't require differentiation use var_no_grad = var.detach().")
        self._rg = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    @property
    def grad_fn(self) -> Any:
        return self._fn

    @property
    def is_leaf(self) -> bool:
        return self._fn is None

    @property
    def retains_grad(self) -> bool:
        return self._retains

    @property
    def grad(self) -> Tensor | None:
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
            if value.shape != self.shape:
                raise RuntimeError(f"assigned grad has data of a different size: {list(value.shape)} where {list(self.shape)} is needed")
            if value.dtype is not self.dtype:
                raise RuntimeError(f"assigned grad has data of a different type: {value.dtype} where {self.dtype} is needed")
            if value._dev is not self._dev:
                raise RuntimeError(f"assigned grad has data located on a different device: {value.device} where {self.device} is needed")
        self._grad = value

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    ndimension = dim

    def numel(self) -> int:
        return self.shape.numel()

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[normalize_dim(dim, len(self.shape))]

    def stride(self, dim: int | None = None) -> Any:
        return self._strides if dim is None else self._strides[normalize_dim(dim, len(self.shape))]

    def storage_offset(self) -> int:
        return self.offset

    def untyped_storage(self) -> Storage:
        return self.storage

    def element_size(self) -> int:
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self.dtype.itemsize

    def is_contiguous(self) -> bool:
        return self.plain or is_contiguous(self.shape, self._strides)

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    @property
    def is_cuda(self) -> bool:
        return self._dev.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self._dev.type == "cpu"

    def get_device(self) -> int:
        return self._dev.index if self.is_cuda else -1

    @property
    def _version(self) -> int:
        return self.storage.version

    def data_ptr(self) -> int:
        """The address on "cpu"; on other devices a number that identifies the memory (equal for tensors that share a start)."""
        block = realize(self.storage.value)
        start = block.host.ctypes.data if block.host is not None else block.mem.int_ptr
        return start + self.offset * self.dtype.itemsize

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        self.storage, self.dtype, self.shape, self._strides = other.storage, other.dtype, other.shape, other._strides
        self.offset, self._dev, self.plain = other.offset, other._dev, other.plain

    def detach(self) -> Tensor:
        """The same memory, out of the graph."""
        return alias(self, self.shape, self._strides, self.offset)

    def detach_(self) -> Tensor:
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead")
        self._fn, self._rg, self.output_nr = None, False, 0
        return self

    # host data

    def _host(self) -> np.ndarray:
        """A host copy of the elements as stored bits (bfloat16: uint16), in the tensor's shape. Waits for the device."""
        count = extent(self.shape, self._strides)
        if count == 0:
            return np.empty(self.shape, self.dtype.np)
        size = self.dtype.itemsize
        dev, block = self._dev, realize(self.storage.value)
        if block.host is not None:
            raw = dev.host_view(block)[self.offset * size:(self.offset + count) * size].view(self.dtype.np)
            return np.lib.stride_tricks.as_strided(raw, self.shape, [s * size for s in self._strides]).copy()
        raw = dev.read(block.mem, count * size, self.offset * size).view(self.dtype.np)
        return np.lib.stride_tricks.as_strided(raw, self.shape, [s * size for s in self._strides]).copy() if not self.plain \
            else raw.reshape(self.shape)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The data as a NumPy array that shares memory with a "cpu" tensor. Raises TypeError for other devices and for bfloat16, RuntimeError
        where a gradient is required; ``force=True`` detaches and copies to the host first."""
        if force:
            return np.asarray(decode_bits(self._host(), self.dtype), order="C")
        if self._rg and modes.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.is_cuda:
            raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
        if self.dtype is bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16: NumPy has no such type; use .float() first")
        storage = self.storage
        block = realize(storage.value)
        if block.host is None:
            return self._host()
        if not storage.shared:
            isolate(storage)
            block = storage.value.block
            storage.shared = True
        block.pin()
        size = self.dtype.itemsize
        count = extent(self.shape, self._strides)
        raw = self._dev.host_view(block)[self.offset * size:(self.offset + count) * size].view(self.dtype.np)
        if self.plain and count:
            return raw.reshape(self.shape)
        return np.lib.stride_tricks.as_strided(raw, self.shape, [s * size for s in self._strides])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def item(self) -> Any:
        """The one element as a Python number. RuntimeError where there is not exactly one."""
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return decode_bits(self._host().reshape(1), self.dtype)[0].item()

    def tolist(self) -> Any:
        """The elements as (nested lists of) Python numbers."""
        return decode_bits(self._host(), self.dtype).tolist()

    def __bool__(self) -> bool:
        if self.numel() != 1:
            amount = "no values" if self.numel() == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {amount} is ambiguous")
        return bool(self.item())

    def __float__(self) -> float:
        return self._number(float)

    def __int__(self) -> int:
        return self._number(int)

    def __complex__(self) -> complex:
        return self._number(complex)

    def _number(self, kind: Any) -> Any:
        if self.numel() != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, this one has {self.numel()}")
        value = self.item()
        if isinstance(value, complex) and kind is not complex:
            if value.imag:
                raise RuntimeError(f"value cannot be converted to type {kind.__name__} without overflow: {value} has an imaginary part")
            value = value.real
        return kind(value)

    def __index__(self) -> int:
        if self.numel() != 1 or not (self.dtype.is_integral or self.dtype.name == "bool"):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __hash__(self) -> int:
        return id(self)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__})


def make(storage: Storage, dtype: dtype, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, plain: bool) -> Tensor:
    """A tensor over a storage, without a gradient."""
    t = _new(Tensor)
    t.storage = storage
    t.dtype = dtype
    t.shape = shape if type(shape) is Size else Size(shape)
    t._strides = strides
    t.offset = offset
    t._dev = storage.device
    t.plain = plain
    return t


def alias(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, d: dtype | None = None) -> Tensor:
    """Another tensor over the same storage, without a gradient and without being a differentiable view."""
    d = d or t.dtype
    shape = Size(shape)
    plain = offset == 0 and shape.numel() * d.itemsize == t.storage.nbytes and is_contiguous(shape, strides) and d is t.storage.value.dtype
    return make(t.storage, d, shape, strides, offset, plain)


def fresh(value: Value, d: dtype, shape: tuple[int, ...], dev: Device) -> Tensor:
    """A contiguous tensor with a storage of its own over a value. Without OpenCL an operator on it runs, and so raises, at once."""
    return make(Storage(value, dev, value.numel * d.itemsize, dev.cl_device is None), d, shape, contiguous_strides(shape), 0, True)


def empty(shape: tuple[int, ...], d: dtype, dev: Device) -> Tensor:
    """A contiguous tensor with uninitialised elements."""
    shape = Size(shape)
    n = shape.numel()
    dev.require(d)
    return fresh(Value(dev.allocator.allocate(n * d.itemsize), dev, d, n), d, shape, dev)


def unique(storage: Storage, known: int = 0) -> bool:
    """Whether nobody but this storage (and ``known`` references of the caller's) holds its value: then it may be written in place."""
    return sys.getrefcount(storage.value) <= UNIQUE + known


def isolate(storage: Storage) -> None:
    """Gives the storage a realised value of its own: pending readers of the old one keep what they recorded (copy on write)."""
    block = realize(storage.value)
    if storage.shared or unique(storage):
        return
    old, dev = storage.value, storage.device
    copied = dev.allocator.allocate(storage.nbytes)
    if storage.nbytes:
        dev.copy(copied.mem, block.mem, storage.nbytes, 0, 0)
    storage.value = Value(copied, dev, old.dtype, old.numel)


def _calibrate() -> int:
    storage = Storage(Value(None, None, None, 0), None, 0)  # type: ignore[arg-type]  # kept alive: its own reference counts
    return sys.getrefcount(storage.value)


UNIQUE = _calibrate()  # references to the value of a storage that nobody but this storage holds, and a function's that asks
