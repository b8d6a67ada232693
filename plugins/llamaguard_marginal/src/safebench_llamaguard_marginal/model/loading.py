"""Loading of a guard: network, adapter, tokenizer and prompt format, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.policies import load_policy
from safebench.torch_utils import (
    choose_threads,
    load_config,
    load_network,
    model_load_errors,
    pick_device,
    pick_dtype,
    quiet_transformers,
)
from safebench_llamaguard_marginal.prompt.prompt_builder import shared_prefixes
from safebench_llamaguard_marginal.prompt.prompt_format import pick_prompt_format
from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

from .adapter import apply_adapter, load_guard_tokenizer
from .architecture import pick_attention, pick_tree_layout, refuse_recurrent
from .hf_model import HfModel
from .model_files import EMBEDDED_LABEL, locate_model
from .token_bytes import token_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from safebench.policies import Policy
    from safebench_llamaguard_marginal.options import GuardOptions
    from safebench_llamaguard_marginal.prompt.prompt_format import PromptFormat

# These end a verdict wherever the tokenizer has them, even if no configuration says so.
_END_TOKENS = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<end_of_turn>", "</s>")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedGuard:
    """A guard that is ready to run."""

    label: str
    tokenizer: Any
    encoder: PromptEncoder
    prompt_format: PromptFormat
    policy: Policy
    model: HfModel


def load_guard(options: GuardOptions) -> LoadedGuard:
    """Load the guard that the options name; raises ModelError or OptionError."""
    policy = load_policy(options.policy)
    source = locate_model(options.model, options.revision)
    adapter = locate_model(options.adapter, kind="adapter") if options.adapter else None
    device = pick_device(options.device)
    hint = "; reinstall this plugin" if source.label == EMBEDDED_LABEL else ""
    with quiet_transformers(), model_load_errors(source.label, hint=hint):
        tokenizer = load_guard_tokenizer(source, adapter)
        network = _load_network(source.folder, source.label, device, options)
    if adapter:
        network = apply_adapter(network, adapter, tokenizer)
    choose_threads(network, device)
    encoder = PromptEncoder(tokenizer)
    prompt_format = pick_prompt_format(options.format, tokenizer, policy, source.label)
    model = HfModel(
        network,
        token_bytes(tokenizer, _vocabulary_size(network, tokenizer, source.label)),
        end_token_ids(network, tokenizer),
        shared_prefixes(prompt_format, encoder),
        pick_tree_layout(options.layout, network.config),
    )
    label = source.label
    if adapter:
        label += f" + {adapter.label}"
    return LoadedGuard(
        label=label,
        tokenizer=tokenizer,
        encoder=encoder,
        prompt_format=prompt_format,
        policy=policy,
        model=model,
    )


def end_token_ids(network: Any, tokenizer: Any) -> frozenset[int]:
    """Return every id that ends an answer: those of all configurations together.

    Checkpoints disagree: one names a single end in its config, and three in its
    generation config.
    """
    generation = getattr(network, "generation_config", None)
    ends: set[int] = set()
    for config in (network.config, generation, tokenizer):
        eos = getattr(config, "eos_token_id", None)  # an id, several, or None
        ends.update([eos] if isinstance(eos, int) else eos or ())
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    ends.update(i for i, token in added.items() if token.content in _END_TOKENS)
    return frozenset(ends)


def _load_network(
    folder: Path, label: str, device: torch.device, options: GuardOptions
) -> Any:
    config = load_config(folder, label)
    refuse_recurrent(config, label)
    return load_network(
        "causal_lm",
        folder,
        label,
        dtype=pick_dtype(options.dtype, device),
        attn_implementation=pick_attention(options.attention, config),
        device_map=None if device.type == "cpu" else {"": device},
        headless_hint="; it is no whole causal language model",
    )


def _vocabulary_size(network: Any, tokenizer: Any, label: str) -> int:
    size = int(network.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > size:
        raise ModelError(
            f"model {label!r}: the tokenizer has {len(tokenizer)} tokens, the model "
            f"{size}; they belong to different models"
        )
    return size
