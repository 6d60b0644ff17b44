"""Text in, text out: data types as C types, kernel templates rendered to OpenCL C. The only package that imports mako."""
from .ctypes import CType, by_suffix, ctype
from .templates import TemplateError, complete, kernel_root, library_has, library_names, prelude, render, tunables

__all__ = ["CType", "TemplateError", "by_suffix", "complete", "ctype", "kernel_root", "library_has", "library_names", "prelude", "render",
           "tunables"]
