"""Ensembles and baselines as they are shown and shared. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.training import ArtifactDescription
from safebench_bert_ensemble.model.location import FROZEN_KIND, TFIDF_KIND

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json", "*.model"),
)
_NETWORK = ("config.json", "model*.safetensors", "model.safetensors.index.json")
_OPTIONS = (
    *("epochs", "batch_size", "grad_accumulation", "lr", "warmup", "weight_decay"),
    *("max_length", "class_weights", "bagging", "patience", "precision", "seed", "set"),
)
_POOLS = ("mean_probs", "mean_logits")


def describe(
    folder: Path,  # noqa: ARG001 - of the interface
    manifest: Mapping[str, Any],
) -> ArtifactDescription:
    """Describe an ensemble or a baseline by its manifest."""
    kind = manifest.get("kind")
    if kind == TFIDF_KIND:
        return _describe_tfidf(manifest)
    if kind == FROZEN_KIND:
        return _describe_frozen(manifest)
    return _describe_ensemble(manifest)


def _describe_ensemble(manifest: Mapping[str, Any]) -> ArtifactDescription:
    members = list(manifest.get("members") or ())
    bases = _bases(manifest)
    names = ", ".join(dict.fromkeys(str(base.get("name")) for base in bases))
    task = _task(manifest)
    member_files = (*_NETWORK, *_TOKENIZER, "member.json")
    pools = [p for p in _POOLS if f"ensemble ({p})" in _models(manifest)]
    return ArtifactDescription(
        summary=(
            f"An ensemble of {len(members)} encoders ({names}) that judges whether "
            f"{task}. Each member is a plain sequence classifier with the classes safe "
            "and harmful; together they also say how sure they are."
        ),
        commands=(
            "safebench run -c bert_ensemble --model {model} -s mean_probs -d xstest",
            "safebench run -c bert_ensemble --model {model} -s vote_entropy -d xstest",
            'safebench score -c bert_ensemble --model {model} "a text to judge"',
        ),
        share=(
            *_TOKENIZER,
            *(f"{m.get('path')}/{file}" for m in members for file in member_files),
        ),
        # An interrupted training, and members that the manifest does not name.
        keep=("checkpoint-*/**", "member-*/**"),
        bases=bases,
        library="transformers",
        tags=("ensemble", "uncertainty"),
        recipe=(
            *_options(manifest),
            *(
                f"{m.get('path')}: seed {m.get('seed')}, order {m.get('data_seed')}, "
                f"best of {m.get('steps')} steps is {m.get('best_step')}, "
                f"{m.get('precision')} on {m.get('device')}"
                for m in members
            ),
        ),
        calibration=_calibration(manifest),
        limits=_limits(manifest),
        headline=tuple(f"ensemble ({pool})" for pool in pools),
    )


def _describe_tfidf(manifest: Mapping[str, Any]) -> ArtifactDescription:
    return ArtifactDescription(
        summary=(
            "A baseline: a logistic regression on the words and pairs of words of a "
            f"text, which judges whether {_task(manifest)}."
        ),
        commands=("safebench run -c tfidf --model {model} -d xstest",),
        share=("vocabulary.json", "weights.npz"),
        words_of_texts=("vocabulary.json",),
        tags=("tf-idf", "baseline"),
        recipe=(
            f"{manifest.get('terms')} terms, C = {manifest.get('strength')}",
            f"seed: {_arguments(manifest).get('seed')}",
        ),
        calibration=("none: its probabilities are those of the regression",),
        limits=("it knows words and no meaning",),
        headline=(TFIDF_KIND,),
    )


def _describe_frozen(manifest: Mapping[str, Any]) -> ArtifactDescription:
    encoder = (*_NETWORK, *_TOKENIZER)
    return ArtifactDescription(
        summary=(
            "A baseline: a logistic regression on the mean token embedding of an "
            f"encoder that was not trained, which judges whether {_task(manifest)}."
        ),
        commands=("safebench run -c frozen_encoder --model {model} -d xstest",),
        share=("weights.npz", *(f"encoder/{name}" for name in encoder)),
        bases=_bases(manifest),
        tags=("frozen-encoder", "baseline"),
        recipe=(f"C = {manifest.get('strength')}", *_options(manifest)),
        calibration=("none: its probabilities are those of the regression",),
        limits=_limits(manifest),
        headline=(FROZEN_KIND,),
    )


def _task(manifest: Mapping[str, Any]) -> str:
    judged = "response" if manifest.get("task") == "response_harm" else "prompt"
    return f"a {judged} is harmful"


def _arguments(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest.get("train_args") or {}


def _options(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    given = _arguments(manifest)
    return tuple(
        f"{name}: {given[name]}"
        for name in _OPTIONS
        if given.get(name) not in (None, "", [], {})
    )


def _models(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    metrics: Mapping[str, Any] = (manifest.get("metrics") or {}).get("test") or {}
    return metrics


def _bases(manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the bases; those of before there were hashes by name and revision."""
    if manifest.get("bases"):
        return tuple(manifest["bases"])
    names, revisions = (
        [value] if isinstance(value, str) else list(value or ())
        for value in (manifest.get("base"), manifest.get("revision"))
    )
    revisions += [""] * (len(names) - len(revisions))
    pairs = zip(names, revisions, strict=False)
    return tuple({"name": name, "revision": revision} for name, revision in pairs)


def _calibration(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    pools = (manifest.get("calibration") or {}).get("pools") or {}
    lines = []
    for pool, fitted in pools.items():
        if fitted.get("slope") is None:
            lines.append(f"{pool}: none ({fitted.get('none') or 'unknown why'})")
        else:
            lines.append(
                f"{pool}: log-odds times {fitted['slope']:.3g} plus "
                f"{fitted.get('offset') or 0:.3g}, fitted on {fitted.get('n')} "
                "validation rows"
            )
    return tuple(lines) or ("none: trained before probabilities were calibrated",)


def _limits(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    limit = (
        f"reads {manifest.get('max_length')} tokens at a time; longer texts are read "
        "in windows, on which it was not trained"
    )
    return (limit,)
