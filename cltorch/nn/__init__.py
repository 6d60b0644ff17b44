"""Layers, losses, containers, initialisation and their helpers, under PyTorch's names."""
from __future__ import annotations

from . import functional, init, modules, parallel, parameter, utils
from .parallel import DataParallel
from .parameter import Buffer, Parameter

globals().update(modules.layers())
__all__ = ["Buffer", "DataParallel", "Parameter", "functional", "init", "modules", "parallel", "parameter", "utils", *modules.__all__]
