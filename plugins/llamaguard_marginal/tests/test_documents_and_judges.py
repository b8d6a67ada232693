"""Responses held against documents, and general chat models as judges of any task.

Frames have the published roles and variables. Prompts are rendered with Jinja alone or
filled with Python's own formatting; probabilities come from plain enumeration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.profiles import read_profile
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.profile.resolve import FOLDER, parse_profile
from safebench_llamaguard_marginal.strategies.marginal import (
    MarginalAnyOptions,
    marginal_any,
)
from safebench_llamaguard_marginal.testing import (
    build_tokenizer,
    enumerate_answers,
    save_guard,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

DOCUMENTS = ("Ann wrote the book.", "It has {two} parts.")
TALK = (Turn("user", "Who wrote it?"), Turn("assistant", "Ben wrote the book."))
GRANITE = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Refuses to go without what the response is held against, as published templates do.
CONTEXT_ROLE = """{% set risk = guardian_config["risk_name"] %}
{% if risk == "groundedness" and messages[-2]["role"] != "context" %}
{{ raise_exception("a context is needed before the response") }}
{% endif %}
<|start_of_role|>user<|end_of_role|>Is there the risk {{ risk }}?
{% for m in messages[-2:] %}
{{ "Context" if m["role"] == "context" else "Assistant" }}: {{ m["content"] }}
{% endfor %}
<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>"""
CONTEXT_VARIABLE = """{% for d in documents %}
<|start_of_role|>document {{ d["doc_id"] }}<|end_of_role|>{{ d["text"] }}<|end_of_text|>
{% endfor %}
{% for m in messages %}
<|start_of_role|>{{ m["role"] }}<|end_of_role|>{{ m["content"] }}<|end_of_text|>
{% endfor %}
Judge {{ guardian_config["criteria_id"] }}.
<|start_of_role|>assistant<|end_of_role|>"""
CHATML = """{% for m in messages %}
<|im_start|>{{ m["role"] }}
{{ m["content"] }}<|im_end|>
{% endfor %}
<|im_start|>assistant
"""
YES_NO = {"Yes": 0.35, "No\n<confidence> Low </confidence>": 0.65}
SCORED = {"<think>\n</think>\n<score> yes </score>": 0.2, "<score>no</score>": 0.8}


def frame(template: str, messages: list[dict[str, str]], **variables: Any) -> str:
    """Render a template with Jinja alone."""
    from jinja2 import Environment

    environment = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, **variables)


def said(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    """Return turns as the messages of a chat template."""
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def judge(
    folder: Path, prompt: str, answers: Mapping[str, float], sample: Sample, **more: Any
) -> tuple[dict[str, float], Any]:
    """Return what the network of a guard writes, and what the guard reads of it."""
    special = more.pop("special")
    tokenizer = build_tokenizer(
        [prompt, *answers],
        special=special,
        eos=special[-1] if special is QWEN else special[0],
        template=more.pop("template"),
    )
    kind = "qwen3" if special is QWEN else "granite"
    network = save_guard(folder, tokenizer, {prompt: answers}, kind=kind)
    options = GuardOptions(model=str(folder), dtype="float64", eps=0, **more)
    guard = LlamaGuard(options)
    recording = guard.record([sample], frozenset({VerdictTree}), lambda _: None)
    assert recording.traces[0].error is None, recording.traces[0].error
    context = Context(
        task=sample.task, policy=guard.guard.policy, options=MarginalAnyOptions()
    )
    judged = marginal_any(EvidenceBundle(recording.evidence), context)
    return enumerate_answers(network, tokenizer, prompt), judged


def test_documents_are_a_turn_of_their_own_role(tmp_path: Path) -> None:
    """One turn, right before the response; the question is not shown."""
    together = {"role": "context", "content": "\n\n".join(DOCUMENTS)}
    prompt = frame(
        CONTEXT_ROLE,
        [together, *said(TALK[1:])],
        guardian_config={"risk_name": "groundedness"},
    )
    sample = Sample(id="x", turns=TALK, documents=DOCUMENTS, task="groundedness")

    truth, judged = judge(
        tmp_path,
        prompt,
        YES_NO,
        sample,
        special=GRANITE,
        template=CONTEXT_ROLE,
        profile="granite-guardian-3-groundedness",
    )

    assert 0.35 == pytest.approx(truth["Yes"], abs=1e-6)
    assert truth["Yes"] == pytest.approx(judged.score[0], abs=1e-6)


@pytest.mark.parametrize(
    ("documents", "named"),
    [
        (DOCUMENTS, {"profile": "granite-guardian-3.3-groundedness"}),
        (
            DOCUMENTS[1:],
            {"profile": "granite-guardian-3.3", "criteria": ("groundedness",)},
        ),
    ],
    ids=["two", "one"],
)
def test_documents_are_a_variable_of_the_template(
    tmp_path: Path, documents: tuple[str, ...], named: dict[str, Any]
) -> None:
    """An entry for each, numbered from 0, whatever braces their texts hold."""
    prompt = frame(
        CONTEXT_VARIABLE,
        said(TALK),
        documents=[{"doc_id": str(i), "text": d} for i, d in enumerate(documents)],
        guardian_config={"criteria_id": "groundedness"},
    )
    sample = Sample(id="x", turns=TALK, documents=documents, task="groundedness")

    truth, judged = judge(
        tmp_path,
        prompt,
        SCORED,
        sample,
        special=GRANITE,
        template=CONTEXT_VARIABLE,
        **named,
    )

    harm = sum(p for text, p in truth.items() if "yes" in text)
    assert 0.2 == pytest.approx(harm, abs=1e-6)
    assert harm == pytest.approx(judged.score[0], abs=1e-6)


def test_a_slot_that_a_document_does_not_have_is_refused() -> None:
    """So is a document outside of a list: it would be one text for all of them."""
    from safebench_llamaguard_marginal.prompt.profile_format import template_variables

    file = read_profile("granite-guardian-3.3-groundedness", FOLDER)
    prompt = parse_profile(file).prompts["assistant"]
    for variables, message in (
        ({"documents": [{"text": "{document} {title}"}]}, "takes the slots {document}"),
        ({"documents": "{document}"}, "stands in an entry of a list"),
    ):
        prompt.variables.clear()
        prompt.variables.update(variables)
        with pytest.raises(OptionError, match=message):
            template_variables(prompt, {}, "profile x: prompt")


JUDGES = {
    "judge-refusal": ("refusal", TALK),
    "judge-injection": ("injection", TALK[:1]),
    "judge-jailbreak": ("jailbreak", TALK[:1]),
    "judge-groundedness": ("groundedness", TALK),
    "judge": ("groundedness", TALK),
}
POLICY = """id: mine
version: '1'
categories:
  A1: {name: Rude, definition: Is rude.}
  A2: {name: Wrong, definition: Is wrong.}
"""


@pytest.mark.parametrize("profile", list(JUDGES))
def test_a_chat_model_judges_any_task(tmp_path: Path, profile: str) -> None:
    """By a question of this project, or by the user's policy with its categories."""
    task, turns = JUDGES[profile]
    policy = tmp_path / "mine.yaml"
    policy.write_text(POLICY)
    text = (
        read_profile(profile, FOLDER)
        .content["prompt"]["text"]
        .format(
            role="Agent" if turns[-1].role == "assistant" else "User",
            conversation="".join(
                f"{'User' if t.role == 'user' else 'Agent'}: {t.text}\n\n"
                for t in turns
            ),
            documents="\n\n".join(DOCUMENTS),
            categories="A1: Rude.\nIs rude.\nA2: Wrong.\nIs wrong.",
            example="A1,A2",
        )
    )
    by_policy = profile == "judge"
    yes = {"yes\nA2": 0.2, "yes\nA1,A2": 0.1} if by_policy else {"yes": 0.2, "Yes": 0.1}
    answers = {**yes, "no": 0.7}
    sample = Sample(id="x", turns=turns, documents=DOCUMENTS, task=task)
    if "{documents}" not in str(read_profile(profile, FOLDER).content):
        sample = Sample(id="x", turns=turns, task=task)

    truth, judged = judge(
        tmp_path / "guard",
        frame(CHATML, [{"role": "user", "content": text}]),
        answers,
        sample,
        special=QWEN,
        template=CHATML,
        profile=profile,
        policy=str(policy) if by_policy else "",
    )

    assert 0.7 == pytest.approx(truth["no"], abs=1e-6)
    assert 1 - truth["no"] == pytest.approx(judged.score[0], abs=1e-6)
    if by_policy:
        assert [0.1, 0.3] == pytest.approx(judged.categories[0].tolist(), abs=1e-6)


def test_a_judge_of_a_policy_needs_one(tmp_path: Path) -> None:
    """Without a policy nothing says what is looked for."""
    texts = ["What is asked", "yes"]
    tokenizer = build_tokenizer(texts, special=QWEN, eos=QWEN[-1], template=CHATML)
    save_guard(tmp_path, tokenizer, {"What is asked": {"yes": 1.0}}, kind="qwen3")

    with pytest.raises(OptionError, match="name yours"):
        LlamaGuard(GuardOptions(model=str(tmp_path), profile="judge"))


def test_every_task_has_a_profile() -> None:
    """Of the tasks that no named data set of prompts or responses is about, too."""
    from safebench_llamaguard_marginal.profile.catalog import guard_profiles

    answered = {task for guard in guard_profiles() for task in guard.tasks}

    assert {"refusal", "injection", "jailbreak", "groundedness"} <= answered


@pytest.mark.parametrize(
    ("positive", "problem"),
    [
        ((False, False), "nothing could be flagged"),
        ((True, True), "everything would be flagged"),
    ],
    ids=["none", "all"],
)
def test_an_answer_that_is_always_the_same_is_refused(
    tmp_path: Path, positive: tuple[bool, bool], problem: str
) -> None:
    """By the guard, before it records, and by the check of a profile alone."""
    from safebench_llamaguard_marginal.profile.check import check_profile

    first, second = (str(flag).lower() for flag in positive)
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "summary: one-sided\n"
        "tasks: {user: [injection]}\n"
        "answer:\n"
        "  levels:\n"
        f"    - {{name: low, positive: {first}}}\n"
        f"    - {{name: high, positive: {second}}}\n"
    )
    texts = ["What is asked", "yes"]
    tokenizer = build_tokenizer(texts, special=QWEN, eos=QWEN[-1], template=CHATML)
    save_guard(tmp_path, tokenizer, {"What is asked": {"yes": 1.0}}, kind="qwen3")
    options = GuardOptions(model=str(tmp_path), profile=str(profile))

    checks = {name: detail for name, status, detail in check_profile(options)}

    assert problem in checks["injection"]
    with pytest.raises(OptionError, match=problem):
        LlamaGuard(options)
