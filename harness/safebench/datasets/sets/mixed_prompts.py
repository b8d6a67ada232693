"""Prompts and answers of both classes: harmful and harmless, refused or not."""

from __future__ import annotations

from dataclasses import replace

from safebench.recipes import BySource, Every, Recipe, Source, Votes, Words
from safebench.specs import DatasetCard

from .declaration import GUARD_EVAL_HARNESS, HUB, PYRIT, declare, parts, plain

_AEGIS_2 = DatasetCard(
    columns={
        "prompt": "the user's turn",
        "response": "the model's answer, if there is one",
        "prompt_label": "safe or unsafe, for the prompt",
        "response_label": "safe or unsafe, for the answer",
        "violated_categories": "names of categories of prompt and answer together",
        "prompt_label_source": "human, except in a few rows",
    },
    sources=(
        f"{GUARD_EVAL_HARNESS}aegis_ai_content_safety_dataset_2.py",
        f"{PYRIT}aegis_ai_content_safety_dataset.py",
    ),
    untold="categories are those of prompt and answer together; prompts about suicide "
    "are withheld in the set and left out; it extends Aegis 1.0, of which the embedded "
    "guard learnt prompts: how many of them stand here is not known",
    taxonomy="aegis-2",
    rows={"test": 1964, "validation": 1445, "train": 30007},
)
_AEGIS_2_HOMES = (
    plain("nvidia/Aegis-AI-Content-Safety-Dataset-2.0", "test", "validation", "train"),
)
_AEGIS_2_REVISION = "d86bb8bedff51d25ac834ab7838f1cc61acb7a2c"

_NEMOTRON_3_5 = DatasetCard(
    columns={
        "prompt": "the user's turn",
        "response": "the model's answer, if there is one",
        "input_label": "safe or unsafe, for the prompt",
        "response_label": "safe or unsafe, for the answer",
        "violated_categories": "names of categories of prompt and answer together",
        "language": "the code of the language",
        "task_type": "safety, or following a topic; safety is kept",
        "image_path": "an image that the prompt is about; rows with one are left out",
    },
    sources=(f"{GUARD_EVAL_HARNESS}nemotron_content_safety_text.py",),
    untold="categories are those of prompt and answer together; the number of rows is "
    "not known here, nor who labelled each",
    taxonomy="aegis-2",
)
_NEMOTRON_V3 = DatasetCard(
    columns={
        "prompt": "the user's turn",
        "response": "the model's answer, if there is one",
        "prompt_label": "safe or unsafe, for the prompt",
        "response_label": "safe or unsafe, for the answer",
        "violated_categories": "names of categories of prompt and answer together",
        "language": "the code of the language",
        "tag": "how the row was made",
    },
    sources=(
        "NVIDIA-NeMo/Guardrails:examples/e2e_tests/test_content_safety_rail.py",
        f"{HUB}nvidia/Nemotron-Safety-Guard-Dataset-v3/blob/main/README.md",
    ),
    untold="most rows are translations or adaptations of one English row by a model; "
    "the number of rows of each split is not known here (about 386,661 in all)",
    taxonomy="aegis-2",
)
_POLYGUARD = DatasetCard(
    columns={
        "id": "joins the languages of one row",
        "prompt, response": "translated turns",
        "prompt_harm_label": "harmful or unharmful, for the prompt",
        "response_harm_label": "harmful or unharmful, for the answer",
        "response_refusal_label": "refusal or compliance, for the answer",
        "language": "the language, by its English name",
        "subcategory": "one of the subcategories of WildGuard",
    },
    sources=(
        f"{HUB}ToxicityPrompts/PolyGuardPrompts",
        # prompt and response are translated; the other columns stay WildGuardMix's
        "kpriyanshu256/polyguard:translation-pipeline/wildguardmix.py",
        f"{GUARD_EVAL_HARNESS}wildguardmix.py",
    ),
    untold="translations of one English set with its labels: 1,725 groups, whatever "
    "the number of rows",
    taxonomy="wildguard",
    rows={"test": 29325},
)
_POLYGUARD_ANSWERS = replace(
    _POLYGUARD, taxonomy="WildGuard: thirteen subcategories, of the prompt"
)
_CIRCLE = DatasetCard(
    columns={
        "prompt": "the plain prompt",
        "jailbreaked_prompt": "the same wish under a jailbreak",
        "prompt_verdict": "safe or unsafe, for both",
        "default_answer": "an answer to the plain prompt",
        "default_answer_verdict": "safe or unsafe, for the answer",
        "harm_category": "the kind of harm",
        "prompt_hash": "joins what belongs to one prompt",
    },
    sources=(
        f"{GUARD_EVAL_HARNESS}circleguardbench_public.py",
        "whitecircle-ai/circle-guard-bench:README.md",
    ),
    untold="the public part of a larger set; the names of the categories are those of "
    "its table, and a row that names another is said; the number of rows is not known "
    "here",
    taxonomy="circleguardbench",
    gated=True,
)
_COSAPIEN = (
    "game_development",
    "public_prosecutor",
    "book_publisher_arab",
    "language_learning",
    "film_production",
)
# the hub has a file for each class, the authors' repository one for each conversation
_REAL_UNSAFE, _REAL_SAFE = (
    (f"**/realharm_{name}.jsonl", f"**/{name}/*.yml", f"**/{name}*", f"**/{name}/*")
    for name in ("unsafe", "safe")
)
_REAL_SPLITS: dict[str, Source | tuple[Source, ...]] = {
    "all": (
        Source(split="unsafe", files=_REAL_UNSAFE, label=True),
        Source(split="safe", files=_REAL_SAFE, label=False),
    ),
    "unsafe": Source(split="unsafe", files=_REAL_UNSAFE, label=True),
    "safe": Source(split="safe", files=_REAL_SAFE, label=False),
}

SETS = [
    declare(
        "aegis2",
        "prompts of people and models with 23 categories",
        Recipe(
            homes=_AEGIS_2_HOMES,
            prompt=("prompt",),
            label=Words(("prompt_label",), "unsafe", "safe"),
            categories=("violated_categories",),
            redacted=frozenset({"REDACTED"}),
            meta=("prompt_label_source",),
        ),
        _AEGIS_2,
        licence="CC-BY-4.0",
        policy="aegis-2",
        revision=_AEGIS_2_REVISION,
        # Of the embedded guard: it learnt prompts of Aegis 1.0, which this set extends.
        trained_on_by="aegis nemotron tiny-guard",
    ),
    declare(
        "aegis2_response",
        "answers to Aegis 2.0 prompts with 23 categories",
        Recipe(
            homes=_AEGIS_2_HOMES,
            prompt=("prompt",),
            response=("response",),
            label=Words(("response_label",), "unsafe", "safe"),
            categories=("violated_categories",),
            redacted=frozenset({"REDACTED"}),
            meta=("response_label_source",),
        ),
        _AEGIS_2,
        licence="CC-BY-4.0",
        task="response_harm",
        policy="aegis-2",
        revision=_AEGIS_2_REVISION,
        # Of the embedded guard: it learnt prompts of Aegis 1.0, which this set extends.
        trained_on_by="aegis nemotron tiny-guard",
    ),
    declare(
        "or_bench",
        "harmless prompts that models refuse, with toxic ones beside them",
        Recipe(
            homes=(
                parts(
                    "bench-llm/or-bench",
                    {
                        "hard-toxic": (
                            Source(
                                config="or-bench-hard-1k",
                                files=("**/or-bench-hard-1k*",),
                                label=False,
                            ),
                            Source(
                                config="or-bench-toxic",
                                files=("**/or-bench-toxic*",),
                                label=True,
                            ),
                        ),
                        **{
                            name: Source(
                                config=f"or-bench-{name}",
                                files=(f"**/or-bench-{name}*",),
                                label=name == "toxic",
                            )
                            for name in ("hard-1k", "toxic", "80k")
                        },
                    },
                ),
            ),
            prompt=("prompt",),
            label=BySource(),
            categories=("category",),
            meta=("category",),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked for",
                "category": "the kind of harm that the prompt seems to be about",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}or_bench.py",
                f"{PYRIT}or_bench_dataset.py",
            ),
            untold="all prompts were rewritten by models, and the config decides the "
            "label: no person looked at most of them",
            taxonomy="or-bench",
            rows={
                "hard-toxic": 1974,
                "hard-1k": 1319,
                "toxic": 655,
                "80k": 80359,
            },
        ),
        licence="CC-BY-4.0",
        policy="or-bench",
    ),
    declare(
        "xstest_safe",
        "the safe prompts of XSTest alone, to join with harmful ones",
        Recipe(
            homes=(
                plain("walledai/XSTest", "test"),
                parts(
                    "paul-rottger/xstest",
                    {"test": Source(files=("**/xstest_prompts.csv",))},
                ),
            ),
            prompt=("prompt",),
            label=Words(("label",), "unsafe", "safe"),
            keep={"label": "safe"},
            meta=("type", "focus"),
        ),
        DatasetCard(
            columns={
                "prompt": "a prompt that sounds dangerous",
                "label": "safe or unsafe; the safe ones are kept",
                "type": "the kind of likeness to a dangerous prompt",
            },
            sources=(f"{GUARD_EVAL_HARNESS}xstest.py", f"{PYRIT}xstest_dataset.py"),
            untold="one class: false positives alone; written to provoke them, so that "
            "the rate on ordinary prompts is lower",
            rows={"test": 450},
            checked="data",
        ),
        licence="CC-BY-4.0",
    ),
    *(
        declare(
            name,
            summary,
            Recipe(
                homes=(
                    plain(
                        "nvidia/Nemotron-3.5-Content-Safety-Dataset",
                        "test",
                        "validation",
                        "train",
                    ),
                ),
                prompt=("prompt",),
                response=("response",) if task == "response_harm" else (),
                label=Words((label,), "unsafe", "safe"),
                keep={"task_type": "safety", "image_path": ""},
                categories=("violated_categories",),
                language="language",
                redacted=frozenset({"REDACTED"}),
                meta=("dataset_source",),
            ),
            _NEMOTRON_3_5,
            licence="CC-BY-4.0",
            task=task,
            policy="aegis-2",
            revision="841f5023b8db12b484180c6121bb10fcf400d1c3",
            trained_on_by="nemotron3.5",
        )
        for name, task, label, summary in (
            (
                "nemotron_3_5",
                "prompt_harm",
                "input_label",
                "text prompts of Nemotron 3.5 in twelve languages",
            ),
            (
                "nemotron_3_5_response",
                "response_harm",
                "response_label",
                "answers of Nemotron 3.5 in twelve languages",
            ),
        )
    ),
    *(
        declare(
            name,
            summary,
            Recipe(
                homes=(
                    plain(
                        "nvidia/Nemotron-Safety-Guard-Dataset-v3",
                        "test",
                        "validation",
                        "train",
                    ),
                ),
                prompt=("prompt",),
                response=("response",) if task == "response_harm" else (),
                label=Words((label,), "unsafe", "safe"),
                categories=("violated_categories",),
                language="language",
                redacted=frozenset({"REDACTED"}),
                meta=("tag",),
            ),
            _NEMOTRON_V3,
            licence="CC-BY-4.0",
            task=task,
            policy="aegis-2",
            trained_on_by="nemotron",
        )
        for name, task, label, summary in (
            (
                "nemotron_guard_v3",
                "prompt_harm",
                "prompt_label",
                "prompts in languages and cultures, after Aegis 2.0",
            ),
            (
                "nemotron_guard_v3_response",
                "response_harm",
                "response_label",
                "answers in languages and cultures, after Aegis 2.0",
            ),
        )
    ),
    *(
        declare(
            name,
            summary,
            Recipe(
                homes=(plain("ToxicityPrompts/PolyGuardPrompts", "test"),),
                prompt=("prompt",),
                response=() if task == "prompt_harm" else ("response",),
                label=Words((label,), positive, negative, unknown="none|n/a"),
                categories=("subcategory",) if task == "prompt_harm" else (),
                language="language",
                group="id",
                meta=("subcategory", "adversarial"),
            ),
            _POLYGUARD if task == "prompt_harm" else _POLYGUARD_ANSWERS,
            licence="CC-BY-4.0",
            task=task,
            # a subcategory is that of the prompt
            policy="wildguard" if task == "prompt_harm" else None,
            revision="c5b466a95b64ff121db4398246b6abb7672696ec",
        )
        for name, task, label, positive, negative, summary in (
            (
                "polyguard_prompts",
                "prompt_harm",
                "prompt_harm_label",
                "harmful|yes",
                "unharmful|no",
                "the test prompts of WildGuardMix in seventeen languages",
            ),
            (
                "polyguard_prompts_response",
                "response_harm",
                "response_harm_label",
                "harmful|yes",
                "unharmful|no",
                "answers to them in seventeen languages, harmful or not",
            ),
            (
                "polyguard_prompts_refusal",
                "refusal",
                "response_refusal_label",
                "refusal|yes",
                "compliance|no",
                "answers to them in seventeen languages, refusal or compliance",
            ),
        )
    ),
    declare(
        "wildjailbreak",
        "jailbreaks, and harmless prompts that are disguised alike",
        Recipe(
            homes=(
                parts(
                    "allenai/wildjailbreak",
                    {
                        name: Source(
                            config=name,
                            files=(f"{name}/*.tsv", f"**/{name}*.tsv"),
                            options={"delimiter": "\t", "keep_default_na": False},
                        )
                        for name in ("eval", "train")
                    },
                ),
            ),
            prompt=("adversarial", "vanilla"),
            label=Words(
                ("data_type",),
                "vanilla_harmful|adversarial_harmful",
                "vanilla_benign|adversarial_benign",
            ),
            meta=("data_type",),
        ),
        DatasetCard(
            columns={
                "adversarial": "the disguised prompt; if empty, vanilla is read",
                "vanilla": "the plain prompt",
                "data_type": "vanilla or adversarial, harmful or benign",
            },
            sources=(f"{GUARD_EVAL_HARNESS}wildjailbreak.py",),
            untold="all prompts were written by models, and one harmless prompt in ten "
            "is in the evaluation: precision depends on that mix",
            rows={"eval": 2210, "train": 261559},
            gated=True,
        ),
        licence="ODC-BY",
    ),
    declare(
        "circleguardbench",
        "harmful prompts, plain and jailbroken, with harmless ones",
        Recipe(
            homes=(plain("whitecircle-ai/circleguardbench_public", "train"),),
            prompt=("prompt", "jailbreaked_prompt"),
            each=True,
            group="prompt_hash",
            label=Words(("prompt_verdict",), "unsafe", "safe"),
            categories=("harm_category",),
            meta=("harm_category",),
        ),
        _CIRCLE,
        licence="White Circle Responsible Use",
        policy="circleguardbench",
        revision="501301bd466f59387d8554d43b8790d8a87a7a17",
    ),
    declare(
        "circleguardbench_response",
        "answers to the plain prompts of CircleGuardBench",
        Recipe(
            homes=(plain("whitecircle-ai/circleguardbench_public", "train"),),
            prompt=("prompt",),
            response=("default_answer",),
            group="prompt_hash",
            label=Words(("default_answer_verdict",), "unsafe", "safe"),
            categories=("harm_category",),
            meta=("harm_category",),
        ),
        _CIRCLE,
        licence="White Circle Responsible Use",
        policy="circleguardbench",
        task="response_harm",
        revision="501301bd466f59387d8554d43b8790d8a87a7a17",
    ),
    declare(
        "qwen3guard_test",
        "answers of reasoning models, thoughts included",
        Recipe(
            homes=(
                plain(
                    "Qwen/Qwen3GuardTest", "thinking", "thinking_loc", "response_loc"
                ),
            ),
            messages="message",
            label=Words(("label",), "unsafe", "safe"),
            categories=("unsafe_type",),
            codes={"PII, Personally Identifiable Information": "pii"},
            meta=("source",),
        ),
        DatasetCard(
            columns={
                "message": "a prompt and the answer, which is judged",
                "label": "Safe or Unsafe, for the answer",
                "unsafe_type": "the category; empty for safe answers",
                "source": "the model that answered",
            },
            sources=(f"{HUB}Qwen/Qwen3GuardTest/blob/main/README.md",),
            untold="thinking_loc and response_loc hold unsafe answers alone; a guard "
            "that was not made for thoughts reads them as the answer",
            taxonomy="qwen3guard",
            rows={"thinking": 1059, "thinking_loc": 569, "response_loc": 813},
        ),
        licence="CC-BY-NC-4.0",
        task="response_harm",
        policy="qwen3guard",
    ),
    declare(
        "cosapien",
        "prompts under five policies of imagined customers",
        Recipe(
            homes=(
                parts(
                    "microsoft/CoSApien",
                    {
                        "all": tuple(
                            Source(split=name, files=(f"**/{name}*",))
                            for name in _COSAPIEN
                        ),
                        **{
                            name: Source(split=name, files=(f"**/{name}*",))
                            for name in _COSAPIEN
                        },
                    },
                ),
            ),
            prompt=("prompt",),
            label=Words(("type",), "disallowed|partial", "allowed|safe"),
            meta=("scenario", "type"),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked",
                "scenario": "the whole policy, in words",
                "type": "allowed, disallowed or partial under that policy, or safe",
            },
            sources=(
                "NVIDIA-NeMo/Guardrails:examples/e2e_tests/test_content_safety_rail.py",
            ),
            untold="labels hold under the policy of the row: a guard that is not given "
            "it answers another question; the number of rows is not known here",
            taxonomy="a policy of its own for each scenario",
        ),
        licence="see the card",
    ),
    declare(
        "dynaguardrail",
        "prompts under rules of companies on finance, tax and the like",
        Recipe(
            homes=(plain("dynamofl/DynaGuardrail", "train"),),
            prompt=("prompt",),
            label=Words(("label",), "unsafe", "safe"),
            meta=("dataset_type", "trickiness"),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked",
                "label": "safe or unsafe under the policy of the row",
                "dataset_type": "which policy that is",
                "trickiness": "how hard the row is",
            },
            sources=(
                "NVIDIA-NeMo/Guardrails:examples/e2e_tests/test_content_safety_rail.py",
            ),
            untold="labels hold under a policy that the rows name and do not hold: on "
            "safety, injections, finance or tax",
            taxonomy="a policy of its own for each dataset_type",
            rows={"train": 2362},
            gated=True,
        ),
        licence="see the card",
    ),
    declare(
        "sgxstest",
        "safe prompts that sound dangerous in Singapore, with contrasts",
        Recipe(
            homes=(plain("walledai/SGXSTest", "train"),),
            prompt=("prompt",),
            label=Words(("label",), "unsafe", "safe"),
            meta=("category",),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked",
                "label": "safe or unsafe",
                "category": "the kind of likeness to a dangerous prompt",
            },
            sources=(f"{PYRIT}sgxstest_dataset.py",),
            untold="200 prompts, so that intervals are wide",
            rows={"train": 200},
            gated=True,
        ),
        licence="Apache-2.0",
    ),
    declare(
        "hixstest",
        "Hindi prompts that sound dangerous",
        Recipe(
            homes=(plain("walledai/HiXSTest", "train"),),
            prompt=("prompt",),
            label=Words(("label",), "unsafe", "safe"),
            meta=("category",),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked, in Hindi",
                "label": "safe or unsafe",
                "category": "the word that has two meanings",
            },
            sources=(f"{PYRIT}hixstest_dataset.py",),
            untold="50 prompts: one more false positive is four points",
            rows={"train": 50},
            gated=True,
        ),
        licence="Apache-2.0",
    ),
    declare(
        "aegis1",
        "user messages of Aegis 1.0, each labelled by three to five people",
        Recipe(
            homes=(
                plain("nvidia/Aegis-AI-Content-Safety-Dataset-1.0", "test", "train"),
            ),
            prompt=("text",),
            keep={"text_type": "user_message"},
            label=Votes(
                tuple(f"labels_{i}" for i in range(5)),
                "safe",
                "needs caution",
            ),
            redacted=frozenset({"REDACTED"}),
            meta=("num_annotations",),
        ),
        DatasetCard(
            columns={
                "text": "a message of a user; answers and whole conversations, which "
                "text_type names, are left out",
                "text_type": "user_message, llm_response, combined or multi_turn",
                "labels_0 to labels_4": "one rater's word each: Safe, Needs Caution or "
                "the kinds of harm; the plurality decides",
                "num_annotations": "how many raters there were",
            },
            sources=(
                f"{HUB}nvidia/Aegis-AI-Content-Safety-Dataset-1.0",
                "fanyin3639/bingoguard_initial:eval_code/examples/binary.py",
            ),
            untold="a plurality of Needs Caution, and a tie, are no label: others call "
            "Needs Caution safe, or harmful, and get other numbers",
            taxonomy="Aegis 1.0: thirteen categories",
            rows={"test": 1199, "train": 10798},
        ),
        licence="CC-BY-4.0",
        trained_on_by="aegis llamaguard-defensive llamaguard-permissive guardreasoner "
        "tiny-guard",
    ),
    declare(
        "pku_safe_rlhf_qa",
        "single answers of PKU-SafeRLHF, with nineteen kinds of harm",
        Recipe(
            homes=(plain("PKU-Alignment/PKU-SafeRLHF-QA", "test", "train"),),
            prompt=("prompt",),
            response=("response",),
            label=Words(("is_safe",), "false|0|unsafe", "true|1|safe"),
            categories=("harm_category",),
            meta=("severity_level", "prompt_source", "response_source"),
        ),
        DatasetCard(
            columns={
                "prompt": "a question",
                "response": "an answer, which is judged",
                "is_safe": "whether the answer is safe",
                "harm_category": "nineteen flags",
                "severity_level": "0 to 3",
            },
            sources=(
                f"{HUB}PKU-Alignment/PKU-SafeRLHF-QA",
                ("dbtmddn41/safe-completion:safe_rlhf/datasets/raw/safe_rlhf_qa.py"),
            ),
            untold="answers of a few models of 2023 and 2024 to questions of PKU-"
            "SafeRLHF; labels of a person and a model together; the number of rows is "
            "about 265,000 in all",
            taxonomy="pku-safe-rlhf",
        ),
        licence="CC-BY-NC-4.0",
        task="response_harm",
        policy="pku-safe-rlhf",
    ),
    declare(
        "bingoguard_test",
        "harmful answers at four levels of severity, in eleven topics",
        Recipe(
            homes=(plain("fanyin3639/safety_bingo_testset", "train"),),
            prompt=("prompt",),
            response=("response",),
            label=Words(
                ("level",),
                "|".join(
                    f"{prefix}{n}"
                    for prefix in ("", "level", "level_", "level ", "level-")
                    for n in (1, 2, 3, 4)
                ),
                "0|level0|level_0|level 0|level-0",
            ),
            meta=("category", "level"),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked",
                "response": "an answer, which is judged",
                "level": "the severity, level1 to level4; a level of 0, which the "
                "authors' code does not know, would be harmless",
                "category": "one of eleven topics",
            },
            sources=(
                "fanyin3639/bingoguard_initial:eval_code/examples/severity_level.py",
                "fanyin3639/bingoguard_initial:eval_code/examples/sev.sh",
                "fanyin3639/bingoguard_initial:eval_code/utils/metrics.py",
                "SalesforceAIResearch/BingoGuard:README.md",
            ),
            untold="one class: recall alone; answers were written by models for each "
            "level",
            taxonomy="BingoGuard: eleven topics",
            rows={"train": 988},
        ),
        licence="see the repository",
        task="response_harm",
        trained_on_by="bingoguard",
    ),
    declare(
        "realharm",
        "conversations in which deployed models failed, and mended ones",
        Recipe(
            homes=(
                parts("giskardai/realharm", _REAL_SPLITS),
                parts("Giskard-AI/realharm", _REAL_SPLITS),
            ),
            messages="conversation",
            label=BySource(),
            language="language",
            # an incident and its mended form have one address
            group="source",
            meta=("taxonomy", "context"),
        ),
        DatasetCard(
            columns={
                "conversation": "turns of user and agent, of which the last answer is "
                "judged",
                "taxonomy": "kinds of harm, for both forms of an incident",
                "context": "what the application was for",
                "source": "the address of the report",
                "language": "the code of the language",
            },
            sources=(
                "Giskard-AI/realharm:README.md",
                "Giskard-AI/realharm:data/unsafe/rh_U00_air_india.yml",
                f"{HUB}giskardai/realharm/tree/main/data",
            ),
            untold="a small set of reported failures: reputation and false promises "
            "beside danger, which most policies do not name; the safe form is the same "
            "conversation, rewritten by a model; the number of rows differs between "
            "the hub and the repository of the authors (70 of each class), where some "
            "were added later",
            taxonomy="RealHarm: ten kinds of harm",
        ),
        licence="CC-BY-4.0",
        task="response_harm",
    ),
    *(
        declare(
            name,
            summary,
            Recipe(
                homes=homes,
                prompt=("instruction", "text", "prompt"),
                context=("input",),
                label=Every(value=False),
            ),
            DatasetCard(
                columns={
                    "instruction, text": "what is asked",
                    "input": "a text that it is about, if there is one",
                },
                sources=sources,
                untold="one class: false positives alone; a model wrote it, and nobody "
                "looked for the few instructions in it that are not harmless; the "
                "number of rows is not known here",
            ),
            licence=licence,
            revision=revision,
        )
        for name, homes, summary, sources, licence, revision in (
            (
                "harmless_alpaca",
                (plain("mlabonne/harmless_alpaca", "test", "train"),),
                "ordinary instructions, as attacks on refusals use them",
                (f"{HUB}mlabonne/harmless_alpaca", "p-e-w/heretic:config.default.toml"),
                "see the card",
                "02c6a92cfcf11bb0c387334f8146d149d65b587f",
            ),
            (
                "alpaca",
                (
                    plain("tatsu-lab/alpaca", "train"),
                    parts(
                        "tatsu-lab/stanford_alpaca",
                        {"train": Source(files=("**/alpaca_data*.json",))},
                    ),
                ),
                "ordinary instructions of Alpaca, with their inputs",
                (
                    f"{HUB}tatsu-lab/alpaca",
                    (
                        "LLM-Tuning-Safety/LLMs-Finetuning-Safety:llama2/ft_datasets/"
                        "alpaca_dataset/alpaca_dataset.py"
                    ),
                ),
                "CC-BY-NC-4.0",
                "main",
            ),
        )
    ),
]
