"""Text in, text out: data types as C types, kernel templates rendered to OpenCL C. The only package that imports mako."""
from .ctypes import CType, by_suffix, ctype
from .declared import broken, constraints, defaults, families, is_template
from .templates import TemplateError, complete, kernel_root, library_has, library_names, prelude, render, tunables

__all__ = ["CType", "TemplateError", "broken", "by_suffix", "complete", "constraints", "ctype", "defaults", "families", "is_template", "kernel_root",
           "library_has", "library_names", "prelude", "render", "tunables"]
