"""cltorch: PyTorch's Python API on any device with an OpenCL driver. Use it as ``import cltorch as torch``."""
from . import accelerator, autograd, backends, compiler, cuda, fft, linalg, nn, ops, optim, serialization, special, testing, utils
from . import dtype as _dtypes
from .compiler import compile
from .core.data import (
    as_tensor,
    from_dlpack,
    from_numpy,
    get_default_device,
    is_tensor,
    legacy_constructors,
    tensor,
)
from .core.modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .core.pointwise import result_type
from .core.printing import get_printoptions, printoptions, set_printoptions
from .core.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from .core.tensor import Tensor
from .dtype import (
    bfloat16,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from .dtype import bool_ as bool
from .ops import registry as _registry
from .runtime.spec import device, set_default_device
from .serialization import load, save
from .shape import Size, broadcast_shapes

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
inf, nan, pi, e = _dtypes.np.inf, _dtypes.np.nan, _dtypes.np.pi, _dtypes.np.e
strided, contiguous_format, preserve_format = "torch.strided", "torch.contiguous_format", "torch.preserve_format"
__version__ = "0.1.0"
globals().update(legacy_constructors(), **_registry.functions("torch"))
