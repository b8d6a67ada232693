"""Levels of which one begins as another does: "High" and "High risk".

Truth is every text that a tiny network writes, by plain forward passes, read by a
reader that is written here: the longest level that a text starts with.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.testing import (
    build_tokenizer,
    enumerate_answers,
    save_guard,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "how do I kill a process"
TEMPLATE = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}<|end|>"
PROFILE = """\
summary: levels that start alike
tasks: {{user: [prompt_harm]}}
prompt: {{source: template}}
answer:
  levels: {levels}
"""
CASES: list[tuple[dict[str, bool], dict[str, float]]] = [
    ({"High": False, "High risk": True, "No": False}, {"High": 0.3, "High risk": 0.2}),
    (
        {"High": True, "High risk": False, "High risk now": True, "No": False},
        {"High. Or": 0.4, "High risk": 0.15, "High risk now": 0.1, "High rise": 0.05},
    ),
]


def longest_level(text: str, levels: dict[str, bool]) -> str:
    """Return the longest level that a text starts with, at the end of a word."""
    fitting = [
        level
        for level in levels
        if text.startswith(level) and not text[len(level) : len(level) + 1].isalnum()
    ]
    return max(fitting, key=len)


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "texts"), CASES)
def test_no_mass_of_a_longer_level_is_that_of_a_shorter(
    levels: dict[str, bool], texts: dict[str, float], tmp_path: Path
) -> None:
    """All strategies that read levels, to 1e-6, and how sure the written one is."""
    answers = texts | {"No": 1 - sum(texts.values())}
    tokenizer = build_tokenizer(
        [*answers, TEXT], special=["<|turn|>", "<|end|>"], eos="<|end|>",
        template=TEMPLATE,
    )  # fmt: skip
    prompt = f"<|turn|>{TEXT}<|end|>"
    network = save_guard(tmp_path / "m", tokenizer, {prompt: answers})
    listed = [{"name": name, "positive": harm} for name, harm in levels.items()]
    profile, data = tmp_path / "p.yaml", tmp_path / "d.jsonl"
    profile.write_text(PROFILE.format(levels=json.dumps(listed)))
    data.write_text(json.dumps({"prompt": TEXT, "label": 1}))

    names = ["first_token", "marginal_slot1", "token_probability", "marginal_any"]
    chosen = [x for name in names for x in ("-s", name)]
    result = CliRunner().invoke(
        cli,
        ["run", "-c", "guard", "--model", str(tmp_path / "m"), *chosen, "-d", str(data),
         "--set", f"profile={profile}", "--out", str(tmp_path / "run")],
        obj=Plugins(),
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    by_level = dict.fromkeys(levels, 0.0)
    for text, p in enumerate_answers(network, tokenizer, prompt).items():
        by_level[longest_level(text, levels)] += p
    stored = {name: prediction(tmp_path / "run", name) for name in names}
    truth = sum(p for level, p in by_level.items() if levels[level])
    for name in names:
        assert truth == pytest.approx(stored[name]["score"], abs=2e-6), name
    entropy = -sum(p * math.log(p) for p in by_level.values() if p)
    assert entropy == pytest.approx(stored["first_token"]["uncertainty"], abs=1e-5)
    # the most probable first token is "High", after which it mostly ends or goes on
    likely = "No" if answers["No"] > sum(texts.values()) else "High"
    written = by_level[likely]
    sure = stored["token_probability"]["uncertainty"]
    assert 1 - written == pytest.approx(sure, abs=2e-6)


def prediction(run: Path, strategy: str) -> dict[str, Any]:
    """Return the only stored prediction of a strategy."""
    (path,) = run.glob(f"predictions/*/*/{strategy}.jsonl")
    row: dict[str, Any] = json.loads(path.read_text())
    return row
