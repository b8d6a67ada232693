"""Guards that also see images, as judges of texts: what a text alone reaches counts.

The text part is a network of its own class, whose answers are chosen and enumerated;
the whole model around it has random layers for images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies.marginal import (
    MarginalAnyOptions,
    marginal_any,
)
from safebench_llamaguard_marginal.testing import (
    build_network,
    build_tokenizer,
    enumerate_answers,
    teach,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SPECIAL = ("<|begin|>", "<|role|>", "<|end|>", "<pad>")
TEMPLATE = """{{ bos_token }}CODES Safe, unsafe?{% for m in messages %}<|role|>
{%- for part in m["content"] %}{{ part["text"] | trim }}{% endfor %}{% endfor %}<|end|>
{{- "" }}"""
ANSWERS = {"\n\nsafe": 0.3, "\n\nunsafe\nS1": 0.4, "\n\nunsafe\nS1,S9": 0.3}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
LLAMA_4 = {
    "intermediate_size_mlp": 64,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
}
# Its second layer attends to an image alone; the embedding has tokens for images.
MLLAMA = {"cross_attention_layers": [1], "num_hidden_layers": 3, "pad_token_id": 3}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "llama4": (
        "llama4_text",
        LLAMA_4,
        VISION
        | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
        | {"vision_output_dim": 16, "projector_input_dim": 16}
        | {"projector_output_dim": 16},
        "S13 S14",
    ),
    "mllama": (
        "mllama_text_model",
        MLLAMA,
        VISION
        | {"attention_heads": 2, "num_global_layers": 1, "vision_output_dim": 32}
        | {"image_size": 28, "patch_size": 14, "max_num_tiles": 1}
        | {"intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]]},
        "S13 excluded_category_keys",
    ),
    # windows of eight tokens, shorter than the prompt: what a tree's mask cannot say
    "gemma3": (
        "gemma3_text",
        {
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        VISION | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
        "S1 S9 of the codes",
    ),
}
PROFILES = {
    "llama4": "llama-guard-4",
    "mllama": "llama-guard-3-1b",
    "gemma3": "chat",
}


def build_text_network(kind: str, tokenizer: Any, text: dict[str, Any]) -> Any:
    """Build a network of a text part; that of Mllama is in no mapping of classes."""
    if not kind.startswith("mllama"):
        return build_network(kind, tokenizer, **text)
    from transformers import MllamaForCausalLM, MllamaTextConfig

    size = {"hidden_size": 128, "intermediate_size": 64, "num_attention_heads": 4}
    config = MllamaTextConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        **size,
        **text,
    )
    return MllamaForCausalLM(config).double().eval()


def save(folder: Path, kind: str, prompt: str, template: str) -> tuple[Any, Any]:
    """Save a whole model around a text network that answers; return network, words."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    text_kind, text, vision, _ = KINDS[kind]
    tokenizer = build_tokenizer(
        [prompt, *ANSWERS],
        special=SPECIAL,
        bos="<|begin|>",
        eos="<|end|>",
        template=template,
    )
    network = build_text_network(text_kind, tokenizer, text)
    teach(network, tokenizer, {prompt: ANSWERS})
    config = AutoConfig.for_model(
        kind,
        text_config=network.config.to_dict(),
        vision_config=vision,
        tie_word_embeddings=False,  # as in the text part, which was taught so
    )
    whole: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).double()
    if kind == "llama4":
        whole.language_model.load_state_dict(network.state_dict())
    else:
        whole.model.language_model.load_state_dict(network.model.state_dict())
        whole.lm_head.load_state_dict(network.lm_head.state_dict())
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return network, tokenizer


@pytest.mark.parametrize("layout", ["auto", "rows"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_texts_are_judged_by_the_text_part(
    tmp_path: Path, kind: str, layout: str
) -> None:
    """Found by template and class; score and categories are those of plain passes."""
    words = KINDS[kind][3]
    template = TEMPLATE.replace("CODES", words)
    prompt = f"<|begin|>{words} Safe, unsafe?<|role|>who is it<|end|>"
    network, tokenizer = save(tmp_path, kind, prompt, template)
    truth = enumerate_answers(network, tokenizer, prompt)

    options: Any = {"model": str(tmp_path), "dtype": "float64", "layout": layout}
    guard = LlamaGuard(GuardOptions(**options, eps=1e-9))
    sample = Sample(id="x", turns=(Turn("user", "who is it"),), task="prompt_harm")
    recording = guard.record([sample], frozenset({VerdictTree}), lambda _: None)
    context = Context(
        task="prompt_harm", policy=guard.guard.policy, options=MarginalAnyOptions()
    )
    judged = marginal_any(EvidenceBundle(recording.evidence), context)

    assert recording.traces[0].error is None
    assert layout in ("auto", guard.facts["layout"])
    assert kind != "gemma3" or guard.facts["layout"] == "rows"
    assert PROFILES[kind] == guard.guard.profile.name
    assert judged.score is not None
    assert judged.categories is not None
    unsafe = sum(p for text, p in truth.items() if "unsafe" in text)
    assert 0.7 == pytest.approx(unsafe, abs=1e-6)
    assert unsafe == pytest.approx(judged.score[0], abs=1e-6)
    by_code = dict(zip(judged.labels, judged.categories[0].tolist(), strict=True))
    assert 0.7 == pytest.approx(by_code["S1"], abs=1e-6)
    assert truth["\n\nunsafe\nS1,S9"] == pytest.approx(by_code["S9"], abs=1e-6)
