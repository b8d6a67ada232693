"""A base prepared to learn costs, and what is left of it in the artifact's folder.

It gets one new output, adapters where it is a decoder, padding and a template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.torch_utils import quiet_transformers
from safebench_cost_model.model.artifact import ADAPTER_FOLDER, MODEL_FOLDER
from safebench_cost_model.model.encoding import ExchangeEncoder
from safebench_cost_model.model.inference import build_collator
from safebench_cost_model.model.network import (
    MeanPoolingCost,
    add_adapters,
    choose_padding,
    load_cost_network,
    load_mean_pooling,
    save_mean_pooling,
)
from safebench_cost_model.model.template import PAIR, QA

from .precision import base_dtype, quantization

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.torch_utils import ModelFolder
    from safebench.training import Training
    from safebench_cost_model.model.encoding import ExchangeCollator
    from safebench_cost_model.model.network import Family
    from safebench_cost_model.model.platt_scaling import PlattScaling
    from safebench_cost_model.options import CostTrainOptions


@dataclass(slots=True, kw_only=True)
class PreparedModel:
    """A network with a new head, its tokenizer, and how texts are read for it."""

    network: Any
    tokenizer: Any
    encoder: ExchangeEncoder
    collator: ExchangeCollator
    lora: bool


def uses_adapters(family: Family, options: CostTrainOptions) -> bool:
    """Tell whether adapters are trained, and the base stays as it is."""
    return family == "decoder" and not options.full


def uses_mean_pooling(family: Family, options: CostTrainOptions) -> bool:
    """Tell whether costs are read from mean states, not by the base's own pooling."""
    return family == "encoder" and options.pooling == "mean"


def prepare_model(
    base: ModelFolder, family: Family, options: CostTrainOptions
) -> PreparedModel:
    """Load a base with one new output, and adapters for decoders unless `full`."""
    lora = uses_adapters(family, options)
    dtype = base_dtype(options, adapters=lora)
    if uses_mean_pooling(family, options):
        network = load_mean_pooling(
            base.folder, base.label, dtype, layers=options.layers, new_head=True
        )
    else:
        network = load_cost_network(
            base.folder,
            base.label,
            dtype=dtype,
            new_head=True,
            layers=options.layers,
            **quantization(options),
        )
    tokenizer = base.tokenizer()
    pad_token_id = choose_padding(network, tokenizer)
    template = PAIR if family == "encoder" else QA
    text_config = network.config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)
    max_length = min(options.max_length, positions or options.max_length)
    encoder = ExchangeEncoder(tokenizer, template, max_length)
    if lora:
        network = add_adapters(
            network,
            rank=options.lora_r,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
        )
    return PreparedModel(
        network=network,
        tokenizer=tokenizer,
        encoder=encoder,
        collator=build_collator(network, tokenizer, pad_token_id),
        lora=lora,
    )


def save_network(network: Any, tokenizer: Any, folder: Path) -> None:
    """Save network and tokenizer as Hugging Face libraries load them."""
    with quiet_transformers():
        if isinstance(network, MeanPoolingCost):
            save_mean_pooling(network, folder)
        else:
            network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def weights_folder_name(family: Family, options: CostTrainOptions) -> str:
    """Return the name of the folder that weights are saved to."""
    return ADAPTER_FOLDER if uses_adapters(family, options) else MODEL_FOLDER


def build_manifest(
    base: ModelFolder,
    family: Family,
    encoder: ExchangeEncoder,
    training: Training,
    platt: PlattScaling | None,
) -> dict[str, Any]:
    """Return what the classifier needs to load the artifact, as JSON.

    A base inside the folder (of the supervised stage) is named relative to it.
    """
    options: CostTrainOptions = training.options
    is_inside = base.folder.parent.resolve() == training.out.resolve()
    name = base.folder.name if is_inside else base.label
    folder = "" if is_inside or base.commit else str(base.folder.resolve())
    return {
        "base": {**base.base_record(), "name": name, "folder": folder},
        "family": family,
        "files": weights_folder_name(family, options),
        "members": options.members,
        "quantize": options.quantize,
        "pooling": "mean" if uses_mean_pooling(family, options) else "own",
        "layers": options.layers,
        "template": encoder.template.as_json(),
        "template_sha256": encoder.template.sha256,
        "max_length": encoder.max_length,
        "calibration": platt.as_json() if platt else None,
    }
