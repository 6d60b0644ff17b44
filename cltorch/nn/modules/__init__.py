"""All layers. A name appears here because its module defines a public subclass of Module whose function ``nn.functional`` has."""
from __future__ import annotations

from types import ModuleType

from .. import functional
from . import (
    activation,
    batchnorm,
    container,
    conv,
    distance,
    dropout,
    flatten,
    fold,
    linear,
    loss,
    module,
    multihead,
    normalization,
    padding,
    pixelshuffle,
    pooling,
    sparse,
    transformer,
    upsampling,
)
from .module import Described, Module

FAMILIES: tuple[ModuleType, ...] = (
    module, linear, activation, multihead, container, conv, pooling, padding, batchnorm, normalization, dropout, sparse, flatten,
    distance, loss, pixelshuffle, fold, upsampling, transformer)


def layers() -> dict[str, type[Module]]:
    """Every public layer by name."""
    found: dict[str, type[Module]] = {}
    for family in FAMILIES:
        for name, value in vars(family).items():
            own = isinstance(value, type) and issubclass(value, Module) and value.__module__ == family.__name__
            if own and not name.startswith("_") and value is not Described:
                if value._function is None or hasattr(functional, value._function):
                    found[name] = value
    return found


globals().update(layers())
__all__ = sorted(layers())
