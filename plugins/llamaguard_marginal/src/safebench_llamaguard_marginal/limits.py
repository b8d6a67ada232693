"""How long a prompt may be, and which models the tree cannot be grown on."""

from __future__ import annotations

from typing import Any

from safebench.errors import ModelError, OptionError

LONGEST = 8192  # tokens that "auto" reads of a prompt, whatever the model could
_ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def refuse_recurrent(config: Any, label: str) -> None:
    """Raise ModelError for models with layers that are not attention.

    A tree mask can hide one branch from another only in attention; a recurrent state
    would mix them.
    """
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    strange = sorted(kinds - _ATTENTION)
    if strange or config.is_encoder_decoder:
        what = strange[0] if strange else "encoder-decoder"
        raise ModelError(
            f"model {label!r} has {what} layers; "
            "only decoders with plain attention can be read as a tree"
        )


def prompt_limit(wanted: int, answer: int, config: Any, *, windows: bool = True) -> int:
    """Return the longest prompt, in tokens, that leaves room for `answer` more.

    0 asks for what the model takes, at most `LONGEST`; with `windows` no more than its
    narrowest layer sees. Raises OptionError for more than the model takes.
    """
    reach = _reach(config.get_text_config(), windows)
    most = min(LONGEST, reach - answer) if reach else LONGEST
    if reach and wanted > reach - answer:
        raise OptionError(
            f"max_length={wanted}: this model takes {reach} tokens, {answer} of them "
            f"for the answer; {reach - answer} would work"
        )
    return wanted or most


def _reach(text: Any, windows: bool) -> int:
    """Return how many tokens fit, with `windows` into every layer's; 0: unknown."""
    limits = [getattr(text, "max_position_embeddings", None)]
    kinds = set(getattr(text, "layer_types", None) or ())
    if windows and ("sliding_attention" in kinds or (not kinds and _slides(text))):
        limits.append(getattr(text, "sliding_window", None))
    if windows and "chunked_attention" in kinds:
        limits.append(getattr(text, "attention_chunk_size", None))
    return min((limit for limit in limits if limit), default=0)


def _slides(text: Any) -> bool:
    return bool(getattr(text, "use_sliding_window", True))
