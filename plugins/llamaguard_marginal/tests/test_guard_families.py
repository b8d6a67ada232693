"""Guards that are no Llama Guard 3: other tokenizers, policies and templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.records import Sample, Turn
from safebench.strategies.base import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.model.token_bytes import token_bytes
from safebench_llamaguard_marginal.model.verdict_grammar import encode_after_newline
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies import canonical_spelling

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sentence_piece_tokenizer() -> Any:
    """Build a Llama-2-like tokenizer: ▁ for spaces, bytes for what it lacks."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += ["▁", *"safeunO0123456789", "un", "sa", "fe", "safe", "unsafe", "▁unsafe"]
    merges = [("u", "n"), ("s", "a"), ("f", "e"), ("sa", "fe")]
    merges += [("un", "safe"), ("▁", "unsafe")]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def unigram_tokenizer() -> Any:
    """Build a SentencePiece tokenizer of the other kind: scored pieces, Metaspace."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    scored = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    scored += [(f"<0x{i:02X}>", -20.0) for i in range(256)]
    scored += [(char, -9.0) for char in "▁safeunSO0123456789,"]
    scored += [("un", -4.0), ("safe", -3.0), ("▁safe", -2.0), ("▁unsafe", -2.0)]
    backend = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme="always"
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def saved(folder: Path, tokenizer: Any, network: Any) -> Path:
    """Write a model folder."""
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def one_tree(guard: LlamaGuard) -> VerdictTree:
    """Record one sample, which must not fail, and return its tree."""
    asked = [Sample(id="x", turns=(Turn("user", "unsafe 漢 </s> S1"),))]
    recording = guard.record(asked, frozenset({VerdictTree}), lambda _: None)
    assert recording.traces[0].error is None
    tree = recording.evidence[VerdictTree]
    assert isinstance(tree, VerdictTree)
    return tree


@pytest.fixture(scope="module")
def first_guard(
    make_network: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a random guard like Llama Guard 1: SentencePiece, no chat template."""
    tokenizer = sentence_piece_tokenizer()
    network = make_network(
        len(tokenizer), bos_token_id=1, eos_token_id=2, max_position_embeddings=4096
    )
    return saved(tmp_path_factory.mktemp("models") / "first", tokenizer, network)


def test_sentence_piece_guard_without_template(first_guard: Path) -> None:
    """By name it gets the first layout, and its answer may begin with a space."""
    guard = LlamaGuard(
        GuardOptions(
            model=str(first_guard),
            policy="llama-guard-1",
            format="llama-guard-1",
            device="cpu",
        )
    )

    tree = one_tree(guard)

    assert "llama-guard-1" == guard.guard.prompt_format.name
    assert " " in tree.meta["grammar"]["openers"]
    assert ["O1", "O2", "O3", "O4", "O5", "O6"] == tree.meta["grammar"]["labels"]
    ids = guard.prompt_builder.probe_prompt("user").ids
    assert (1, 1) == (ids[0], ids.count(1))
    reference = guard.guard.tokenizer("unsafe")["input_ids"]
    assert reference == list(guard.guard.encoder.encode(_rendered("unsafe")).ids)


@pytest.mark.parametrize("build", [sentence_piece_tokenizer, unigram_tokenizer])
@pytest.mark.parametrize("text", ["unsafe", "unsafe\nS1,S10", "\n\nsafe", " unsafe"])
def test_verdicts_are_encoded_as_inside_a_text(
    build: Callable[[], Any], text: str
) -> None:
    """No space is added, and the tokens are those that follow a line feed."""
    tokenizer = build()
    pieces = token_bytes(tokenizer, len(tokenizer))

    def spell(whole: str) -> list[int]:
        ids: list[int] = tokenizer.encode(whole, add_special_tokens=False)
        return ids

    found = encode_after_newline(pieces, spell, text)

    assert text.encode() == b"".join(pieces[token] for token in found)
    assert spell("x\n" + text)[-len(found) :] == found


def test_a_text_that_no_token_starts_with_has_no_encoding() -> None:
    """Where a token holds the line feed too, there is nothing to cut out."""
    pieces = [b"\nun", b"safe"]

    assert [] == encode_after_newline(pieces, lambda _: [0, 1], "unsafe")
    assert [1] == encode_after_newline(pieces, lambda _: [0, 1], "safe")


@pytest.mark.slow
@pytest.mark.parametrize("build", [sentence_piece_tokenizer, unigram_tokenizer])
def test_words_that_bring_their_space_are_read_canonically(
    build: Callable[[], Any], make_network: Callable[..., Any], tmp_path: Path
) -> None:
    """``▁unsafe`` counts beside ``unsafe``, however little of the tree is grown.

    Expected is a ratio of plain forward passes over whole answers.
    """
    tokenizer = build()
    network = make_network(
        len(tokenizer), bos_token_id=1, eos_token_id=2, max_position_embeddings=4096
    )
    folder = saved(tmp_path / "spaced", tokenizer, network)
    options = GuardOptions(
        model=str(folder),
        policy="llama-guard-1",
        format="llama-guard-1",
        device="cpu",
        dtype="float64",
        eps=0.5,
    )
    guard = LlamaGuard(options)

    asked = Sample(id="x", turns=(Turn("user", "unsafe S1"),))
    tree = guard.record([asked], frozenset({VerdictTree}), lambda _: None).evidence[
        VerdictTree
    ]
    prompt = list(guard.prompt_builder.build(asked).prompts[0].ids)
    odds = {
        text: likelihood(network, prompt, spell_whole(tokenizer, text))
        for text in ("safe", "unsafe", " safe", " unsafe")
    }
    unsafe = odds["unsafe"] + odds[" unsafe"] * spanned(tokenizer, " unsafe")
    safe = odds["safe"] + odds[" safe"] * spanned(tokenizer, " safe")
    found = canonical_spelling.first_token(
        EvidenceBundle({VerdictTree: tree}), Context(task="prompt_harm")
    )

    assert found.score is not None
    assert pytest.approx(unsafe / (safe + unsafe), rel=1e-9) == found.score[0]
    assert spanned(tokenizer, " unsafe")


def spell_whole(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text behind a line feed, found by their number."""
    head = tokenizer.encode("\n", add_special_tokens=False)
    ids: list[int] = tokenizer.encode("\n" + text, add_special_tokens=False)
    return ids[len(head) :]


def spanned(tokenizer: Any, text: str) -> bool:
    """Tell whether one token is all of a text that starts with a space."""
    return len(spell_whole(tokenizer, text)) == 1


def likelihood(network: Any, prompt: list[int], tokens: list[int]) -> float:
    """Return P(tokens | prompt) by a plain forward pass."""
    import torch

    with torch.no_grad():
        logits = network.double()(torch.tensor([[*prompt, *tokens]])).logits[0]
    steps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    total: float = steps[range(len(tokens)), tokens].sum().exp().item()
    return total


def _rendered(text: str) -> Any:
    from safebench_llamaguard_marginal.prompt.prompt_format import RenderedPrompt

    return RenderedPrompt(text, ((0, 0, len(text)),))


def test_third_format_needs_its_tokens(first_guard: Path) -> None:
    """Llama-3 headers cannot be written with a Llama-2 tokenizer."""
    options = GuardOptions(model=str(first_guard), format="llama-guard-3", device="cpu")

    with pytest.raises(ModelError, match="needs Llama-3 tokens such as"):
        LlamaGuard(options)


@pytest.mark.slow
def test_chat_model_gets_the_policy(
    make_tokenizer: Callable[[], Any], make_network: Callable[..., Any], tmp_path: Path
) -> None:
    """A general chat model reads the policy, and answers in numbers for long codes."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    network = make_network(len(tokenizer), max_position_embeddings=4096)
    folder = saved(tmp_path / "chatty", tokenizer, network)

    guard = LlamaGuard(
        GuardOptions(model=str(folder), policy="beavertails", device="cpu")
    )

    grammar = one_tree(guard).meta["grammar"]
    assert "instruct" == guard.guard.prompt_format.name
    assert [f"S{i}" for i in range(1, 15)] == grammar["labels"]
    assert list(guard.guard.policy.codes) == grammar["codes"]
    assert {"", "\n\n", "\n", " "} == set(grammar["openers"])


@pytest.mark.slow
def test_tokenizer_of_another_model(
    make_tokenizer: Callable[[], Any], make_network: Callable[..., Any], tmp_path: Path
) -> None:
    """More tokens than the model has rows: the two do not belong together."""
    tokenizer = make_tokenizer()
    folder = saved(tmp_path / "mixed", tokenizer, make_network(100))

    with pytest.raises(ModelError, match="they belong to different models"):
        LlamaGuard(GuardOptions(model=str(folder), device="cpu"))
