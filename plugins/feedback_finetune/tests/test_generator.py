"""The language model that answers: batches, lengths and templates."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers

from safebench.errors import ModelError
from safebench_feedback_finetune.collect.generator import ResponseGenerator
from safebench_feedback_finetune.options import CollectOptions

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ["Hello", "How do I bake bread at home without an oven?", "Why?"]


def options(model: Path, **changes: Any) -> CollectOptions:
    """Return options of a short, greedy answer."""
    values: dict[str, Any] = {
        "dataset": ("a",),
        "out": "b",
        "device": "cpu",
        "max_new_tokens": 6,
        "temperature": 0.0,
    }
    return CollectOptions(generator=str(model), **values | changes)


def greedy_answer(model: Path, text: str, count: int) -> str:
    """Return the likeliest answer to a written prompt, token by token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *ids]
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == network.config.eos_token_id:
                break
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True)).strip()


@pytest.mark.slow
def test_answers_in_a_batch_are_those_of_each_prompt_alone(
    language_model: Path,
) -> None:
    """Padding changes nothing; the chat template writes the prompt."""
    expected = [
        greedy_answer(language_model, f"user: {text}\nassistant:", 6)
        for text in PROMPTS
    ]

    assert expected == ResponseGenerator(options(language_model)).answer(PROMPTS)


@pytest.mark.slow
def test_a_model_without_a_template_goes_on_with_the_prompt(
    language_model: Path, tmp_path: Path
) -> None:
    """A base model gets the prompt as it is."""
    plain = tmp_path / "plain"
    shutil.copytree(language_model, plain)
    (plain / "chat_template.jinja").unlink()

    answers = ResponseGenerator(options(plain)).answer(PROMPTS)

    assert [greedy_answer(plain, text, 6) for text in PROMPTS] == answers


def test_a_prompt_that_is_too_long_loses_its_oldest_text(language_model: Path) -> None:
    """The answer keeps its room, and the end of the prompt is kept."""
    generator = ResponseGenerator(options(language_model))

    ids = generator.encode("bread " * 2000 + "why?")

    assert 512 - 6 == len(ids) == generator.max_prompt_tokens
    assert ids[-4:] == generator.encode("why?")[-4:]


def test_draws_depend_on_the_seed_and_on_the_prompts_alone(
    language_model: Path,
) -> None:
    """Whatever was drawn before, and without a change to torch's own state."""
    sampling = {"temperature": 1.0, "top_p": 1.0}
    generator = ResponseGenerator(options(language_model, **sampling))
    first = generator.answer(PROMPTS)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()

    again = generator.answer(PROMPTS)

    assert first == again
    assert torch.equal(before, torch.random.get_rng_state())
    assert first != ResponseGenerator(
        options(language_model, seed=1, **sampling)
    ).answer(PROMPTS)


def test_a_missing_model_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the model, and what was looked for."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no such folder"):
        ResponseGenerator(options(tmp_path / "nowhere" / "at" / "all"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        ResponseGenerator(options(tmp_path / "broken"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("chat_template.jinja", "{% if %}", "the chat template refuses these turns"),
        ("chat_template.jinja", "{{ messages[9]['content'].x }}", "the chat template"),
        ("tokenizer", "", "they belong to different models"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_one_line(
    name: str, content: str, message: str, language_model: Path, tmp_path: Path
) -> None:
    """Before a prompt is sent to it."""
    folder = tmp_path / "talker"
    shutil.copytree(language_model, folder)
    if name == "tokenizer":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens([f"<{i}>" for i in range(9)])
        tokenizer.save_pretrained(folder)
    else:
        (folder / name).write_text(content, encoding="utf-8")

    with pytest.raises(ModelError, match=message) as error:
        ResponseGenerator(options(folder))
    assert "\n" not in error.value.message
