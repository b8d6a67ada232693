"""Load a guard: its network, tokenizer, layout and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers

from safebench.errors import ModelError
from safebench.neural.device import choose_threads, pick_device, pick_dtype
from safebench.neural.loading import load_tokenizer, one_line, quiet
from safebench.policies import load_policy

from .attention import pick_attention, pick_layout
from .hf_model import HfModel
from .layouts import pick_layout as pick_prompt_layout
from .layouts import shared_prefixes
from .limits import refuse_recurrent
from .locate import EMBEDDED, locate
from .tokens import Encoder
from .vocabulary import token_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from safebench.policies import Policy

    from .options import GuardOptions
    from .prompts import Layout

# Either may end a verdict, whatever a checkpoint's generation_config says.
_ENDINGS = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<end_of_turn>", "</s>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard that is ready to be asked."""

    label: str
    tokenizer: Any
    encoder: Encoder
    layout: Layout
    policy: Policy
    model: HfModel


def load_guard(options: GuardOptions) -> Guard:
    """Load what the options name; raises ModelError or OptionError in one line."""
    policy = load_policy(options.policy)
    found = locate(options.model, options.revision)
    device = pick_device(options.device)
    hint = "; reinstall this plugin" if found.label == EMBEDDED else ""
    with quiet(), one_line(found.label, hint=hint):
        tokenizer = load_tokenizer(found.folder, found.label)
        network = _load_network(found.folder, found.label, device, options)
    if options.adapter:
        network = _with_adapter(network, options.adapter)
    choose_threads(network, device)
    encoder = Encoder(tokenizer)
    layout = pick_prompt_layout(options.format, tokenizer, policy, found.label)
    model = HfModel(
        network,
        token_bytes(tokenizer, _vocabulary_size(network, tokenizer, found.label)),
        end_tokens(network, tokenizer),
        shared_prefixes(layout, encoder),
        pick_layout(options.layout, network.config),
    )
    label = found.label
    if options.adapter:
        label += f" + {locate(options.adapter, what='adapter').label}"
    return Guard(
        label=label,
        tokenizer=tokenizer,
        encoder=encoder,
        layout=layout,
        policy=policy,
        model=model,
    )


def end_tokens(network: Any, tokenizer: Any) -> frozenset[int]:
    """Return every id that ends an answer: those of all configurations together."""
    generation = getattr(network, "generation_config", None)
    ends: set[int] = set()
    for source in (network.config, generation, tokenizer):
        found = getattr(source, "eos_token_id", None)
        ends.update([found] if isinstance(found, int) else found or ())
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    ends.update(i for i, token in added.items() if token.content in _ENDINGS)
    return frozenset(ends)


def _load_network(
    folder: Path, label: str, device: torch.device, options: GuardOptions
) -> Any:
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    refuse_recurrent(config, label)
    load: Any = transformers.AutoModelForCausalLM.from_pretrained
    network, report = load(
        folder,
        config=config,
        dtype=pick_dtype(options.dtype, device),
        attn_implementation=pick_attention(options.attention, config),
        device_map=None if device.type == "cpu" else {"": device},
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {label!r}: {len(missing)} weights are not in its files, first "
            f"{missing[0]}; it is no whole causal language model"
        )
    return network


def _with_adapter(network: Any, adapter: str) -> Any:
    import peft

    found = locate(adapter, what="adapter")
    with quiet(), one_line(found.label, "adapter"):
        wrapped = peft.PeftModel.from_pretrained(network, found.folder)
    if wrapped.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"adapter {found.label!r} is a soft prompt; "
            "only adapters of the weights (LoRA and the like) are supported"
        )
    return wrapped.get_base_model()


def _vocabulary_size(network: Any, tokenizer: Any, label: str) -> int:
    size = int(network.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > size:
        raise ModelError(
            f"model {label!r}: the tokenizer has {len(tokenizer)} tokens, the model "
            f"{size}; they belong to different models"
        )
    return size
