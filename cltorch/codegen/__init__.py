"""Text in, text out: data types as C types, kernel templates rendered to OpenCL C. One file, compiled.py, imports Mako."""
from .ctypes import CType, by_suffix, ctype
from .declared import broken, constraints, defaults, families, is_template
from .joined import MARKS, Argument, Member, join, joinable
from .templates import TemplateError, complete, kernel_root, library_has, library_names, prelude, render, tunables

__all__ = ["MARKS", "Argument", "CType", "Member", "TemplateError", "broken", "by_suffix", "complete", "constraints", "ctype", "defaults", "families",
           "is_template", "join", "joinable", "kernel_root", "library_has", "library_names", "prelude", "render", "tunables"]
