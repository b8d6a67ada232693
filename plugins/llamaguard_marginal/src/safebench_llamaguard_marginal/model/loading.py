"""Loading of a guard: network, adapter, tokenizer and prompt format, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError
from safebench.torch_utils import (
    ModelFolder,
    Placement,
    model_load_errors,
    quiet_transformers,
)
from safebench_llamaguard_marginal.engines.catalog import HF
from safebench_llamaguard_marginal.profile.resolve import (
    GENERAL_PROFILES,
    resolve_profile,
    shipped_profile,
    with_defaults,
)
from safebench_llamaguard_marginal.prompt.profile_format import (
    formats_by_criterion,
    guard_prompt_format,
)
from safebench_llamaguard_marginal.prompt.prompt_builder import shared_prefixes
from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

from .adapter import (
    apply_adapter,
    base_note,
    load_guard_tokenizer,
    tokenizer_above_note,
)
from .architecture import pick_attention, pick_tree_layout, refuse_recurrent
from .hf_model import HfModel
from .model_files import is_embedded, locate_model
from .token_bytes import token_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.policies import Policy
    from safebench_llamaguard_marginal.options import GuardOptions
    from safebench_llamaguard_marginal.profile.resolve import Profile
    from safebench_llamaguard_marginal.prompt.prompt_format import PromptFormat

# These end a verdict wherever the tokenizer has them, even if no configuration says so.
_END_TOKENS = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<end_of_turn>", "</s>")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardParts:
    """What is known of a guard wherever its network runs."""

    label: str
    tokenizer: Any
    encoder: PromptEncoder
    prompt_format: PromptFormat
    policy: Policy
    profile: Profile
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedGuard(GuardParts):
    """A guard whose network is ready to run."""

    model: HfModel


def load_guard(
    options: GuardOptions,
    *,
    form: str = "",
    network_options: Mapping[str, Any] | None = None,
) -> LoadedGuard:
    """Load the guard that the options name; raises ModelError or OptionError.

    `network_options` go to the library that loads the network (a quantization, for
    one), and `form` names them behind the model's name.
    """
    if options.runs_on != HF:
        raise OptionError(
            f"engine={options.runs_on}: the network itself is needed here; engine={HF} "
            "loads it"
        )
    options = with_defaults(options, resolve_profile(options))
    source = locate_model(options.model, options.revision)
    adapter = locate_model(options.adapter, kind="adapter") if options.adapter else None
    # Before gigabytes are read: another base is refused.
    notes = [base_note(adapter, source), tokenizer_above_note(adapter)]
    placement = Placement.choose(options.device, options.dtype)
    hint = "; reinstall this plugin" if is_embedded(source) else ""
    with quiet_transformers(), model_load_errors(source.label, hint=hint):
        tokenizer = load_guard_tokenizer(source, adapter)
        network = _load_network(source, placement, options, network_options)
    if adapter:
        network = apply_adapter(network, adapter, tokenizer)
    placement.limit_threads(network)
    encoder = PromptEncoder(tokenizer)
    profile, policy, prompt_format = pick_prompt(options, tokenizer, source.label)
    model = HfModel(
        network,
        token_bytes(tokenizer, _vocabulary_size(network, tokenizer, source.label)),
        end_token_ids(network, tokenizer, adapter),
        [
            prefix
            for criterion_format in formats_by_criterion(prompt_format).values()
            for prefix in shared_prefixes(criterion_format, encoder)
        ],
        pick_tree_layout(options.layout, network.config),
    )
    label = source.label + form
    if adapter:
        label += f" + {adapter.label}"
    return LoadedGuard(
        label=label,
        tokenizer=tokenizer,
        encoder=encoder,
        prompt_format=prompt_format,
        policy=policy,
        profile=profile,
        model=model,
        notes=tuple(filter(None, notes)),
    )


def pick_prompt(
    options: GuardOptions, tokenizer: Any, label: str
) -> tuple[Profile, Policy, PromptFormat]:
    """Return how the guard that the options name is asked, and by which policy."""
    profile = resolve_profile(options)
    policy = profile.policy(options.policy)
    prompt_format = guard_prompt_format(
        profile,
        tokenizer,
        policy,
        label,
        requested=options.format if options.profile == "auto" else options.profile,
        criteria=options.criteria,
    )
    if profile.where in GENERAL_PROFILES and prompt_format.name in GENERAL_PROFILES:
        profile = shipped_profile(prompt_format.name)  # as the template turned out
    return profile, policy, prompt_format


def end_token_ids(
    network: Any, tokenizer: Any, adapter: ModelFolder | None = None
) -> frozenset[int]:
    """Return every id that ends an answer: those of all configurations together.

    Checkpoints disagree: one names a single end in its config, and three in its
    generation config. An adapter may have been trained to end in another way.
    """
    generation = getattr(network, "generation_config", None)
    ends: set[int] = set()
    for config in (network.config, generation, tokenizer):
        eos = getattr(config, "eos_token_id", None)  # an id, several, or None
        ends.update([eos] if isinstance(eos, int) else eos or ())
    if adapter and (adapter.folder / "generation_config.json").is_file():
        eos = adapter.read_json("generation_config.json").get("eos_token_id")
        own = eos if isinstance(eos, list) else [] if eos is None else [eos]
        if not all(type(i) is int and 0 <= i < len(tokenizer) for i in own):
            raise ModelError(
                f"adapter {adapter.label!r}: generation_config.json: eos_token_id "
                f"{eos!r} names no tokens of {len(tokenizer)}"
            )
        ends.update(own)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    ends.update(i for i, token in added.items() if token.content in _END_TOKENS)
    return frozenset(ends)


def _load_network(
    source: ModelFolder,
    placement: Placement,
    options: GuardOptions,
    network_options: Mapping[str, Any] | None,
) -> Any:
    config, device = source.config(), placement.device
    refuse_recurrent(config, source.label)
    arguments = {
        "dtype": placement.dtype,
        "attn_implementation": pick_attention(options.attention, config),
        "device_map": None if device.type == "cpu" else {"": device},
        **(network_options or {}),
    }
    network = source.network(
        "causal_lm", headless_hint="; it is no whole causal language model", **arguments
    )
    if options.dtype == "float64" and hasattr(network, "set_experts_implementation"):
        # grouped kernels of mixtures of experts have no such number format
        network.set_experts_implementation("eager")
    drop_image_layers(network)
    return network


def drop_image_layers(network: Any) -> None:
    """Drop the layers that attend to an image alone (Mllama: Llama Guard 3 11B-Vision).

    Without an image the library skips them, so that no text is read in another way; but
    they leave holes among the keys and values, which no layout of a tree has.
    """
    from torch.nn import ModuleList

    for decoder in network.modules():
        image_layers = getattr(decoder, "cross_attention_layers", None)
        if not image_layers or not isinstance(decoder.layers, ModuleList):
            continue
        kept = [x for i, x in enumerate(decoder.layers) if i not in image_layers]
        for index, layer in enumerate(kept):
            attention: Any = layer.self_attn
            attention.layer_idx = index  # its place in the cache
        decoder.layers, decoder.cross_attention_layers = ModuleList(kept), []


def _vocabulary_size(network: Any, tokenizer: Any, label: str) -> int:
    size = int(network.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > size:
        raise ModelError(
            f"model {label!r}: the tokenizer has {len(tokenizer)} tokens, the model "
            f"{size}; they belong to different models"
        )
    # A token for an image is read and never written: it has no logit.
    return min(size, getattr(network.get_output_embeddings(), "out_features", size))
