"""Utilities: ``data``."""
from . import data

__all__ = ["data"]
