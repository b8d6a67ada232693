"""What a network's configuration allows: attention kernel, tree layout, prompt length.

Everything here reads the configuration alone, before or beside the weights.
"""

from __future__ import annotations

from typing import Any, Literal

from safebench.errors import ModelError, OptionError

TreeLayout = Literal["tree", "rows"]

MAX_AUTO_PROMPT_TOKENS = 8192  # the limit of max_length=0, whatever a model could take
_LOCAL_ATTENTION = frozenset({"sliding_attention", "chunked_attention"})
_ATTENTION_LAYERS = _LOCAL_ATTENTION | {"full_attention"}


def pick_attention(requested: str, config: Any) -> str:
    """Return the attention kernel; "auto" is sdpa where the model can use it."""
    if requested != "auto":
        return requested
    text = config.get_text_config()
    # Only the eager kernel soft-caps attention scores, as Gemma 2 needs.
    if getattr(text, "attn_logit_softcapping", None) or not _takes_sdpa(config):
        return "eager"
    return "sdpa"


def pick_tree_layout(requested: str, config: Any) -> TreeLayout:
    """Return how a tree goes through the network.

    "auto" is ``tree``, one row a prompt, unless the kernel takes no mask or a layer
    sees only part of the row: positions of a tree are not those of a sequence.
    """
    if requested == "rows" or (requested == "auto" and _needs_row_layout(config)):
        return "rows"
    return "tree"


def supports_custom_masks(config: Any) -> bool:
    """Tell whether the attention kernel takes a mask from outside."""
    kernel = getattr(config, "_attn_implementation", None) or "sdpa"
    return "flash" not in str(kernel)


def has_local_attention(config: Any) -> bool:
    """Tell whether some layers see only the nearest tokens."""
    text = config.get_text_config()
    layers = _layer_types(text)
    if layers:
        return bool(layers & _LOCAL_ATTENTION)
    return _slides(text) and bool(getattr(text, "sliding_window", None))


def _needs_row_layout(config: Any) -> bool:
    return has_local_attention(config) or not supports_custom_masks(config)


def refuse_recurrent(config: Any, label: str) -> None:
    """Raise ModelError for models with layers that are not attention.

    A tree mask can hide one branch from another only in attention; a recurrent state
    would mix them.
    """
    unsupported = sorted(_layer_types(config.get_text_config()) - _ATTENTION_LAYERS)
    if unsupported or config.is_encoder_decoder:
        kind = unsupported[0] if unsupported else "encoder-decoder"
        raise ModelError(
            f"model {label!r} has {kind} layers; "
            "only decoders with plain attention can be read as a tree"
        )


def max_prompt_tokens(
    requested: int, answer: int, config: Any, *, windows: bool = True
) -> int:
    """Return the longest prompt, in tokens, that leaves room for `answer` more.

    `requested` 0 is what the model takes, at most `MAX_AUTO_PROMPT_TOKENS`; with
    `windows` no more than the narrowest layer sees. Raises OptionError for a request
    that the model cannot take.
    """
    context = _context_length(config.get_text_config(), windows)
    if context and answer >= context:
        raise OptionError(
            f"this model takes {context} tokens, and its answer, with what it reasons, "
            f"may have {answer}: none is left for a prompt; a smaller reasoning_tokens "
            "or max_new_tokens would work"
        )
    if context and requested > context - answer:
        raise OptionError(
            f"max_length={requested}: this model takes {context} tokens, {answer} of "
            f"them for the answer; {context - answer} would work"
        )
    if requested or not context:
        return requested or MAX_AUTO_PROMPT_TOKENS
    return min(MAX_AUTO_PROMPT_TOKENS, context - answer)


def _context_length(text: Any, windows: bool) -> int:
    """Return how many tokens fit, with `windows` into every layer's; 0: unknown."""
    limits = [getattr(text, "max_position_embeddings", None)]
    layers = _layer_types(text)
    if windows and ("sliding_attention" in layers or (not layers and _slides(text))):
        limits.append(getattr(text, "sliding_window", None))
    if windows and "chunked_attention" in layers:
        limits.append(getattr(text, "attention_chunk_size", None))
    return min((limit for limit in limits if limit), default=0)


def _takes_sdpa(config: Any) -> bool:
    """Tell whether a class of models has that kernel; attention sinks do not go in."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        network = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except KeyError:  # a class of the model's own code: loading will tell
        return True
    return bool(getattr(network, "_supports_sdpa", True))


def _layer_types(text: Any) -> set[str]:
    return set(getattr(text, "layer_types", None) or ())


def _slides(text: Any) -> bool:
    # Qwen 2 stores a window that another field turns off.
    return bool(getattr(text, "use_sliding_window", True))
