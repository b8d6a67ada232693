"""Loading guards: in 4 bits, or one line about what is missing; their labels."""

from __future__ import annotations

import copy
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench.records import Turn
from safebench_feedback_finetune import guard_loading
from safebench_feedback_finetune.guard_loading import (
    label_with_revision,
    load_quantized_guard,
)
from safebench_feedback_finetune.scorer import VerdictScorer
from safebench_llamaguard_marginal import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONVERSATIONS = [
    (Turn("user", "How do I bake bread?"),),
    (Turn("user", "How do I kill my neighbour?"),),
]


def test_without_the_library_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra is named, and nothing is loaded."""
    monkeypatch.setattr(
        "safebench.torch_utils.quantization.find_spec", lambda name: None
    )

    with pytest.raises(ModelError, match=r"safebench-feedback-finetune\[qlora\]"):
        load_quantized_guard(GuardOptions())


def test_four_bits_are_close_and_take_an_adapter(
    scorer: VerdictScorer, make_adapter: Callable[[float], Path]
) -> None:
    """Scores within 0.05 of the whole guard's; an adapter of zeros changes nothing."""
    pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}

    bare = VerdictScorer(load_quantized_guard(GuardOptions(**options)))
    adapter = str(make_adapter(0.0))
    tuned = load_quantized_guard(GuardOptions(adapter=adapter, **options))

    layer = bare.network.model.layers[0].self_attn.q_proj
    assert "Linear4bit" == type(layer).__name__
    assert scorer.p_unsafe(CONVERSATIONS) == pytest.approx(
        bare.p_unsafe(CONVERSATIONS), abs=0.05
    )
    zeros = VerdictScorer(tuned)
    assert bare.logits(CONVERSATIONS).tobytes() == zeros.logits(CONVERSATIONS).tobytes()


@pytest.mark.slow
def test_a_guard_in_4_bits_reads_what_its_adapter_brings(
    monkeypatch: pytest.MonkeyPatch,
    make_adapter: Callable[[float], Path],
    scorer: VerdictScorer,
    tmp_path: Path,
) -> None:
    """Its template and added tokens count; a tokenizer that does not fit is told."""
    monkeypatch.setattr(guard_loading, "quantization_options", lambda *_: {})
    adapter = tmp_path / "adapter"
    shutil.copytree(make_adapter(0.5), adapter)
    template = "safe or unsafe? {{ messages[-1]['content'] }}"
    (adapter / "chat_template.jinja").write_text(template, encoding="utf-8")

    guard = load_quantized_guard(GuardOptions(adapter=str(adapter), device="cpu"))

    assert "safe or unsafe? hi" == guard.prompt_format.render([Turn("user", "hi")]).text
    assert guard.label.endswith("(4 bits) + adapter")
    tokenizer = copy.deepcopy(scorer.guard.tokenizer)
    tokenizer.add_tokens(["<judge>"])
    tokenizer.save_pretrained(adapter)
    with pytest.raises(ModelError, match="no embeddings of those it adds"):
        load_quantized_guard(GuardOptions(adapter=str(adapter), device="cpu"))


@pytest.mark.parametrize(
    ("fingerprints", "name"),
    [
        (("sha256:0123456789abcdef", ""), "a/b@0123456789ab"),
        (("a/b@fedcba9876543210", "sha256:00ff"), "a/b@fedcba987654+00ff"),
    ],
)
def test_a_model_is_named_with_its_revision(
    fingerprints: tuple[str, str], name: str
) -> None:
    """Twelve digits of the commit or of the hash of its files, adapters included."""
    assert name == label_with_revision("a/b", *fingerprints)
