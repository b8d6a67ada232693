"""Responses held against documents by encoders.

Truth is a plain forward pass of the library on each chunk, which is cut here by hand;
the largest support counts. Neither uses the plugin.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from scipy.special import softmax
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from safebench.cli import cli
from safebench.errors import SafebenchError
from safebench.plugins import Plugins
from safebench.profiles import parse_section
from safebench_bert_ensemble.model.documents import DocumentEncoder, _sentences
from safebench_bert_ensemble.model.profile import EncoderProfile

if TYPE_CHECKING:
    from pathlib import Path

LONG = (
    "The old mill stands by the river. It was built in 1802! Who owns it? "
    "A family of bakers does. They bake bread every day.\nThe roof is red"
)
MILL = "The old mill stands by the river. It was built in 1802!"
OF_16 = [  # words and marks that a chunk may have; by hand
    MILL,
    "Who owns it? A family of bakers does. They bake bread every day.",
    "The roof is red",
]
OF_15 = [
    MILL,
    "Who owns it? A family of bakers does.",
    "They bake bread every day.\nThe roof is red",
]
ROWS = [
    {"documents": [LONG], "response": "the roof is red", "label": 0},
    {"documents": ["The mill is old."], "response": "bakers own the mill", "label": 1},
    {"documents": ["Bread", LONG], "response": "it was built in 1802", "label": 0},
    {"documents": ["The river is old."], "response": "the roof is old", "label": 1},
]
# beside a response of four words there is room for 16, beside one of five for 15
CHUNKS_OF_ROWS = [OF_16, ["The mill is old."], ["Bread", *OF_15], ["The river is old."]]
WORDS = sorted(set(" ".join([LONG, *(r["response"] for r in ROWS)]).lower().split()))
MARKS = [".", "!", "?"]


def save_model(folder: Path, kind: str, names: list[str], **changes: Any) -> Path:
    """Save a random classifier with a tokenizer of words, as a user would have it."""
    roberta = kind == "Roberta"
    cls, sep, unk, pad = (
        ("<s>", "</s>", "<unk>", "<pad>")
        if roberta
        else ("[CLS]", "[SEP]", "[UNK]", "[PAD]")
    )
    words = {w.strip(".!?") for w in WORDS}
    vocabulary = {
        w: i for i, w in enumerate((pad, unk, cls, sep, *MARKS, *sorted(words)))
    }
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    second = 0 if roberta else 1
    between = f"{sep} {sep}" if roberta else sep
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {between} $B:{second} {sep}:{second}",
        special_tokens=[(cls, 2), (sep, 3)],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token=cls, sep_token=sep, unk_token=unk,
        pad_token=pad, eos_token=sep,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, initializer_range=0.5,
        vocab_size=len(vocabulary), pad_token_id=0, id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)}, **changes,
    )  # fmt: skip
    network = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    network.save_pretrained(folder)
    return folder


def plain(folder: Path, *texts: str) -> Any:
    """Return the class probabilities of one input, by the library alone."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = dict(tokenizer(*texts, return_tensors="pt"))
    if folder.name.startswith("Roberta"):
        inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        return softmax(network.eval()(**inputs).logits.double().numpy()[0])


def run(data: Path, folder: Path, out: Path, *more: str) -> Any:
    """Run a model on a file of responses and documents."""
    return CliRunner().invoke(
        cli,
        ["run", "-c", "bert_ensemble", "--model", str(folder), "--device", "cpu",
         "-d", f"{data},task=groundedness", "--out", str(out), *more],
        obj=Plugins(),
    )  # fmt: skip


def scores(out: Path, strategy: str = "mean_probs") -> list[float]:
    """Return the stored scores, in the order of the data."""
    (path,) = out.glob(f"predictions/*/*/{strategy}.jsonl")
    return [json.loads(line)["score"] for line in path.read_text().splitlines()]


DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "profile", "names", "unsupported", "joint"),
    [
        ("Roberta", "minicheck", ["LABEL_0", "LABEL_1"], lambda p: p[0], "</s>"),
        ("DebertaV2", "minicheck", ["LABEL_0", "LABEL_1"], lambda p: p[0], "[SEP]"),
        (
            "Roberta",
            "auto",
            ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"],
            lambda p: 1 - p[2],
            "",
        ),
        ("Bert", "auto", ["entailment", "not_entailment"], lambda p: p[1], ""),
    ],
)
def test_the_chunk_that_supports_most_counts(
    kind: str, profile: str, names: list[str], unsupported: Any, joint: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Each preset, by its name or by the names of classes, to 1e-6."""
    changes = DEBERTA if kind == "DebertaV2" else {}
    folder = save_model(tmp_path / f"{kind}-x", kind, names, **changes)
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    specials = 3 if joint or kind != "Roberta" else 4

    result = run(
        data, folder, tmp_path / "run", "--set", f"profile={profile}",
        "--set", f"max_length={16 + 4 + specials}",
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    expected = []
    for row, chunks in zip(ROWS, CHUNKS_OF_ROWS, strict=True):
        claim = str(row["response"])
        inputs = [(c + joint + claim,) if joint else (c, claim) for c in chunks]
        expected.append(min(unsupported(plain(folder, *x)) for x in inputs))
    np.testing.assert_allclose(scores(tmp_path / "run"), expected, atol=1e-6)
    assert np.ptp(expected) > 1e-2
    assert "speaks for a response most" in result.output.replace("\n", " ")


def test_sentences_end_where_a_reader_sees_them_end() -> None:
    """Numbers, abbreviations within words and quotes; nothing of a text is lost."""
    text = 'It cost 1.50 euros. "Really?" she said.\nv1.2 came later! 好的。再见'

    sentences = list(_sentences(text))

    assert [
        "It cost 1.50 euros. ",
        '"Really?" ',
        "she said.\n",
        "v1.2 came later! ",
        "好的。",
        "再见",
    ] == sentences
    assert text == "".join(sentences)


def test_a_window_holds_the_whole_response_and_no_text_is_lost(tmp_path: Path) -> None:
    """Chunks of any size: whole words of the document in order, none twice."""
    folder = save_model(tmp_path / "m", "Bert", ["a", "b"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words = (
        LONG.lower().replace(".", " .").replace("!", " !").replace("?", " ?").split()
    )
    for most in range(2, 20):
        encoder = DocumentEncoder(tokenizer=tokenizer, max_length=40, chunk=most)
        chunks = list(encoder._chunks(LONG, "the roof is red"))

        assert words == [t for c in chunks for t in tokenizer.tokenize(c)]
        assert all(len(tokenizer.tokenize(c)) <= most for c in chunks)


@pytest.mark.slow
def test_what_cannot_be_read_fails_by_name_and_the_rest_is_read(tmp_path: Path) -> None:
    """A response longer than a window is no other claim: its sample fails."""
    folder = save_model(tmp_path / "Roberta-m", "Roberta", ["LABEL_0", "LABEL_1"])
    long = {"documents": [LONG], "response": "red " * 60, "label": 1}
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(map(json.dumps, [*ROWS, long])))

    result = run(
        data, folder, tmp_path / "run", "--set", "profile=minicheck",
        "--max-failures", "50%",
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    (path,) = (tmp_path / "run").glob("predictions/*/*/mean_probs.jsonl")
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    (failed,) = [row for row in stored if row["error"]]
    assert "the response has 60 tokens" in failed["error"]
    assert failed["score"] is None


def test_profiles_that_contradict_themselves_are_refused() -> None:
    """Documents are for groundedness, and groundedness is for documents."""
    fields = {"about": "x", "classes": ["no", "yes"]}
    cases = [
        ({"tasks": {"groundedness": "no"}}, "needs input: documents"),
        ({"tasks": {"injection": "no"}, "input": "documents"}, "and not injection"),
        ({"tasks": {"injection": "no"}, "joint": "eos"}, "joint: is for input"),
        (
            {
                "tasks": {"groundedness": "no"},
                "input": "documents",
                "document_tokens": 3,
            },
            "document_tokens: at least 8",
        ),
    ]
    for given, message in cases:
        with pytest.raises(SafebenchError, match=message):
            parse_section(EncoderProfile, fields | given, "profile x")


def test_models_and_data_that_do_not_fit_are_refused_before_loading(
    tmp_path: Path,
) -> None:
    """Numbered NLI classes, rows with documents for others, categories of none."""
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    three = save_model(tmp_path / "Bert-n", "Bert", ["LABEL_0", "LABEL_1", "LABEL_2"])
    two = save_model(tmp_path / "Bert-2", "Bert", ["LABEL_0", "LABEL_1"])
    safe = save_model(tmp_path / "Bert-s", "Bert", ["safe", "unsafe"])
    for folder, more, message in [
        (three, ("--set", "profile=nli"), "number them differently"),
        (safe, ("--set", "task=groundedness"), "its rows have documents"),
        (safe, ("-s", "category_probs"), "needs categories"),
        (
            two,
            ("--set", "profile=minicheck", "--set", "truncation=right"),
            "reads documents in windows",
        ),
    ]:
        result = run(data, folder, tmp_path / "run", *more)

        output = " ".join(result.output.split())
        assert result.exit_code, output
        assert message in output
        assert "loading" not in output
