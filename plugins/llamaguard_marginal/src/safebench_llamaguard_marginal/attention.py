"""Which kernel a network runs, and whether it takes a mask for a whole tree."""

from __future__ import annotations

from typing import Any, Literal

Layout = Literal["tree", "rows"]
_LIMITED = frozenset({"sliding_attention", "chunked_attention"})


def pick_attention(wanted: str, config: Any) -> str:
    """Return the attention kernel; "auto" is sdpa where the model can use it."""
    if wanted != "auto":
        return wanted
    text = config.get_text_config()
    # Soft-capped attention scores (Gemma 2) exist in the eager kernel alone.
    return "eager" if getattr(text, "attn_logit_softcapping", None) else "sdpa"


def pick_layout(wanted: str, config: Any) -> Layout:
    """Return the layout; "auto" is the tree unless the network cannot be read so."""
    if wanted == "rows" or (wanted == "auto" and _needs_rows(config)):
        return "rows"
    return "tree"


def takes_masks(config: Any) -> bool:
    """Tell whether the attention kernel takes a mask of one's own."""
    kernel = getattr(config, "_attn_implementation", None) or "sdpa"
    return "flash" not in str(kernel)


def has_windows(config: Any) -> bool:
    """Tell whether some layers see only the nearest tokens."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds:
        return bool(kinds & _LIMITED)
    slides = getattr(text, "use_sliding_window", True)
    return bool(slides and getattr(text, "sliding_window", None))


def _needs_rows(config: Any) -> bool:
    return has_windows(config) or not takes_masks(config)
