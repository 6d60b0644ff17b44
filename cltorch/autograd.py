"""``torch.autograd``: gradients, hand-written Functions, gradient modes and checks."""
from .core.autograd import Node, backward, detect_anomaly, grad, set_detect_anomaly
from .core.function import Function, once_differentiable
from .core.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from .core.tensor import Tensor as Variable
from .testing import gradcheck, gradgradcheck

__all__ = ["Function", "Node", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck", "inference_mode",
           "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled"]
