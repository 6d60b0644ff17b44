"""Layers, losses, containers, initialisation and their helpers, under PyTorch's names."""
from __future__ import annotations

from . import functional, init, modules, parameter, utils
from .parameter import Buffer, Parameter

globals().update(modules.layers())
__all__ = ["Buffer", "Parameter", "functional", "init", "modules", "parameter", "utils", *modules.__all__]
