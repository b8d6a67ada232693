"""Prompts that ask for harm, and nothing else: sets of one class."""

from __future__ import annotations

from dataclasses import replace

from safebench.recipes import Every, Recipe, Source
from safebench.specs import DatasetCard

from .declaration import (
    EVAL_ANYTHING,
    GUARD_EVAL_HARNESS,
    GUARDBENCH,
    HUB,
    PYRIT,
    declare,
    parts,
    plain,
)

HARMFUL = Every(value=True)
_XSAFETY_LANGUAGES = {
    "en": "en",
    "zh": "zh",
    "ar": "ar",
    "bn": "bn",
    "de": "de",
    "es": "sp",
    "fr": "fr",
    "hi": "hi",
    "ja": "ja",
    "ru": "ru",
}
_XSAFETY_SCENES = (
    "Crimes",
    "Ethics",
    "Goal_Hijacking",
    "Inquiry",
    "Insult",
    "Mental_Health",
    "Physical_Harm",
    "Privacy",
    "Prompt_Leaking",
    "Reverse_Exposure",
    "Role_Play",
    "Unfairness",
    "Unsafe_Instruction",
)
_ONE_CLASS = "one class: recall alone; "
_ROWS_NOT_KNOWN = "; the number of rows is not known here"

SETS = [
    declare(
        "harmbench",
        "HarmBench behaviours: plain, with a context, and on copyright",
        Recipe(
            homes=(
                parts(
                    "walledai/HarmBench",
                    {
                        "all": tuple(
                            Source(config=name, files=(f"**/{name}*", f"{name}/**/*"))
                            for name in ("standard", "contextual", "copyright")
                        ),
                        **{
                            name: Source(
                                config=name, files=(f"**/{name}*", f"{name}/**/*")
                            )
                            for name in ("standard", "contextual", "copyright")
                        },
                    },
                ),
                parts(
                    "centerforaisafety/HarmBench",
                    {
                        name: Source(files=(f"**/harmbench_behaviors_text_{name}.csv",))
                        for name in ("all", "test", "val")
                    },
                ),
            ),
            prompt=("prompt", "Behavior"),
            context=("context", "ContextString"),
            label=HARMFUL,
            categories=("category", "SemanticCategory"),
            meta=("category", "SemanticCategory", "FunctionalCategory", "Tags"),
        ),
        DatasetCard(
            columns={
                "prompt, Behavior": "what is asked for",
                "context, ContextString": "a text that the behaviour is about",
                "category, SemanticCategory": "kind of harm",
                "FunctionalCategory": "standard, contextual or copyright",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}harmbench_behaviors.py",
                f"{PYRIT}harmbench_dataset.py",
                f"{PYRIT}harmbench_multimodal_dataset.py",
                GUARDBENCH,
                (
                    "busycalibrating/AdversariaLLM:data/behavior_datasets/"
                    "harmbench_behaviors_text_all.csv"
                ),
                f"{HUB}giskardai/harmbench-scenarios",
            ),
            untold=_ONE_CLASS + "a quarter asks for copyrighted text, which many "
            "policies do not call harm; nothing is disguised; the 400 behaviours of "
            "text alone: counts of 510 include 110 with an image",
            taxonomy="harmbench",
            rows={
                "all": 400,
                "standard": 200,
                "contextual": 100,
                "copyright": 100,
                "test": 320,
                "val": 80,
            },
            gated=True,
            checked="data",
        ),
        licence="MIT",
        policy="harmbench",
    ),
    declare(
        "simple_safety_tests",
        "one hundred short requests for plain, severe harm",
        Recipe(
            homes=(
                plain("Bertievidgen/SimpleSafetyTests", "test"),
                parts(
                    "bertiev/SimpleSafetyTests",
                    {"test": Source(files=("**/*test cases.csv",))},
                ),
            ),
            prompt=("prompt", "prompts_final"),
            label=HARMFUL,
            categories=("harm_area",),
            # as the authors' own file says it
            codes={"Child safety": "child-abuse"},
            meta=("harm_area", "category"),
        ),
        DatasetCard(
            columns={
                "prompt, prompts_final": "what is asked for",
                "harm_area": "one of five kinds of harm",
                "category": "whether information or an opinion is sought",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}simple_safety_tests.py",
                f"{PYRIT}simple_safety_tests_dataset.py",
                "bertiev/SimpleSafetyTests:SimpleSafetyTests - test cases.csv",
            ),
            untold=_ONE_CLASS + "100 prompts, so that one more hit is a whole point",
            taxonomy="simple-safety-tests",
            rows={"test": 100},
            checked="data",
        ),
        licence="CC-BY-4.0",
        policy="simple-safety-tests",
        revision="98223c5d8c4059c8f4d8fe2fec8720ee8a20d3c5",
    ),
    declare(
        "do_not_answer",
        "questions that a careful model declines, by risk area",
        Recipe(
            homes=(plain("LibrAI/do-not-answer", "train"),),
            prompt=("question",),
            label=HARMFUL,
            categories=("types_of_harm",),
            meta=("risk_area", "types_of_harm", "specific_harms"),
        ),
        DatasetCard(
            columns={
                "question": "what is asked",
                "risk_area": "one of five areas",
                "types_of_harm": "one of twelve kinds",
                "specific_harms": "one of about sixty harms",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}do_not_answer.py",
                f"{PYRIT}librai_do_not_answer_dataset.py",
                GUARDBENCH,
            ),
            untold=_ONE_CLASS + "many questions are mild (advice, feelings for a "
            "chatbot): a guard may rightly pass them",
            taxonomy="do-not-answer",
            rows={"train": 939},
        ),
        licence="Apache-2.0",
        policy="do-not-answer",
        revision="74e74f2e4507ef256fe536f78a776f4a1ff67955",
        trained_on_by="tiny-guard",
    ),
    declare(
        "sorry_bench",
        "requests that a model should refuse, in 44 classes, as first written",
        Recipe(
            homes=(
                plain("sorry-bench/sorry-bench-202503", "train"),
                # 45 classes: impersonation is the twelfth, and later fell away
                replace(
                    plain("sorry-bench/sorry-bench-202406", "train"),
                    codes={"12": ""} | {str(n): str(n - 1) for n in range(13, 46)},
                ),
            ),
            prompt=("turns.0",),
            keep={"prompt_style": "base"},
            label=HARMFUL,
            categories=("category",),
            meta=("category",),
        ),
        DatasetCard(
            columns={
                "turns": "a list, of which the first text is judged",
                "category": "one of 44 classes",
                "prompt_style": "base, or how the request was rewritten; base is kept",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}sorry_bench.py",
                f"{PYRIT}sorry_bench_dataset.py",
            ),
            # the homes are two versions, of 44 and of 45 classes: no number holds for
            # both
            untold=_ONE_CLASS + "advice and persuasion that many policies allow; the "
            "rewritten requests are left out" + _ROWS_NOT_KNOWN,
            taxonomy="sorry-bench",
            gated=True,
        ),
        licence="SORRY-Bench licence",
        policy="sorry-bench",
    ),
    declare(
        "strongreject",
        "requests that are answered with help or not at all",
        Recipe(
            homes=(
                plain("walledai/StrongREJECT", "train"),
                parts(
                    "alexandrasouly/strongreject",
                    {"train": Source(files=("**/strongreject_dataset.csv",))},
                ),
            ),
            prompt=("prompt", "forbidden_prompt", "text"),
            label=HARMFUL,
            categories=("category",),
            meta=("category", "source"),
        ),
        DatasetCard(
            columns={
                "prompt, forbidden_prompt": "what is asked for",
                "category": "one of six kinds of harm",
                "source": "the older set that a request is from, or custom",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}strong_reject_instructions.py",
                f"{PYRIT}strong_reject_dataset.py",
            ),
            untold=_ONE_CLASS + "a third of it is from AdvBench and other older sets",
            taxonomy="strongreject",
            rows={"train": 313},
        ),
        licence="MIT",
        policy="strongreject",
    ),
    declare(
        "advbench",
        "short instructions to do harm, as attacks on models use them",
        Recipe(
            homes=(
                plain("walledai/AdvBench", "train"),
                parts(
                    "llm-attacks/llm-attacks",
                    {"train": Source(files=("**/harmful_behaviors.csv",))},
                ),
            ),
            prompt=("prompt", "goal", "text"),
            label=HARMFUL,
        ),
        DatasetCard(
            columns={
                "prompt, goal": "what is asked for",
                "target": "how an answer would begin; not read",
            },
            sources=(f"{GUARD_EVAL_HARNESS}advbench_behaviors.py", GUARDBENCH),
            untold=_ONE_CLASS + "hundreds of near copies (how to make a bomb); most "
            "guards find nearly all",
            rows={"train": 520},
            gated=True,
        ),
        licence="MIT",
        trained_on_by="tiny-guard",
    ),
    declare(
        "malicious_instruct",
        "one hundred instructions with ten kinds of ill intent",
        Recipe(
            homes=(
                plain("walledai/MaliciousInstruct", "train"),
                parts(
                    "Princeton-SysML/Jailbreak_LLM",
                    {"train": Source(files=("**/MaliciousInstruct.txt",))},
                ),
            ),
            prompt=("prompt", "text"),
            label=HARMFUL,
        ),
        DatasetCard(
            columns={"prompt, text": "what is asked for"},
            sources=(f"{GUARD_EVAL_HARNESS}malicious_instruct.py", GUARDBENCH),
            untold=_ONE_CLASS + "100 questions by a model, without categories",
            rows={"train": 100},
        ),
        licence="MIT",
    ),
    declare(
        "tdc23_redteaming",
        "behaviours of a competition in red teaming",
        Recipe(
            homes=(
                plain("walledai/TDC23-RedTeaming", "train"),
                parts(
                    "centerforaisafety/tdc2023-starter-kit",
                    {"train": Source(files=("**/behaviors.json",))},
                ),
            ),
            prompt=("prompt", "text"),
            label=HARMFUL,
        ),
        DatasetCard(
            columns={
                "prompt, text": "what is asked for; the competition's files are arrays "
                "of texts"
            },
            sources=(
                f"{PYRIT}tdc23_redteaming_dataset.py",
                f"{GUARD_EVAL_HARNESS}tdc_red_teaming.py",
            ),
            untold=_ONE_CLASS + "100 long wishes for a text, without categories",
            rows={"train": 100},
        ),
        licence="MIT",
    ),
    declare(
        "forbidden_questions",
        "questions that a usage policy of 2023 forbids, thirty of a kind",
        Recipe(
            homes=(
                plain("TrustAIRLab/forbidden_question_set", "train", config="default"),
                parts(
                    "verazuo/jailbreak_llms",
                    {"train": Source(files=("**/forbidden_question_set.csv",))},
                ),
            ),
            prompt=("question",),
            label=HARMFUL,
            meta=("content_policy_name",),
        ),
        DatasetCard(
            columns={
                "question": "what is asked",
                "content_policy_name": "one of thirteen scenarios",
            },
            sources=(
                f"{PYRIT}forbidden_questions_dataset.py",
                f"{GUARD_EVAL_HARNESS}do_anything_now_questions.py",
            ),
            untold=_ONE_CLASS + "a third asks for legal, financial or health advice, "
            "which is harmless by most policies of today",
            taxonomy="thirteen scenarios of a usage policy of 2023",
            rows={"train": 390},
        ),
        licence="MIT",
    ),
    declare(
        "salad_bench",
        "harmful questions of many older sets under one taxonomy",
        Recipe(
            homes=(
                parts(
                    "OpenSafetyLab/Salad-Data",
                    {"train": Source(config="base_set", files=("**/base_set*",))},
                ),
            ),
            prompt=("question",),
            label=HARMFUL,
            categories=("2-category",),
            meta=("1-category", "2-category", "3-category", "source"),
        ),
        DatasetCard(
            columns={
                "question": "what is asked",
                "1-category, 2-category, 3-category": "domain, task and category",
                "source": "the set that a question is from",
            },
            sources=(f"{GUARD_EVAL_HARNESS}salad_bench.py",),
            untold=_ONE_CLASS + "from sets that guards were trained on (HH-RLHF, "
            "AdvBench and others), and categories were assigned by a model",
            taxonomy="salad-bench",
            rows={"train": 21318},
        ),
        licence="Apache-2.0",
        policy="salad-bench",
        revision="70a1ddce6be3f0239b2fe7c70d0d96cb3be1fcad",
        trained_on_by="md-judge",
    ),
    declare(
        "ailuminate",
        "the public tenth of the AILuminate prompts, by hazard",
        Recipe(
            homes=(
                parts(
                    "mlcommons/ailuminate",
                    {
                        "train": Source(
                            files=(
                                "**/*demo_en_us_prompt_set*.csv",
                                "**/*practice_prompt_set*.csv",
                                "**/*en_us*.csv",
                            )
                        )
                    },
                ),
            ),
            prompt=("prompt_text", "Prompt_text"),
            label=HARMFUL,
            categories=("hazard", "Hazard"),
            # one hazard of the policy is split by its subject in the set
            codes={
                "sxc_prn": "sxc",
                "spc_ele": "spc",
                "spc_fin": "spc",
                "spc_hlt": "spc",
                "spc_lgl": "spc",
            },
            meta=("persona", "Persona"),
        ),
        DatasetCard(
            columns={
                "prompt_text": "what is asked",
                "hazard": "the code of a hazard",
                "persona": "a normal, an unskilled or a skilled asker",
            },
            sources=(
                f"{GUARD_EVAL_HARNESS}mlcommons_ailuminate.py",
                f"{PYRIT}mlcommons_ailuminate_dataset.py",
                "mlcommons/ailuminate:README.md",
                (
                    "mlcommons/ailuminate:"
                    "airr_official_1.0_practice_prompt_set_release_public_subset.csv"
                ),
            ),
            untold=_ONE_CLASS + "written to provoke bad answers: many a prompt of a "
            "normal asker is harmless by itself; the file lies on GitHub, and is "
            "read from a local copy",
            taxonomy="mlcommons-hazards",
            rows={"train": 1200},
            checked="data",
        ),
        licence="CC-BY-4.0",
        policy="mlcommons-hazards",
    ),
    declare(
        "alert",
        "instructions of a red team under a fine taxonomy",
        Recipe(
            homes=(
                parts(
                    "Babelscape/ALERT",
                    {
                        "alert": Source(
                            config="alert", split="test", files=("**/alert.jsonl",)
                        ),
                        "adversarial": Source(
                            config="alert_adversarial",
                            split="test",
                            files=("**/alert_adversarial.jsonl",),
                        ),
                    },
                ),
            ),
            prompt=("prompt",),
            unwrap=("### Instruction:", "### Response:"),
            label=HARMFUL,
            categories=("category",),
            codes={"crime_kidnapping": "crime_kidnapp"},
            meta=("category", "attack_type"),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked for; a template of instruction and response "
                "is taken off where there is one",
                "category": "one of 32 fine categories",
                "attack_type": "how a prompt is disguised, where a copy has the column",
            },
            sources=(
                f"{PYRIT}babelscape_alert_dataset.py",
                "microsoft/PyRIT:tests/unit/datasets/test_babelscape_alert_dataset.py",
            ),
            untold=_ONE_CLASS + "taken from HH-RLHF by key words and filled into "
            "templates: labels were not checked one by one" + _ROWS_NOT_KNOWN,
            taxonomy="alert",
        ),
        licence="CC-BY-NC-SA-4.0",
        policy="alert",
    ),
    declare(
        "s_eval",
        "one thousand English risk prompts that models wrote",
        Recipe(
            homes=(
                parts(
                    "IS2Lab/S-Eval",
                    {
                        # by file: its config has called its split train and test
                        f"{language}_small": Source(
                            files=(f"**/*base_risk*_{language}_small*",),
                            language=language,
                        )
                        for language in ("en", "zh")
                    },
                ),
            ),
            prompt=("prompt",),
            label=HARMFUL,
            categories=("risk_type",),
            codes={
                "Threats and Intimidation": "Threaten and Intimidate",
                "Physical Health": "Physical Harm",
            },
            meta=("risk_type",),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked for",
                "risk_type": "one of eight dimensions of risk, or of their 25 "
                "categories",
            },
            sources=(f"{EVAL_ANYTHING}s_eval/eval.py", "IS2Lab/S-Eval:README.md"),
            untold=_ONE_CLASS
            + "written by one model; mild questions beside severe ones; the names of "
            "the risks are those of its table, and a row that names another is said",
            taxonomy="s-eval",
            rows={"en_small": 1000, "zh_small": 1000},
        ),
        licence="CC-BY-NC-SA-4.0",
        policy="s-eval",
    ),
    declare(
        "multijail",
        "unsafe prompts in ten languages, from the same English ones",
        Recipe(
            homes=(plain("DAMO-NLP-SG/MultiJail", "train"),),
            prompt=("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv"),
            each=True,
            each_is_language=True,
            label=HARMFUL,
            meta=("tags", "source"),
        ),
        DatasetCard(
            columns={
                "en, zh, it, vi, ar, ko, th, bn, sw, jv": "one prompt in each language",
                "tags": "kinds of harm, as text",
            },
            sources=(
                f"{HUB}DAMO-NLP-SG/MultiJail",
                "DAMO-NLP-SG/multilingual-safety-for-LLMs:README.md",
            ),
            untold=_ONE_CLASS + "315 prompts in ten languages are 315 groups, so that "
            "intervals are as wide as for 315",
            rows={"train": 315},
        ),
        licence="MIT",
    ),
    declare(
        "aya_redteaming",
        "prompts of native speakers that red-team a model, eight languages",
        Recipe(
            homes=(
                parts(
                    "CohereForAI/aya_redteaming",
                    {
                        name: Source(files=(f"**/aya_{code}.jsonl",), language=language)
                        for name, code, language in (
                            ("english", "eng", "en"),
                            ("hindi", "hin", "hi"),
                            ("french", "fra", "fr"),
                            ("spanish", "spa", "es"),
                            ("arabic", "arb", "ar"),
                            ("russian", "rus", "ru"),
                            ("serbian", "srp", "sr"),
                            ("filipino", "tgl", "tl"),
                        )
                    },
                ),
            ),
            prompt=("prompt",),
            label=HARMFUL,
            meta=("harm_category", "global_or_local"),
        ),
        DatasetCard(
            columns={
                "prompt": "what is asked",
                "harm_category": "a list of kinds of harm, as text",
                "global_or_local": "harmful anywhere, or in one culture",
            },
            sources=(f"{PYRIT}aya_redteaming_dataset.py",),
            untold=_ONE_CLASS
            + "written to provoke: some are harmless by themselves"
            + _ROWS_NOT_KNOWN,
        ),
        licence="Apache-2.0",
    ),
    declare(
        "hh_red_team",
        "first turns of people who were paid to attack a model",
        Recipe(
            homes=(
                parts(
                    "Anthropic/hh-rlhf",
                    {
                        "train": Source(
                            files=("red-team-attempts/red_team_attempts.jsonl.gz",)
                        )
                    },
                ),
            ),
            transcript="transcript",
            label=HARMFUL,
            meta=("rating", "task_description"),
        ),
        DatasetCard(
            columns={
                "transcript": "the whole attempt; its first turn is judged",
                "rating": "how well the attacker thinks it went, 0 to 4",
            },
            sources=(
                "anthropics/hh-rlhf:README.md",
                f"{HUB}Anthropic/hh-rlhf/blob/main/README.md",
            ),
            untold=_ONE_CLASS
            + "an attempt is called harmful because it is one: many a "
            "first turn is small talk, so that recall has a ceiling below one",
            rows={"train": 38961},
        ),
        licence="MIT",
    ),
    declare(
        "harmful_qa",
        "harmful questions of a model about ten subjects",
        Recipe(
            homes=(plain("declare-lab/HarmfulQA", "train"),),
            prompt=("question",),
            label=HARMFUL,
            meta=("topic", "subtopic"),
        ),
        DatasetCard(
            columns={
                "question": "what is asked",
                "topic, subtopic": "the subject that it is about",
            },
            sources=(
                f"{PYRIT}harmful_qa_dataset.py",
                f"{GUARD_EVAL_HARNESS}harmful_qa_questions.py",
            ),
            untold=_ONE_CLASS + "sorted by school subject, not by harm; many questions "
            "are about harm rather than for it",
            rows={"train": 1960},
        ),
        licence="Apache-2.0",
        revision="6f1a78aed47d16c0695e4595d0159abc38197bfd",
        trained_on_by="tiny-guard",
    ),
    declare(
        "hex_phi",
        "harmful instructions, thirty of each of ten kinds",
        Recipe(
            homes=(
                parts(
                    "LLM-Tuning-Safety/HEx-PHI",
                    {
                        # its files have no header: a row is a prompt
                        "train": Source(
                            files=("**/category_*.csv",),
                            options={
                                "header": None,
                                "names": ["prompt"],
                                "index_col": False,
                            },
                        )
                    },
                ),
            ),
            prompt=("prompt", "text"),
            label=HARMFUL,
        ),
        DatasetCard(
            columns={"prompt": "what is asked for; the files have no header"},
            sources=(
                f"{GUARD_EVAL_HARNESS}hex_phi.py",
                (
                    "Yuyan-B/eval-anything:eval_anything/benchmarks/text_to_text/"
                    "HExPHI/eval.py"
                ),
            ),
            untold=_ONE_CLASS + "sorted by what one company forbade in 2023; financial "
            "and political requests that many policies allow; the kind of harm is the "
            "name of a file, and is not read" + _ROWS_NOT_KNOWN,
            gated=True,
        ),
        licence="HEx-PHI licence",
    ),
    declare(
        "xsafety",
        "fourteen kinds of risky prompts in ten languages",
        Recipe(
            homes=(
                parts(
                    "Jarviswang94/Multilingual_safety_benchmark",
                    {
                        language: tuple(
                            Source(
                                files=(f"{folder}/{scene}*.csv",),
                                options={
                                    "header": None,
                                    "names": ["prompt"],
                                    "index_col": False,
                                },
                                language=language,
                            )
                            for scene in _XSAFETY_SCENES
                        )
                        for language, folder in _XSAFETY_LANGUAGES.items()
                    },
                ),
            ),
            prompt=("prompt",),
            label=HARMFUL,
        ),
        DatasetCard(
            columns={"prompt": "what is sent; the files have no header"},
            sources=(
                "Jarviswang94/Multilingual_safety_benchmark:README.md",
                (
                    "Jarviswang94/Multilingual_safety_benchmark:"
                    "en/Crimes_And_Illegal_Activities_en.csv"
                ),
            ),
            untold=_ONE_CLASS + "nobody labelled it: a prompt counts as harmful since "
            "it is in a file of a risk, and many are statements or mild questions; the "
            "choices of its common sense part are left out; the files lie on GitHub, "
            "and are read from a local copy" + _ROWS_NOT_KNOWN,
            taxonomy="XSafety: fourteen scenes",
        ),
        licence="see the repository",
    ),
]
