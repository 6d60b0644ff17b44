"""The operators. Every module of this package declares some; importing the package fills the table in registry.py."""
from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(m.name for m in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
