"""Injections and jailbreaks as a class of their own, and claims against documents."""

from __future__ import annotations

from safebench.recipes import Every, Recipe, Source, Words
from safebench.specs import DatasetCard

from .declaration import GUARD_EVAL_HARNESS, HUB, declare, parts, plain

_NOT_INJECT = ("NotInject_one", "NotInject_two", "NotInject_three")

SETS = [
    declare(
        "deepset_injections",
        "questions and injections in English and German",
        Recipe(
            homes=(plain("deepset/prompt-injections", "test", "train"),),
            prompt=("text",),
            label=Words(("label",), "1|injection", "0|legit"),
        ),
        DatasetCard(
            columns={
                "text": "what is sent to a model",
                "label": "1 for an injection, 0 for a plain request",
            },
            sources=(f"{HUB}deepset/prompt-injections/blob/refs%2Fpr%2F1/README.md",),
            untold="116 rows; role play and odd wishes count as injections, so that "
            "part of the labels is disputed",
            rows={"test": 116, "train": 546},
        ),
        licence="Apache-2.0",
        task="injection",
        trained_on_by="deepset",
    ),
    declare(
        "notinject",
        "harmless prompts with words that injections use",
        Recipe(
            homes=(
                parts(
                    "leolee99/NotInject",
                    {
                        "all": tuple(
                            Source(split=name, files=(f"**/{name}*",))
                            for name in _NOT_INJECT
                        ),
                        **{
                            name.removeprefix("NotInject_"): Source(
                                split=name, files=(f"**/{name}*",)
                            )
                            for name in _NOT_INJECT
                        },
                    },
                ),
            ),
            prompt=("prompt",),
            label=Every(value=False),
            meta=("category", "word_list"),
        ),
        DatasetCard(
            columns={
                "prompt": "a harmless request",
                "word_list": "the words in it that injections use",
                "category": "the kind of text",
            },
            sources=(
                "leolee99/PIGuard:README.md",
                "leolee99/PIGuard:datasets/NotInject_one.json",
            ),
            untold="one class: false positives alone; a model wrote around its words",
            rows={"all": 339, "one": 113, "two": 113, "three": 113},
        ),
        licence="MIT",
        task="injection",
    ),
    declare(
        "rogue_injections",
        "five thousand prompts, jailbreaks and injections or not",
        Recipe(
            homes=(
                plain("rogue-security/prompt-injections-benchmark", "test"),
                plain("qualifire/prompt-injections-benchmark", "test"),
            ),
            prompt=("text",),
            label=Words(("label",), "jailbreak|injection|1", "benign|0"),
        ),
        DatasetCard(
            columns={
                "text": "what is sent to a model",
                "label": "jailbreak or benign",
            },
            sources=("krishagarwal0418/risk:scripts/13_eval_finetuned_on_rogue.py",),
            untold="injections and jailbreaks are one class; many benign rows are long "
            "role play",
            rows={"test": 5000},
            gated=True,
        ),
        licence="CC-BY-NC-4.0",
        task="injection",
        trained_on_by="qualifire",
    ),
    declare(
        "detect_jailbreak",
        "jailbreaks and plain prompts of several sources",
        Recipe(
            homes=(plain("GuardrailsAI/detect-jailbreak", "train"),),
            prompt=("prompt",),
            label=Words(("is_jailbreak",), "true|1", "false|0"),
            meta=("source",),
        ),
        DatasetCard(
            columns={
                "prompt": "what is sent to a model",
                "is_jailbreak": "true for a jailbreak",
                "source": "the set that a row is from",
            },
            sources=(f"{GUARD_EVAL_HARNESS}guardrailsai_jailbreak.py",),
            untold="jailbreaks and plain prompts are of different sources, which style "
            "tells apart; the number of rows is not known here",
        ),
        licence="see the card",
        task="jailbreak",
    ),
    declare(
        "aggrefact",
        "claims of models against the documents that they are about",
        Recipe(
            homes=(plain("lytang/LLM-AggreFact", "test", "dev"),),
            claim="claim",
            documents="doc",
            label=Words(("label",), "0", "1"),
            meta=("dataset",),
        ),
        DatasetCard(
            columns={
                "doc": "the document",
                "claim": "what a model said about it, which is judged",
                "label": "1 if the document supports the claim, 0 if it does not",
                "dataset": "which of eleven sets a row is from",
            },
            sources=("anulum/director-ai:benchmarks/gemma_aggrefact_hiss.py",),
            untold="a mean over eleven sets of unlike size; its licence forbids "
            "training on it",
            rows={"test": 29320},
            gated=True,
        ),
        licence="CC-BY-ND-4.0",
        task="groundedness",
    ),
]
