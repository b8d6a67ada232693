"""A guard whose weights are held in 4 bits (NF4), for GPUs that do not fit it whole."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import transformers

from safebench.errors import ModelError
from safebench.neural.device import pick_device, pick_dtype
from safebench.neural.loading import load_tokenizer
from safebench.policies import load_policy
from safebench_llamaguard_marginal.attention import pick_attention, pick_layout
from safebench_llamaguard_marginal.hf_model import HfModel
from safebench_llamaguard_marginal.layouts import pick_layout as pick_prompt_layout
from safebench_llamaguard_marginal.layouts import shared_prefixes
from safebench_llamaguard_marginal.limits import refuse_recurrent
from safebench_llamaguard_marginal.loading import Guard, end_tokens
from safebench_llamaguard_marginal.locate import locate
from safebench_llamaguard_marginal.tokens import Encoder
from safebench_llamaguard_marginal.vocabulary import token_bytes

from .loading import load_causal, put_adapter

if TYPE_CHECKING:
    import torch

    from safebench_llamaguard_marginal.options import GuardOptions

LIBRARY = "bitsandbytes"
EXTRA = "safebench-feedback-finetune[qlora]"


def load_quantized(options: GuardOptions) -> Guard:
    """Load a guard as `load_guard` does, its linear layers in 4 bits.

    The output layer keeps its precision: the verdict's logits come from it. Raises
    ModelError if bitsandbytes is missing or the model cannot be loaded.
    """
    if find_spec(LIBRARY) is None:
        raise ModelError(f"4-bit loading needs {LIBRARY}: pip install '{EXTRA}'")
    policy = load_policy(options.policy)
    found = locate(options.model, options.revision)
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    tokenizer = load_tokenizer(found.folder, found.label)
    config = transformers.AutoConfig.from_pretrained(
        found.folder, local_files_only=True, trust_remote_code=False
    )
    refuse_recurrent(config, found.label)
    network = load_causal(
        found.folder,
        found.label,
        device,
        dtype,
        quantization_config=four_bits(dtype),
        attn_implementation=pick_attention(options.attention, config),
    )
    label = f"{found.label} (4 bits)"
    if options.adapter:
        adapter = locate(options.adapter, what="adapter")
        network = put_adapter(network, adapter.folder, adapter.label)
        label += f" + {adapter.label}"
    encoder = Encoder(tokenizer)
    layout = pick_prompt_layout(options.format, tokenizer, policy, found.label)
    model = HfModel(
        network,
        token_bytes(tokenizer, int(network.get_input_embeddings().weight.shape[0])),
        end_tokens(network, tokenizer),
        shared_prefixes(layout, encoder),
        pick_layout(options.layout, network.config),
    )
    return Guard(
        label=label,
        tokenizer=tokenizer,
        encoder=encoder,
        layout=layout,
        policy=policy,
        model=model,
    )


def four_bits(dtype: torch.dtype) -> Any:
    """Return the settings: NF4, its constants quantized too, sums in `dtype`."""
    settings: Any = transformers.BitsAndBytesConfig
    return settings(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
