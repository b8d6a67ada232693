"""A guard that is asked about each category by itself, behind a server of texts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import OptionError
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.opening import open_guard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.testing import build_tokenizer
from safebench_llamaguard_marginal.texts.evidence import VerdictTexts

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}<turn>"
    "{{ guideline }}<turn>"
)
GUIDELINES = {"A1": "no harm", "A2": "no hate", "A3": "no lies"}
# by the last word of a prompt: what is answered to each guideline
ANSWERS = {
    "grim": {"no harm": "Yes", "no hate": "No", "no lies": "Yes, it does"},
    "calm": {"no harm": "No", "no hate": "No", "no lies": "No"},
    "odd": {"no harm": "No", "no hate": "Perhaps", "no lies": "Yes"},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with the files of a model: it needs no weights here."""
    folder = tmp_path / "guard"
    tokenizer = build_tokenizer(
        [TEMPLATE, "Yes", "No", *ANSWERS, *GUIDELINES.values()],
        special=["<bos>", "<eos>", "<turn>"],
        bos="<bos>",
        eos="<eos>",
        template=TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    config = {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [f"  {c}: {{name: {c}, definition: {d}}}" for c, d in GUIDELINES.items()]
    head = "id: mine\nversion: '1'\ncategories:\n"
    (tmp_path / "policy.yaml").write_text(head + "\n".join(lines))
    return folder


@pytest.fixture
def asked(server: Any, model: Path) -> list[str]:
    """Let the server complete token ids; return the prompts that it was sent."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    respond, prompts = server.respond, []

    def complete(path: str, body: Any, headers: Any) -> Any:
        if path != "/v1/completions":
            return respond(path, body, headers)
        own = body["prompt"]
        ids = (
            tokenizer(own, add_special_tokens=False)["input_ids"]
            if isinstance(own, str)
            else own
        )
        text = own if isinstance(own, str) else tokenizer.decode(own)
        guideline = next((g for g in GUIDELINES.values() if g in text), "")
        word = next((w for w in ANSWERS if f"{w}<turn>" in text), "")
        with server.lock:
            if word:
                prompts.append(text)
        answer = ANSWERS[word][guideline] if word else "No"
        choice = {"text": answer, "finish_reason": "stop", "logprobs": None}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(ids)}}, {}

    server.respond = complete
    return prompts


def run(server: Any, model: Path, out: Path, *more: str) -> Any:
    """Run the command line on three prompts."""
    data = out.parent / "data.jsonl"
    rows = [{"prompt": w, "label": ("safe", "unsafe")[w != "calm"]} for w in ANSWERS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "engine": "openai",
        "base_url": server.address,
        "profile": "shieldgemma",
        "policy": str(model.parent / "policy.yaml"),
    }
    given = [f"--set={name}={value}" for name, value in settings.items()]
    arguments = ["run", "-c", "guard", "--model", str(model), "-d", str(data)]
    return CliRunner().invoke(
        cli, [*arguments, *given, "--out", str(out), *more], obj=Plugins()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
def test_each_category_is_asked_about_and_read_by_its_own_answer(
    server: Any, asked: list[str], model: Path, tmp_path: Path
) -> None:
    """Yes to any of them is unsafe; an answer of neither word fails its sample."""
    out = tmp_path / "out"

    result = run(server, model, out, "-s", "all", "--set=samples=2", "--max-failures=1")

    assert 0 == result.exit_code, result.output
    assert 3 * 3 * 3 == len(asked)  # prompts, guidelines, answers
    for strategy in ("greedy", "self_consistency"):
        (path,) = (out / "predictions").rglob(f"{strategy}.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [1.0, 0.0, None] == [line["score"] for line in lines]
        assert {"A1": 1.0, "A2": 0.0, "A3": 1.0} == lines[0]["categories"]
    assert "A2: wrote 'Perhaps', which is no level" in " ".join(result.output.split())


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
def test_answers_to_all_questions_are_stored_one_behind_the_other(
    server: Any, asked: list[str], model: Path
) -> None:
    """Each question with its samples; they come apart again as they went in."""
    from safebench.records import Sample, Turn

    options = GuardOptions(
        engine="openai",
        base_url=server.address,
        model=str(model),
        profile="shieldgemma",
        policy=str(model.parent / "policy.yaml"),
        logprobs=False,
        samples=1,
    )
    guard = open_guard(options)
    samples = [
        Sample(id=w, turns=(Turn("user", w if w != "calm" else ""),)) for w in ANSWERS
    ]
    recording = guard.record(samples, frozenset({VerdictTexts}), lambda _: None)
    guard.close()

    texts = recording.evidence[VerdictTexts]
    assert ("A1", "A2", "A3") == texts.questions
    assert [6, 0, 6] == np.diff(texts.offsets["A"]).tolist()
    assert isinstance(texts, VerdictTexts)
    apart = texts.unfold().texts()
    expected = [[a, a] for a in ANSWERS["grim"].values()]
    expected += [[], [], []]
    expected += [[a, a] for a in ANSWERS["odd"].values()]
    assert expected == apart
    assert apart == [
        block for row in texts.select([0, 1, 2]).unfold().texts() for block in [row]
    ]
    assert 12 == len(asked)


def test_what_conversations_cannot_ask_is_said(server: Any, model: Path) -> None:
    """The profile's question is no message: token ids carry it."""
    options = GuardOptions(
        engine="openai",
        base_url=server.address,
        model=str(model),
        profile="shieldgemma",
        policy=str(model.parent / "policy.yaml"),
        logprobs=False,
        api="chat",
    )
    with pytest.raises(OptionError, match="in a prompt that no conversation says"):
        open_guard(options)
    assert [] == server.written
