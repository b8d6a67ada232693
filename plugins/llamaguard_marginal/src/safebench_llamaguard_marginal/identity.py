"""Identity of a guard: hashes and options that its evidence depends on.

Found without loading the model. Weights are hashed once, whatever asks for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safebench.torch_utils import ModelFolder
from safebench_llamaguard_marginal.engines.catalog import ENDPOINT, HF
from safebench_llamaguard_marginal.model.model_files import (
    NAMED_TEMPLATES,
    locate_model,
    weight_files,
)
from safebench_llamaguard_marginal.profile.resolve import (
    GENERAL_PROFILES,
    resolve_profile,
    with_defaults,
)

from .options import sampled_reasonings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from safebench.policies import Policy
    from safebench_llamaguard_marginal.model.model_files import ModelKind
    from safebench_llamaguard_marginal.profile.resolve import Profile

    from .options import GuardOptions

# Files beside the weights that change what a model says.
_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
# Beside those above, of tokenizers that have no tokenizer.json.
_SLOW_TOKENIZERS = ("vocab.txt", "sp*.model", "*.bpe.model", "bpe.codes", "*.tiktoken")
_RECORD_OPTIONS = (
    "dtype",
    "attention",
    "layout",
    "format",
    "max_length",
    "truncation",
    "batch_tokens",
    "draft",
    "refill",
    "eps",
    "max_nodes",
    "max_new_tokens",
    "grammar",
    "stop",
    "delta",
    "tau",
    "width",
    "mc_samples",
    "mc_seed",
)
# Stored under the names that these options had in 0.1: another key would be another
# guard to the evidence that is there.
_RENAMED_OPTIONS = {
    "seed_top_p": "original_top_p",
    "seed_eps": "original_eps",
    "seed_max_new_tokens": "original_max_new_tokens",
}


def model_identity(options: GuardOptions) -> dict[str, Any]:
    """Return JSON of the model's hashes and of every option that shapes evidence.

    `model` and `revision` are names for people; the other keys distinguish guards. The
    device is not known before the model is loaded: `LlamaGuard.facts` has it.
    """
    # Before the model is looked for: what is wrong here costs no download.
    profile = resolve_profile(options)
    policy = profile.policy(options.policy)
    if options.reads_texts:
        return _texts_identity(with_defaults(options, profile), profile, policy)
    source = locate_model(options.model, options.revision, weights=options.has_network)
    adapter = locate_model(options.adapter, kind="adapter") if options.adapter else None
    options = with_defaults(options, profile)
    return {
        "model": source.label + (f" + {adapter.label}" if adapter else ""),
        "revision": source.commit,
        "weights": fingerprint(source, weights=options.has_network),
        "adapter": fingerprint(adapter, "adapter") if adapter else "",
        "policy": f"{policy.id}@{policy.version}:{policy.hash}",
        **_profile_identity(profile),
        "engine": options.tree_version,
        **_engine_identity(options),
        "record": {name: getattr(options, name) for name in _RECORD_OPTIONS}
        | {key: getattr(options, name) for key, name in _RENAMED_OPTIONS.items()}
        | _lenient_record(options)
        # evidence of before there was a choice is full
        | ({"record": "lean"} if options.is_lean else {})
        | ({"criteria": list(options.criteria)} if options.criteria else {})
        | _reasoning_record(profile, options),
    }


def _texts_identity(
    options: GuardOptions, profile: Profile, policy: Policy
) -> dict[str, Any]:
    """Return what identifies texts: options of trees change none of them."""
    model = {
        "model": options.served_model or profile.name,
        "revision": None,
        "weights": "",
    }
    if options.has_files:
        source = locate_model(options.model, options.revision, weights=False)
        model = {
            "model": source.label,
            "revision": source.commit,
            "weights": fingerprint(source, weights=False),
        }
    sampled = {
        "temperature": options.sample_temperature,
        "seed": options.sample_seed,
    }
    return {
        **model,
        "policy": f"{policy.id}@{policy.version}:{policy.hash}",
        # of the general ones, too: a conversation is made of them
        "profile": f"{profile.name}:{profile.hash}",
        "runs_on": {
            "engine": options.runs_on,
            "served_model": options.served_model,
            "api": _asked_api(options),
            "texts": {
                "samples": options.samples,
                **(sampled if options.samples else {}),
            },
        },
        "record": {
            name: getattr(options, name)
            for name in (
                "format",
                "max_length",
                "truncation",
                "max_new_tokens",
                "grammar",
            )
        }
        | _lenient_record(options)
        | ({"criteria": list(options.criteria)} if options.criteria else {})
        | _reasoning_record(profile, options),
    }


def _engine_identity(options: GuardOptions) -> dict[str, Any]:
    """Return the engine and how much it lists; nothing for a network of this process.

    The evidence of such networks was stored before there were engines.
    """
    if options.runs_on == HF:
        return {}
    served = {}
    if options.runs_on == ENDPOINT:
        # not the address: one server may move to another port or machine
        served = {"served_model": options.served_model, "api": _asked_api(options)}
    return {
        "runs_on": {
            "engine": options.runs_on,
            "top_logprobs": options.top_logprobs,
            "unlisted": options.unlisted,
            **served,
        }
    }


def _asked_api(options: GuardOptions) -> str:
    """Return the option `api` as the user gave it: what was found is among the facts.

    So evidence has the key that it had when nobody asked before the run.
    """
    return "auto" if "api" in dict(options.found) else options.api


def _profile_identity(profile: Profile) -> dict[str, Any]:
    """Return the profile's name and hash.

    None for the general ones: their evidence was stored before there were profiles, and
    what they ask is among the facts of the loaded model.
    """
    if profile.where in GENERAL_PROFILES:
        return {}
    return {"profile": f"{profile.name}:{profile.hash}"}


def _reasoning_record(profile: Profile, options: GuardOptions) -> dict[str, Any]:
    """Return what identifies the reasonings of evidence, as JSON.

    Nothing for a profile that knows of none: its evidence is as it was before.
    """
    if profile.data.verdict_after is None:
        return {}
    if profile.reasoning is None:
        return {"reasoning": "off"}
    budget = options.reasoning_tokens or profile.reasoning.budget
    count = sampled_reasonings(options.reasoning)
    if not count:
        return {"reasoning": {"mode": "greedy", "budget": budget}}
    return {
        "reasoning": {
            "mode": "sampled",
            "count": count,
            "temperature": options.reasoning_temperature,
            "seed": options.reasoning_seed,
            "budget": budget,
        }
    }


def _lenient_record(options: GuardOptions) -> dict[str, Any]:
    """Return how words are found in lenient parsing.

    Strict parsing has no such choice, so that its keys stay what they were before
    there was one; lenient evidence of before is not read as if it were the same.
    """
    if options.grammar == "strict":
        return {}
    return {"whole_words": True, "ignore_case": options.ignore_case}


def fingerprint(
    source: ModelFolder, kind: ModelKind = "model", *, weights: bool = True
) -> str:
    """Return the hub commit of a model, or the SHA-256 over its files.

    Without `weights` over its tokenizer and configuration alone, whatever else is
    there: the weights that answer are a server's.
    """
    if source.commit:
        return f"{source.label}@{source.commit}"
    folder = source.folder
    small = (folder / name for name in _CONFIG_FILES)
    files = [path for path in small if path.is_file()]
    files += sorted(folder.glob(NAMED_TEMPLATES))
    if not (folder / "tokenizer.json").is_file():  # read in place of others
        files += sorted({p for name in _SLOW_TOKENIZERS for p in folder.glob(name)})
    if not weights:
        return f"files {_combined_sha256(files)}"
    weight_paths = weight_files(folder, kind)
    if kind == "model" and (folder / "adapter_config.json").is_file():
        weight_paths += weight_files(
            folder, "adapter"
        )  # the library applies it by itself
    return _combined_sha256([*weight_paths, *files])


def _combined_sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\x1f{ModelFolder.file_sha256(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
