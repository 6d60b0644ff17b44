"""nn.functional: every operator that the registry has under this namespace, and multi_head_attention_forward."""
from __future__ import annotations

from ..ops import registry
from .attention import multi_head_attention_forward

_functions = {**registry.functions("functional"), "multi_head_attention_forward": multi_head_attention_forward}
globals().update(_functions)
__all__ = sorted(_functions)
