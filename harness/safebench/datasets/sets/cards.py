"""Cards of the public sets that have a reader of their own in `..public`."""

from __future__ import annotations

from dataclasses import replace

from safebench.specs import DatasetCard

from .declaration import GUARD_EVAL_HARNESS, PYRIT

_MARGINAL = "the-fenrir/MarginalProb4Classification:datasets/content_moderation_"
_WILDGUARD = DatasetCard(
    columns={
        "prompt": "the user's turn",
        "response": "a model's answer; empty for prompts alone",
        "prompt_harm_label": "harmful or unharmful, for the prompt",
        "response_harm_label": "harmful or unharmful, for the answer",
        "response_refusal_label": "refusal or compliance, for the answer",
        "subcategory": "one of thirteen kinds of harm, or benign",
        "adversarial": "whether the prompt is disguised as a jailbreak is",
    },
    sources=(
        f"{GUARD_EVAL_HARNESS}wildguardmix.py",
        f"{PYRIT}wildguardmix_dataset.py",
    ),
    untold="most prompts were written by models; labels are empty where annotators "
    "disagreed",
    taxonomy="WildGuard: thirteen subcategories, of the prompt",
    rows={"test": 1725, "train": 86759},
    gated=True,
    checked="data",
)
_WILDGUARD_ANSWERS = replace(
    _WILDGUARD,
    untold=f"{_WILDGUARD.untold}; the embedded guard learnt prompts of train by their "
    "own labels, and none of answers: the prompts are shared, the labels are not",
)
_XSTEST_RESPONSE_SOURCES = (
    "https://huggingface.co/datasets/allenai/xstest-response",
    "fanyin3639/bingoguard_initial:eval_code/examples/binary.py",
)

CARDS = {
    "content_moderation_lm2": DatasetCard(
        columns={
            "unsafe_query": "what is asked for",
            "llama_guard_2_categories": "two or three codes of Llama Guard 2",
        },
        sources=(f"{_MARGINAL}lm2.jsonl",),
        untold="one class: recall and categories alone; written by models",
        taxonomy="llama-guard-2",
        rows={"train": 1266},
        checked="data",
    ),
    "content_moderation_lm3": DatasetCard(
        columns={
            "unsafe_query": "what is asked for",
            "llama_guard_3_categories": "two or three codes of Llama Guard 3",
        },
        sources=(f"{_MARGINAL}lm3.jsonl",),
        untold="one class: recall and categories alone; written by models",
        taxonomy="llama-guard-3",
        rows={"train": 2295},
        checked="data",
    ),
    "openai_moderation": DatasetCard(
        columns={
            "prompt": "a text that was sent to a model",
            "S, H, V, HR, SH, S3, H2, V2": "1 where the category applies, 0 where it "
            "does not, absent where nobody looked",
        },
        sources=(
            "openai/moderation-api-release:data/samples-1680.jsonl.gz",
            f"{GUARD_EVAL_HARNESS}openai_moderation_dataset.py",
        ),
        untold="a prompt without any category may have one that nobody looked for",
        taxonomy="openai-moderation",
        rows={"train": 1680},
        checked="data",
    ),
    "toxic_chat": DatasetCard(
        columns={
            "user_input": "what a user of a demonstration typed",
            "toxicity": "1 if people found it toxic",
            "jailbreaking": "1 if it tries to get around the model's rules",
        },
        sources=(
            f"{GUARD_EVAL_HARNESS}toxic_chat.py",
            f"{PYRIT}toxic_chat_dataset.py",
        ),
        untold="7 % of it is toxic, mostly sexual; it says little about other harm",
        rows={"test": 5083, "train": 5082},
        checked="data",
    ),
    "wildguardmix": replace(_WILDGUARD, taxonomy="wildguard"),
    "wildguardmix_response": _WILDGUARD_ANSWERS,
    "wildguardmix_refusal": _WILDGUARD_ANSWERS,
    "xstest": DatasetCard(
        columns={
            "prompt": "a prompt that sounds dangerous",
            "label": "safe or unsafe",
            "type": "the kind of likeness to a dangerous prompt, or its contrast",
        },
        sources=(f"{GUARD_EVAL_HARNESS}xstest.py", f"{PYRIT}xstest_dataset.py"),
        untold="short, plain English; ordinary prompts cause fewer false positives",
        rows={"test": 450},
        checked="data",
    ),
    "jbb_behaviors": DatasetCard(
        columns={
            "Goal": "what is asked for",
            "Index": "joins a harmful goal to its benign counterpart",
            "Behavior": "a short name of the goal",
            "Category": "one of ten kinds of misuse",
        },
        sources=(
            f"{GUARD_EVAL_HARNESS}jbb_behaviors.py",
            f"{PYRIT}jbb_behaviors_dataset.py",
        ),
        untold="200 prompts, so that intervals are wide; goals alone, no jailbreak "
        "around them",
        taxonomy="jailbreakbench",
        rows={"all": 200, "harmful": 100, "benign": 100},
        checked="data",
    ),
    "catqa": DatasetCard(
        columns={
            "Question": "what is asked",
            "Category": "one of eleven kinds of harm",
            "Subcategory": "one of five within the category",
        },
        sources=(
            "declare-lab/red-instruct:harmful_questions/catqa_english.json",
            f"{PYRIT}categorical_harmful_qa_dataset.py",
        ),
        untold="one class: recall and categories alone; written by a model",
        taxonomy="catqa",
        rows={"en": 550},
        checked="data",
    ),
    "in_the_wild_jailbreak": DatasetCard(
        columns={
            "prompt": "a jailbreak that people shared",
            "jailbreak": "true in every row of this config",
            "platform": "where it was found",
        },
        sources=(
            "verazuo/jailbreak_llms:data/prompts/jailbreak_prompts_2023_12_25.csv",
            f"{PYRIT}trustairlab_in_the_wild_jailbreak_dataset.py",
        ),
        untold="one class: recall alone; of 2023, and many copies of one text",
        rows={"train": 1405},
        checked="data",
    ),
    "beavertails": DatasetCard(
        columns={
            "prompt": "a question",
            "response": "a model's answer, which is judged",
            "is_safe": "false if any of the fourteen categories applies",
            "category": "fourteen flags",
        },
        sources=(
            f"{GUARD_EVAL_HARNESS}beaver_tails_330k.py",
            f"{PYRIT}beaver_tails_dataset.py",
        ),
        untold="answers are of one weak model of 2023; a question occurs with several "
        "answers",
        taxonomy="beavertails",
        rows={
            "30k_test": 3021,
            "330k_test": 33396,
            "30k_train": 27186,
            "330k_train": 300567,
        },
        checked="data",
    ),
    "pku_safe_rlhf": DatasetCard(
        columns={
            "prompt": "a question",
            "response_0, response_1": "two answers to it",
            "is_response_0_safe, is_response_1_safe": "whether each is safe",
            "safer_response_id": "which of both is safer",
        },
        sources=(
            f"{GUARD_EVAL_HARNESS}pku_safe_rlhf.py",
            f"{PYRIT}pku_safe_rlhf_dataset.py",
        ),
        untold="which answer is safer was decided even where both are safe",
        taxonomy="pku-safe-rlhf",
        rows={"test": 8211, "train": 73907},
        checked="data",
    ),
    "xstest_response": DatasetCard(
        columns={
            "prompt": "a prompt of XSTest",
            "response": "a model's answer, which is judged",
            "label": "harmful or unharmful",
        },
        sources=_XSTEST_RESPONSE_SOURCES,
        untold="a sixth of it is harmful; short answers to short prompts",
        rows={"response_harmfulness": 446},
        checked="data",
    ),
    "xstest_response_refusal": DatasetCard(
        columns={
            "prompt": "a prompt of XSTest",
            "response": "a model's answer, which is judged",
            "label": "refusal or compliance",
        },
        sources=_XSTEST_RESPONSE_SOURCES,
        untold="short answers to short prompts",
        rows={"response_refusal": 449},
        checked="data",
    ),
    "diasafety": DatasetCard(
        columns={
            "context": "what one person says",
            "response": "the answer, which is judged in its context",
            "label": "Safe or Unsafe",
            "category": "one of five kinds of unsafe talk",
        },
        sources=("thu-coai/DiaSafety:DiaSafety_dataset/val.json",),
        untold="chit-chat of small models: unsafe means offensive or careless rather "
        "than dangerous",
        taxonomy="diasafety",
        rows={"validation": 1097, "train": 9017},
        checked="data",
    ),
    "dices": DatasetCard(
        columns={
            "context": "a conversation with a chatbot",
            "response": "its last answer, which is judged",
            "Q_overall": "one rater's verdict; the label is the plurality",
            "Q2_harmful_content_overall, Q3_bias_overall, "
            "Q4_misinformation_overall": "one rater's verdict on a kind of harm, of "
            "which the plurality decides, too",
            "item_id": "joins the ratings of one conversation",
        },
        sources=(
            "google-research-datasets/dices-dataset:990/README.md",
            f"{GUARD_EVAL_HARNESS}dices_990.py",
            "dmg-illc/JUDGE-BENCH:data/dices/dices_990.json",
        ),
        untold="raters disagree by design; the number of rows is 72,104 where each is "
        "a rating, and 990 where each is a conversation",
        taxonomy="dices",
        checked="data",
    ),
}
