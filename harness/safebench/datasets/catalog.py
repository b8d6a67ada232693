"""The datasets that safebench knows by name, as one table.

Every command reads it, so nothing is imported here but the record type: readers are
named as text. Hub sets are pinned to the branch ``main``, not to a commit, so that
corrections by their authors arrive; result rows record the commit that was read.
"""

from __future__ import annotations

from typing import Any

from safebench.specs import DatasetSpec

from .sets import DECLARED_SETS
from .sets.cards import CARDS


def _user_data(name: str, reader: str, summary: str, **fields: Any) -> DatasetSpec:
    """Return a dataset that the user points at, with columns of any name."""
    options = "safebench.datasets.rows:ColumnOptions"
    load = f"safebench.datasets.{reader}"
    return DatasetSpec(name=name, load=load, summary=summary, options=options, **fields)


def _public(
    name: str,
    reader: str,
    hub_id: str,
    licence: str,
    summary: str,
    *,
    splits: str,
    trained_on_by: str = "",
    **fields: Any,
) -> DatasetSpec:
    """Return a public set of the hub; `reader` is a function of `.public`.

    `splits` and `trained_on_by` (model families) are lists separated by spaces.
    """
    return DatasetSpec(
        name=name,
        load=f"safebench.datasets.public:{reader}",
        hub_id=hub_id,
        licence=licence,
        summary=summary,
        revision="main",
        card=CARDS.get(name),
        splits=tuple(splits.split()),
        contaminates=frozenset(trained_on_by.split()),
        **fields,
    )


# A table: in a few lines each, datasets can be compared with their neighbours.
# fmt: off
FILE_DATASETS = [
    _user_data(
        "jsonl", "files:read_jsonl", splits=("all",), licence="yours",
        summary="a JSON file of yours, by its path: prompts, responses or pairs"),
    _user_data(
        "csv", "files:read_csv", splits=("all",), licence="yours",
        summary="a CSV or TSV file of yours, by its path: prompts, responses or pairs"),
    _user_data(
        "parquet", "files:read_parquet", splits=("all",), licence="yours",
        summary="a parquet file of yours, by its path: prompts, responses or pairs"),
    _user_data(
        "hub", "hub:read_hub", licence="the set's own",
        summary="any labelled hub set: ORG/NAME[:CONFIG]:SPLIT,prompt=COLUMN,..."),
    DatasetSpec(
        name="starter", load="safebench.datasets.files:read_starter",
        summary="prompts written for safebench: harmful, benign, and lookalikes",
        policy="llama-guard-3", splits=("all",), licence="CC0-1.0"),
]

PROMPT_DATASETS = [
    *(_public(
        f"content_moderation_lm{version}", "read_content_moderation",
        "the-fenrir/MarginalProb4Classification", "none stated",
        f"unsafe queries with two or three Llama Guard {version} categories each",
        config=f"lm{version}", policy=f"llama-guard-{version}", splits="train")
      for version in (2, 3)),
    _public(
        "openai_moderation", "read_openai",
        "mmathys/openai-moderation-api-evaluation", "MIT",
        "prompts with eight categories, of which some are not known",
        policy="openai-moderation", splits="train", trained_on_by="tiny-guard"),
    _public(
        "toxic_chat", "read_toxic_chat", "lmsys/toxic-chat", "CC-BY-NC-4.0",
        "what users really typed, labelled toxic or not",
        config="toxicchat0124", splits="test train", trained_on_by="guardreasoner"),
    _public(
        "wildguardmix", "read_wildguardmix", "allenai/wildguardmix", "ODC-BY",
        "prompts, plain and adversarial, harmful or not", policy="wildguard",
        splits="test train",
        trained_on_by="wildguard polyguard guardreasoner tiny-guard"),
    _public(
        "xstest", "read_xstest", "walledai/XSTest", "CC-BY-4.0",
        "safe prompts that sound dangerous, with unsafe contrasts", splits="test"),
    _public(
        "jbb_behaviors", "read_jbb", "JailbreakBench/JBB-Behaviors", "MIT",
        "JailbreakBench goals, harmful and benign, matched one to one",
        config="behaviors", policy="jailbreakbench", splits="all harmful benign",
        trained_on_by="tiny-guard"),
    _public(
        "catqa", "read_catqa", "declare-lab/CategoricalHarmfulQA", "Apache-2.0",
        "harmful questions, fifty of each of eleven categories",
        policy="catqa", splits="en", trained_on_by="tiny-guard"),
    _public(
        "in_the_wild_jailbreak", "read_wild_jailbreaks",
        "TrustAIRLab/in-the-wild-jailbreak-prompts", "MIT",
        "jailbreak prompts that people shared, many very long", task="jailbreak",
        config="jailbreak_2023_12_25", splits="train", trained_on_by="tiny-guard"),
]

RESPONSE_DATASETS = [
    _public(
        "wildguardmix_response", "read_wildguardmix", "allenai/wildguardmix", "ODC-BY",
        "responses to WildGuardMix prompts, harmful or not", task="response_harm",
        splits="test train",
        # Of the embedded guard: it learnt the prompts of train, not these labels.
        trained_on_by="wildguard polyguard guardreasoner tiny-guard"),
    _public(
        "wildguardmix_refusal", "read_wildguardmix", "allenai/wildguardmix", "ODC-BY",
        "responses to WildGuardMix prompts, refusal or compliance", task="refusal",
        splits="test train",
        # Of the embedded guard: it learnt the prompts of train, not these labels.
        trained_on_by="wildguard polyguard guardreasoner tiny-guard"),
    _public(
        "beavertails", "read_beavertails", "PKU-Alignment/BeaverTails", "CC-BY-NC-4.0",
        "question and answer with fourteen harm categories", task="response_harm",
        policy="beavertails", splits="30k_test 330k_test 30k_train 330k_train",
        trained_on_by="llamaguard2 guardreasoner"),
    _public(
        "pku_safe_rlhf", "read_pku", "PKU-Alignment/PKU-SafeRLHF", "CC-BY-NC-4.0",
        "two answers to each question, the safer one named", task="response_harm",
        policy="pku-safe-rlhf",
        config="default", splits="test train"),
    _public(
        "xstest_response", "read_xstest_response", "allenai/xstest-response", "ODC-BY",
        "answers to XSTest prompts, harmful or not", task="response_harm",
        splits="response_harmfulness"),
    _public(
        "xstest_response_refusal", "read_xstest_response", "allenai/xstest-response",
        "ODC-BY", "answers to XSTest prompts, refusal or compliance", task="refusal",
        splits="response_refusal"),
    _public(
        "diasafety", "read_diasafety", "thu-coai/diasafety", "Apache-2.0",
        "dialogue answers that are unsafe in their context", task="response_harm",
        policy="diasafety",
        splits="validation test train", trained_on_by="tiny-guard"),
    _public(
        "dices", "read_dices", "google/dices_dataset", "CC-BY-4.0",
        "dialogues with the votes of many raters (soft labels)", task="response_harm",
        policy="dices", config="990", splits="train"),
]
# fmt: on

SPECS: list[DatasetSpec] = [
    *FILE_DATASETS,
    *PROMPT_DATASETS,
    *RESPONSE_DATASETS,
    *DECLARED_SETS,
]
