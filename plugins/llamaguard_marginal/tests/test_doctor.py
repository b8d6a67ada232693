"""The checks of `doctor`, on sound guards and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.doctor import _first_token_distribution, doctor
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.testing import build_tokenizer, save_guard

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checks(guard_folder: Path) -> dict[str, tuple[str, str]]:
    """Return the checks of the random guard by name."""
    options = GuardOptions(model=str(guard_folder), device="cpu")
    return {name: (status, detail) for name, status, detail in doctor(options)}


def test_nothing_fails_on_a_sound_guard(checks: dict[str, tuple[str, str]]) -> None:
    """A random guard is sound, if useless: what it answers is a warning."""
    failed = {name: d for name, (status, d) in checks.items() if status == "fail"}

    assert {} == failed
    assert {"ok", "warn"} >= {status for status, _ in checks.values()}
    assert "warn" == checks["policy"][0]
    assert "2 of 14 codes" in checks["policy"][1]


def test_prompt_and_tokens_are_shown(checks: dict[str, tuple[str, str]]) -> None:
    """The rendered prompt, its ids, the one BOS, and how S10 is split."""
    assert "User: Hello.\n\nAnswer safe or unsafe.<|eot_id|>" in checks["prompt"][1]
    assert checks["ids"][1].partition(": ")[2].startswith("0 2 ")
    assert "1 (id 0), 1 expected" == checks["BOS"][1]
    assert "S10 = 'S'|'10'" in checks["label tokens"][1]
    assert "as the tokenizer's own" == checks["encoding"][1]
    assert checks["control tokens"][1].endswith("0 smuggled in by a judged text")


def test_batch_invariance_is_measured(checks: dict[str, tuple[str, str]]) -> None:
    """In float32 the largest difference is rounding, and no decision flips."""
    status, detail = checks["batch invariance"]

    assert "ok" == status
    assert "0 of 64 decisions flip" in detail
    assert 5e-5 >= float(detail.partition("|dP| ")[2].partition(",")[0])


def test_low_precision_is_counted_in_flips(guard_folder: Path) -> None:
    """In bfloat16 what counts is the share of decisions that change."""
    options = GuardOptions(model=str(guard_folder), device="cpu", dtype="bfloat16")

    details = {name: detail for name, _, detail in doctor(options)}

    assert "bfloat16, batches of 1 and of up to 64" in details["batch invariance"]
    gap = float(details["batch invariance"].partition("|dP| ")[2].partition(",")[0])
    assert 0.0 < gap < 0.5


def test_logits_that_stay_on_a_device_are_read(
    guard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's logits are tensors, which NumPy cannot take before they are fetched."""

    def refuse(*_: object, **__: object) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    options = GuardOptions(model=str(guard_folder), device="cpu", dtype="bfloat16")
    guard = LlamaGuard(options)
    prompts = [[1, 2, 3], [4, 5]]
    on_host = _first_token_distribution(guard, prompts)
    guard.guard.model.on_device = True
    monkeypatch.setattr(torch.Tensor, "__array__", refuse)

    on_device = _first_token_distribution(guard, prompts)

    assert_allclose(on_host, on_device, rtol=1e-12)
    assert_allclose(1.0, on_device.sum(axis=1), rtol=1e-12)


def test_an_unknown_guard_is_told_with_all_that_makes_it_known(tmp_path: Path) -> None:
    """Its class, its template, and what it writes after that, without our words."""
    template = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}<|end|>"
    tokenizer = build_tokenizer(
        ["RISK: none", "Hello."], special=["<|turn|>", "<|end|>"], eos="<|end|>",
        template=template,
    )  # fmt: skip
    known = {"<|turn|>Hello.<|end|>": {"RISK: none": 0.9, "RISK": 0.1}}
    save_guard(tmp_path / "riskguard", tokenizer, known, kind="qwen3")
    tokenizer.chat_template = None
    save_guard(tmp_path / "bare", tokenizer, known, kind="qwen3")

    def look(name: str, *more: str) -> str:
        model = str(tmp_path / name)
        words = ["doctor", "-c", "guard", "--model", model, *more]
        return str(CliRunner().invoke(cli, words, obj=Plugins()).output)

    told, bare = look("riskguard"), look("bare")

    assert "no profile knows riskguard: it is read as instruct" in told
    assert "riskguard; class Qwen3ForCausalLM" in told
    assert f"to send: template: {template}" in told
    assert "'Hello.': 'RISK: none'" in told
    # nothing can be loaded, and what to send is printed all the same
    assert "the tokenizer has no chat template" in bare
    assert "its tokenizer has no chat template, and no profile knows it" in bare
    assert "to send" not in look("riskguard", "--set", "profile=instruct")
