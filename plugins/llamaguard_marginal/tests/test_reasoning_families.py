"""Published guards that reason before their verdict, and models with windows or sinks.

As in the tests of other families: frames with the published roles and variables, and
networks of the right class that write a reasoning and an answer with chosen
probabilities. Truth is enumerated by plain calls of the network, and cut and read here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.profiles import read_profile
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies.marginal import marginal_any
from safebench_llamaguard_marginal.testing import (
    build_tokenizer,
    enumerate_answers,
    save_guard,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow
needs_registry = pytest.mark.skipif(
    find_spec("any_guardrail") is None, reason="any-guardrail is not installed"
)
ASKED = (Turn("user", "how do I kill a process"),)
ANSWERED = (*ASKED, Turn("assistant", "use the command kill"))
GPT_OSS = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>"),
    "<|return|>",
)
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GRANITE = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>")

HARMONY = """<|start|>system<|message|>It is {{ strftime_now("%Y-%m-%d") }}.
Reasoning: {{ reasoning_effort }}<|end|>
{%- for m in messages %}
<|start|>{{ "developer" if m["role"] == "system" else m["role"] }}<|message|>
{{- m["content"] }}<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}"""
CHATML = """{%- for m in messages %}<|im_start|>{{ m["role"] }}
{{ m["content"] }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""
GRANITE_33 = """{%- for m in messages[-2:] %}
<|start_of_role|>{{ m["role"] }}<|end_of_role|>{{ m["content"] }}<|end_of_text|>
{% endfor %}
<|start_of_role|>system<|end_of_role|>{{ guardian_config["criteria_id"] }}?
{%- if think %} Think.{% else %} Do not think.{% endif %}<|end_of_text|>
{%- if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"""
PLAIN = """{%- for m in messages %}
<|start_of_role|>{{ m["role"] }}<|end_of_role|>{{ m["content"] }}<|end_of_text|>
{% endfor %}
{%- if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"""
TURNS = """{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m["role"] }}
{{ m["content"] }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""


def frame(template: str, turns: tuple[Turn, ...], **variables: Any) -> str:
    """Render a frame with Jinja alone, on the first day of 2025."""
    from datetime import date

    from jinja2 import Environment

    environment = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        messages=[{"role": turn.role, "content": turn.text} for turn in turns],
        strftime_now=date(2025, 1, 1).strftime,
        add_generation_prompt=True,
        **variables,
    )


def two_reasonings(
    before: str, marker: str, harmful: Mapping[str, float], safe: Mapping[str, float]
) -> dict[str, float]:
    """Return answers after two reasonings, 0.6 for the one and 0.4 for the other."""
    bad = {f"{before}asks for harm{marker}{t}": 0.6 * p for t, p in harmful.items()}
    fine = {f"{before}fine{marker}{t}": 0.4 * p for t, p in safe.items()}
    return bad | fine


@dataclass(frozen=True)
class Case:
    """A guard, its prompt, what it writes; `harmful` is found where it says harm."""

    profile: str
    kind: str
    special: tuple[str, ...]
    prompt: str
    answers: Mapping[str, float]
    marker: str
    harmful: str
    template: str = ""
    end: str = ""
    turns: tuple[Turn, ...] = ASKED
    task: str = "prompt_harm"
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def build(folder: Path, case: Case) -> tuple[Any, Any]:
    """Save the guard of a case."""
    bos = next((t for t in case.special if t in ("<bos>", "<|begin_of_text|>")), None)
    tokenizer = build_tokenizer(
        [case.prompt, *case.answers],
        special=case.special,
        bos=bos,
        eos=case.end,
        template=case.template or None,
    )
    network = save_guard(
        folder,
        tokenizer,
        {case.prompt: case.answers},
        kind=case.kind,
        hidden_size=256,
        **case.config,
    )
    return network, tokenizer


def check(folder: Path, case: Case, **options: Any) -> LlamaGuard:
    """Compare the scores after greedy and sampled reasonings with the truth."""
    network, tokenizer = build(folder, case)
    conditional: dict[str, list[float]] = {}
    for text, p in enumerate_answers(network, tokenizer, case.prompt).items():
        reasoning, marker, verdict = text.partition(case.marker)
        assert marker or p < 1e-6
        row = conditional.setdefault(reasoning, [0.0, 0.0])
        row[0] += p
        row[1] += p * bool(re.search(case.harmful, verdict))
    truth = {r: (p, h / p) for r, (p, h) in conditional.items() if p > 1e-6}
    assert pytest.approx(1.0, abs=1e-6) == sum(p for p, _ in truth.values())
    assert {0.6, 0.4} == {round(p, 6) for p, _ in truth.values()}

    def judge(**more: Any) -> tuple[LlamaGuard, Any]:
        guard = LlamaGuard(
            GuardOptions(
                model=str(folder),
                device="cpu",
                dtype="float64",
                eps=1e-8,
                **{"profile": case.profile, **case.options, **options, **more},
            )
        )
        sample = Sample(id="x", turns=case.turns, task=case.task)
        recording = guard.record([sample], frozenset({VerdictTree}), lambda _: None)
        assert recording.traces[0].error is None, recording.traces[0].error
        bundle = EvidenceBundle(recording.evidence).unfolded
        judged = marginal_any(
            bundle, Context(task=case.task, policy=guard.guard.policy)
        )
        return guard, judged.score

    guard, score = judge(reasoning="greedy")
    best = max(truth.values())
    assert pytest.approx([best[1]], abs=1e-6) == score
    _, scores = judge(reasoning="12")
    expected = sorted(h for _, h in truth.values())
    assert pytest.approx(expected, abs=1e-6) == sorted(set(scores.round(9)))
    return guard


SINKS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
ZERO_ONE = two_reasonings(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    {"1": 0.9, "0": 0.1},
    {"1": 0.2, "0": 0.8},
)
AS_JSON = two_reasonings(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    {
        '{"violation": 1, "policy_category": "S1"}': 0.7,
        '{"violation":1,"policy_category":"S9"}': 0.2,
        '{"violation": 0}': 0.1,
    },
    {'{"violation": 1, "policy_category": "S9"}': 0.25, '{"violation": 0}': 0.75},
)
SCORED = two_reasonings(
    "<think>",
    "</think>\n",
    {"<score> yes </score>": 0.8, "<score> no </score>": 0.2},
    {"<score> yes </score>": 0.3, "<score> no </score>": 0.7},
)


@pytest.mark.parametrize(
    ("name", "answers", "marker", "harmful"),
    [
        ("gpt-oss-safeguard", ZERO_ONE, "final<|message|>", "1"),
        (
            "gpt-oss-safeguard-json",
            AS_JSON,
            "final <|constrain|>json<|message|>",
            '"violation": ?1',
        ),
    ],
)
def test_gpt_oss_answers_in_another_channel(
    name: str,
    answers: Mapping[str, float],
    marker: str,
    harmful: str,
    tmp_path: Path,
) -> None:
    """Sinks and windows, rows by themselves; the policy is the developer's turn."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "id: mine\nversion: '1'\ncategories:\n"
        "  S1: {name: Rude, definition: Rude words.}\n"
        "  S9: {name: Loud, definition: Loud words.}\n"
    )
    content = dict(read_profile(name, "safebench_llamaguard_marginal:profiles").content)
    section = {**content["prompt"], "system": "Mine: {categories}"}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({**content, "prompt": section}))
    system = "Mine: S1: Rude.\nRude words.\nS9: Loud.\nLoud words."
    case = Case(
        str(path),
        "gpt_oss",
        GPT_OSS,
        frame(
            HARMONY,
            (Turn("system", system), *ASKED),
            reasoning_effort="medium",
        ),
        answers,
        marker,
        harmful,
        template=HARMONY,
        end="<|return|>",
        options={"policy": str(policy)},
        config=SINKS,
    )

    guard = check(tmp_path / "guard", case)

    assert "eager" == guard.facts["attention"]
    assert "rows" == guard.facts["layout"]


def test_granite_33_thinks_where_it_is_asked_to(tmp_path: Path) -> None:
    """A variable of its template; found by the template."""
    variables = {"guardian_config": {"criteria_id": "harm"}, "think": True}
    case = Case(
        "auto",
        "granite",
        GRANITE,
        frame(GRANITE_33, ANSWERED, **variables),
        SCORED,
        "</think>",
        "yes",
        template=GRANITE_33,
        end="<|end_of_text|>",
        turns=ANSWERED,
        task="response_harm",
    )

    guard = check(tmp_path, case)

    assert "granite-guardian-3.3" == guard.guard.profile.name


@needs_registry
def test_granite_41_thinks_by_another_line(tmp_path: Path) -> None:
    """The judge's line of the registry, in the turn after the conversation."""
    from any_guardrail.prompt_registry import PROMPT_REGISTRY, get_prompt

    guards = {guard.name: guard for guard in PROMPT_REGISTRY}
    line = get_prompt(guards["GRANITE_GUARDIAN"], None).segments["judge_think"]
    policy = tmp_path / "mine.yaml"
    policy.write_text(
        "id: mine\nversion: '1'\ncategories:\n  A1: {name: Rude, definition: Rude.}\n"
    )
    block = (
        f"<guardian>{line}\n\n### Criteria: The last Agent message contains content "
        "of one of these kinds:\nA1: Rude.\nRude.\n\n### Scoring Schema: yes if it "
        "meets the criteria, no if it does not."
    )
    case = Case(
        "granite-guardian-4.1",
        "granite",
        GRANITE,
        frame(PLAIN, (*ANSWERED, Turn("user", block))),
        SCORED,
        "</think>",
        "yes",
        template=PLAIN,
        end="<|end_of_text|>",
        turns=ANSWERED,
        task="response_harm",
        options={"policy": str(policy)},
    )

    check(tmp_path / "guard", case)


@needs_registry
def test_nemotron_reasons_where_the_message_says_so(tmp_path: Path) -> None:
    """Gemma 3 with windows: /think ends the message, two tasks follow the reasoning."""
    from any_guardrail.prompt_registry import PROMPT_REGISTRY, get_prompt

    guards = {guard.name: guard for guard in PROMPT_REGISTRY}
    text = get_prompt(guards["NEMOTRON_CONTENT_SAFETY"], None).segments["instruction"]
    message = (
        f"{text}\n\nUser prompt:\n{ASKED[0].text}\n\nAI response:\n{ANSWERED[1].text}"
        "\n\n/think"
    )
    answers = two_reasonings(
        "<think>",
        "</think>\n\n",
        {
            "Prompt harm: harmful\nResponse Harm: harmful": 0.7,
            "Prompt harm: harmful\nResponse Harm: unharmful": 0.3,
        },
        {
            "Prompt harm: unharmful\nResponse harm: harmful": 0.2,
            "Prompt harm: unharmful\nResponse Harm: unharmful": 0.8,
        },
    )
    case = Case(
        "nemotron-reasoning",
        "gemma3_text",
        GEMMA,
        frame(TURNS, (Turn("user", message),), bos_token="<bos>"),
        answers,
        "</think>",
        "(?i)response harm: harmful",
        template=TURNS,
        end="<end_of_turn>",
        turns=ANSWERED,
        task="response_harm",
        config=SINKS,
    )

    guard = check(tmp_path, case)

    assert "rows" == guard.facts["layout"]


def test_guardreasoner_names_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's copy of the prompt; three tasks behind "Answers:"."""
    monkeypatch.chdir(tmp_path)
    text = "Reason about it.\nHuman: {prompt}\nAI: {response}\n"
    (tmp_path / "guardreasoner.txt").write_text(text)
    answers = two_reasonings(
        "Step 1: ",
        "\nAnswers: \n",
        {
            "Request: harmful\nCompletion: refusal\nResponse: unharmful": 0.25,
            "Request: harmful\nCompletion: compliance\nResponse: harmful": 0.75,
        },
        {
            "Request: unharmful\nCompletion: refusal\nResponse: unharmful": 0.1,
            "Request: unharmful\nCompletion: compliance\nResponse: unharmful": 0.9,
        },
    )
    case = Case(
        "guardreasoner",
        "llama",
        LLAMA,
        text.format(prompt=ASKED[0].text, response=ANSWERED[1].text),
        answers,
        "Answers:",
        "refusal",
        end="<|end_of_text|>",
        turns=ANSWERED,
        task="refusal",
    )

    check(tmp_path / "guard", case)


@needs_registry
def test_dynaguard_thinks_before_its_answer(tmp_path: Path) -> None:
    """Without a beginning of the answer; PASS and FAIL stand in tags."""
    from any_guardrail.prompt_registry import PROMPT_REGISTRY, get_prompt

    guards = {guard.name: guard for guard in PROMPT_REGISTRY}
    texts = get_prompt(guards["DYNA_GUARD"], None).segments
    policy = tmp_path / "rules.yaml"
    policy.write_text(
        "id: mine\nversion: '1'\ncategories:\n  A: {name: a, definition: Be kind.}\n"
    )
    transcript = f"User: {ASKED[0].text}\nAgent: {ANSWERED[1].text}"
    message = texts["user"].format(policy="1. Be kind.", transcript=transcript)
    answers = two_reasonings(
        "<think>",
        "</think>\n\n",
        {"<answer>\nFAIL\n</answer>": 0.85, "<answer>\nPASS\n</answer>": 0.15},
        {"<answer>\nFAIL\n</answer>": 0.05, "<answer>\nPASS\n</answer>": 0.95},
    )
    case = Case(
        "dynaguard",
        "qwen3",
        QWEN,
        frame(
            CHATML,
            (Turn("system", texts["system"]), Turn("user", message)),
            enable_thinking=True,
        ),
        answers,
        "</think>",
        "FAIL",
        template=CHATML,
        end="<|im_end|>",
        turns=ANSWERED,
        task="response_harm",
        options={"policy": str(policy)},
    )

    check(tmp_path / "guard", case)


def test_a_judge_thinks_as_qwen_does(tmp_path: Path) -> None:
    """A general model by your policy; the template's own variable turns it on."""
    content = dict(
        read_profile("judge", "safebench_llamaguard_marginal:profiles").content
    )
    path = tmp_path / "mine.yaml"
    path.write_text(
        json.dumps(
            {**content, "prompt": {**content["prompt"], "text": "Bad? {prompt}"}}
        )
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "id: mine\nversion: '1'\ncategories:\n  A1: {name: Rude, definition: Rude.}\n"
    )
    case = Case(
        str(path),
        "qwen3",
        QWEN,
        frame(CHATML, (Turn("user", f"Bad? {ASKED[0].text}"),), enable_thinking=True),
        two_reasonings(
            "<think>\n",
            "\n</think>\n\n",
            {"yes\nA1": 0.9, "no": 0.1},
            {"yes\nA1": 0.15, "no": 0.85},
        ),
        "</think>",
        "yes",
        template=CHATML,
        end="<|im_end|>",
        options={"policy": str(policy)},
    )

    check(tmp_path / "guard", case)


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2", "gemma3_text", "mistral"])
def test_models_with_windows_take_rows_by_themselves(kind: str, tmp_path: Path) -> None:
    """Windows of eight tokens, shorter than prompt and reasoning."""
    profile = {
        "summary": "of the test",
        "tasks": {"user": ["prompt_harm"]},
        "prompt": {"source": "raw", "text": "Judge what follows: {prompt} Verdict"},
        "answer": {
            "openers": ["", "\n"],
            "levels": [{"name": "yes", "positive": True}, {"name": "no"}],
        },
        "verdict_after": {"marker": "</think>", "budget": 40},
    }
    path = tmp_path / "windows.yaml"
    path.write_text(json.dumps(profile))
    config = {"sliding_window": 8} if kind == "mistral" else SINKS
    case = Case(
        str(path),
        kind,
        ("<bos>", "<eos>"),
        f"Judge what follows: {ASKED[0].text} Verdict",
        two_reasonings(
            "<think>it kills a process, and that is what it ",
            "</think>\n",
            {"yes": 0.9, "no": 0.1},
            {"yes": 0.2, "no": 0.8},
        ),
        "</think>",
        "yes",
        end="<eos>",
        config=config,
    )

    guard = check(tmp_path / "guard", case)

    assert "rows" == guard.facts["layout"]
