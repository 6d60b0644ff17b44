"""``torch.backends``: the switches that scripts set. What has no meaning on OpenCL is accepted and kept, and changes nothing."""
from types import SimpleNamespace

from .runtime.device import devices

cudnn = SimpleNamespace(enabled=False, benchmark=False, deterministic=True, allow_tf32=False, is_available=lambda: False, version=lambda: None)
cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=False), is_built=lambda: False)
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
mkldnn = SimpleNamespace(is_available=lambda: False, enabled=False)
opencl = SimpleNamespace(is_available=lambda: bool(devices()))
