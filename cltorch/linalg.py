"""``torch.linalg``: the operators that the table puts into this namespace."""
from .ops import registry as _registry

globals().update(_registry.functions("linalg"))
