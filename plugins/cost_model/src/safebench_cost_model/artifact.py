"""Cost models and their baseline as they are shown and shared. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.training import ArtifactDescription
from safebench_cost_model.model.artifact import (
    ADAPTER_FOLDER,
    BASELINE_FOLDER,
    CHECKPOINT_FOLDER,
    CROSS_FIT_FILE,
    CROSS_FIT_FOLDER,
    ENCODER_FOLDER,
    KIND,
    KIND_STACK,
    KIND_TFIDF,
    MEMBER_FILE,
    SFT_CHECKPOINT_FOLDER,
    SFT_FOLDER,
    STACK_FILE,
    member_folder_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model"),
    "chat_template.jinja",
)
_NETWORK = (
    *("config.json", "generation_config.json", "*.safetensors"),
    "model.safetensors.index.json",
)
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_OPTIONS = (
    *("full", "pooling", "layers", "sft", "epochs", "sft_epochs", "batch", "lr"),
    *(
        "max_length",
        "w_rank",
        "w_sign",
        "w_single",
        "margin",
        "reg",
        "smoothing",
        "lora_r",
    ),
    *("lora_alpha", "lora_dropout", "weight_decay", "warmup", "select", "dtype"),
    *("quantize", "conflicts", "seed", "set"),
)

# Costs of single rows, under hashes of their texts.
_CROSS_FIT = (CROSS_FIT_FILE, f"{CROSS_FIT_FOLDER}/**")


def describe(folder: Path, manifest: Mapping[str, Any]) -> ArtifactDescription:
    """Describe a cost model or its baseline by its manifest."""
    if manifest.get("kind") == KIND_TFIDF:
        return _describe_baseline(manifest)
    if manifest.get("kind") == KIND_STACK:
        return _describe_stack(manifest)
    base = manifest["base"]
    inside = not base["folder"] and (folder / Path(base["name"]).name).is_dir()
    adapters = manifest["files"] == ADAPTER_FOLDER
    return ArtifactDescription(
        summary=(
            "A cost model: a number for each response to a prompt, below 0 where it is "
            "judged safe, and larger the worse it is. It learnt from pairs of a safer "
            "and a less safe response, by their order and by the sign of each."
        ),
        commands=(
            "safebench run -c cost_model --model {model} -s cost_platt -d beavertails",
            "safebench score -c cost_model --model {model} PROMPT --response RESPONSE",
        ),
        share=_share(manifest, adapters=adapters, inside=inside),
        # Scores of rows; texts that PEFT makes up; states of optimizers.
        keep=(
            *(f"**/{MEMBER_FILE}", f"{ADAPTER_FOLDER}/README.md"),
            *(f"member-*/{ADAPTER_FOLDER}/README.md", f"{SFT_CHECKPOINT_FOLDER}/**"),
            *(f"{CHECKPOINT_FOLDER}/**", f"member-*/{CHECKPOINT_FOLDER}/**"),
            *("*.part/**", "member-*/*.part/**", f"{SFT_FOLDER}/**"),
            *_CROSS_FIT,
        ),
        bases=(manifest.get("sft_base") or base,),
        manifest={"base": {**base, "folder": ""}},
        needs_base=adapters and not inside,
        library="peft" if adapters else "transformers",
        tags=("cost-model", "reward-model", *(["lora"] if adapters else [])),
        recipe=(
            f"members: {manifest.get('members', 1)}",
            f"template: {json.dumps(manifest.get('template'))}",
            *_options(manifest),
        ),
        calibration=_calibration(manifest),
        limits=(
            f"reads {manifest.get('max_length')} tokens; of longer exchanges the end",
            "costs of two models, and of one under another template, do not compare",
        ),
        headline=(KIND,),
    )


def _describe_baseline(manifest: Mapping[str, Any]) -> ArtifactDescription:
    return ArtifactDescription(
        summary=(
            "A baseline of cost models: a logistic regression on the words of prompt "
            "and response, whose log-odds are a cost."
        ),
        commands=("safebench run -c cost_tfidf --model {model} -d beavertails",),
        share=(f"{BASELINE_FOLDER}/*.json", f"{BASELINE_FOLDER}/*.npz"),
        keep=_CROSS_FIT,
        words_of_texts=(f"{BASELINE_FOLDER}/*.json",),
        tags=("cost-model", "tf-idf", "baseline"),
        recipe=(f"C = {manifest.get('strength')}",),
        calibration=_calibration(manifest),
        limits=("it knows words and no meaning",),
        headline=(KIND_TFIDF,),
    )


def _describe_stack(manifest: Mapping[str, Any]) -> ArtifactDescription:
    encoder = tuple(f"{ENCODER_FOLDER}/{name}" for name in (*_NETWORK, *_TOKENIZER))
    words = (f"{BASELINE_FOLDER}/*.json", f"{BASELINE_FOLDER}/*.npz")
    return ArtifactDescription(
        summary=(
            "A stack of linear costs of responses: one on the words of prompt and "
            "response, one on the states of an encoder that was not trained."
        ),
        commands=("safebench run -c cost_stack --model {model} -d beavertails",),
        share=(STACK_FILE, *words, *encoder),
        keep=_CROSS_FIT,
        words_of_texts=(f"{BASELINE_FOLDER}/*.json",),
        bases=(manifest["base"],),
        manifest={"base": {**manifest["base"], "folder": ""}},
        tags=("cost-model", "tf-idf", "stacking"),
        recipe=(
            f"C: {json.dumps(manifest.get('penalties'))}",
            f"sum: {json.dumps(manifest.get('mix'))}",
            *_options(manifest),
        ),
        calibration=_calibration(manifest),
        limits=(
            f"the encoder reads {manifest.get('max_length')} tokens of an exchange",
        ),
        headline=(KIND_STACK,),
    )


def _share(
    manifest: Mapping[str, Any], *, adapters: bool, inside: bool
) -> tuple[str, ...]:
    """Return the files of each member, and of the base that lies beside them."""
    total, files = manifest.get("members", 1), manifest["files"]
    names = (*(_ADAPTER if adapters else _NETWORK), *_TOKENIZER)
    folders = [
        "/".join(filter(None, (member_folder_name(i + 1, total), files)))
        for i in range(total)
    ]
    if adapters and inside:
        names_of_base = (*_NETWORK, *_TOKENIZER)
        base = str(manifest["base"]["name"])
        return (
            *(f"{folder}/{name}" for folder in folders for name in names),
            *(f"{base}/{name}" for name in names_of_base),
        )
    return tuple(f"{folder}/{name}" for folder in folders for name in names)


def _options(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    given = manifest.get("train_args") or {}
    return tuple(
        f"{name}: {given[name]}"
        for name in _OPTIONS
        if given.get(name) not in (None, "", [], {})
    )


def _calibration(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    fitted = manifest.get("calibration")
    if not fitted:
        return ("none: the costs on validation allowed no fit",)
    line = (
        f"probability: sigmoid((cost - {fitted['bias']:.3g}) / "
        f"{fitted['temperature']:.3g}), fitted on {fitted.get('n')} responses of "
        "validation"
    )
    return (line,)
