"""Measure the stored guard on every held-out set, beside the bag-of-words figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score, roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_guard.examples import render_within, shared_prefix_cached
from tiny_guard.sources import CODES
from tiny_guard.teacher import Array, length_batches
from tiny_guard.training_loop import hidden_states

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tiny_guard.corpus import Corpus
    from tiny_guard.rows import TrainingRow

# Longest prompt that is measured whole; longer ones are shortened.
MAX_PROMPT_TOKENS = 1000
TOKEN_BUDGET = 12_000
# P(unsafe) from which a prompt counts as flagged.
THRESHOLD = 0.5
CODE_LIST = tuple(CODES["codes"])


def verdict_probabilities(
    model: Any, tokenizer: Any, rows: Sequence[TrainingRow]
) -> Array:
    """P(unsafe) against P(safe) after the opening line ends, one a row."""
    pair = tokenizer.convert_tokens_to_ids(["safe", "unsafe"])
    opener = tokenizer.encode("\n\n", add_special_tokens=False)
    result = np.zeros(len(rows))
    for agent in (False, True):
        places = [
            i for i, row in enumerate(rows) if (row.response is not None) == agent
        ]
        prefix = shared_prefix_cached(tokenizer, agent)
        texts = [
            render_within(tokenizer, rows[i].messages, MAX_PROMPT_TOKENS)[len(prefix) :]
            + opener
            for i in places
        ]
        for batch in length_batches([len(ids) for ids in texts], TOKEN_BUDGET):
            ends = torch.tensor([len(texts[i]) - 1 for i in batch])
            ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(texts[i]) for i in batch], batch_first=True
            )
            with torch.inference_mode():
                last = hidden_states(model, prefix, ids)[-1]
                states = last[torch.arange(len(batch)), ends]
                unsafe = model.lm_head(states)[:, pair].softmax(-1)[:, 1]
            result[[places[i] for i in batch]] = unsafe.double().numpy()
    return result


def greedy_categories(
    model: Any, tokenizer: Any, rows: Sequence[TrainingRow]
) -> list[set[str]]:
    """Codes of the greedy verdict when `unsafe` is forced, one set a row."""
    codes: list[set[str]] = []
    for row in rows:
        ids = render_within(tokenizer, row.messages, MAX_PROMPT_TOKENS)
        ids += tokenizer.encode("\n\nunsafe\n", add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long()
            )
        predicted = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
        codes.append({code.strip() for code in predicted.split(",")} & set(CODE_LIST))
    return codes


def binary_results(truth: npt.NDArray[np.bool_], score: Array) -> dict[str, Any]:
    """n, AUROC, F1 at 0.5, flagged shares at 0.5; null where undefined."""
    flagged = score >= THRESHOLD
    both = bool(truth.any() and not truth.all())
    return {
        "n": len(truth),
        "unsafe": int(truth.sum()),
        "auroc": round(float(roc_auc_score(truth, score)), 4) if both else None,
        "f1": round(float(f1_score(truth, flagged)), 4) if truth.any() else None,
        "flagged_safe": _share(flagged[~truth]),
        "flagged_unsafe": _share(flagged[truth]),
    }


def _share(flagged: npt.NDArray[np.bool_]) -> float | None:
    return round(float(flagged.mean()), 4) if len(flagged) else None


def category_results(
    rows: Sequence[TrainingRow], predicted: Sequence[set[str]]
) -> dict[str, Any]:
    """Micro-F1 of category lists over rows whose categories are all known."""
    truth = np.array(
        [[code in (row.categories or ()) for code in CODE_LIST] for row in rows]
    )
    guess = np.array([[code in codes for code in CODE_LIST] for codes in predicted])
    score = f1_score(truth, guess, average="micro", zero_division=0)
    return {"n": len(rows), "micro_f1": round(float(score), 4)}


def evaluation_sets(corpus: Corpus) -> dict[str, list[TrainingRow]]:
    """Held-out sets, and the training sources' own held-back rows in three views."""
    kept_back = corpus.validation
    prompts = [row for row in kept_back if row.response is None]
    return {
        **corpus.held_out,
        "own-prompts": [r for r in prompts if r.source == "project"],
        "own-contrast": [r for r in prompts if r.source == "contrast"],
        "benign-instructions": [r for r in prompts if r.source == "benign"],
        "sources-prompts": prompts,
        "sources-answers": [r for r in kept_back if r.response is not None],
    }


def evaluate(
    model: Any, tokenizer: Any, corpus: Corpus, baseline: Any
) -> dict[str, Any]:
    """All results: per set the guard's and the bag of words', then categories."""
    sets: dict[str, Any] = {}
    for name, rows in evaluation_sets(corpus).items():
        truth = np.array([bool(row.unsafe) for row in rows])
        guard_p = verdict_probabilities(model, tokenizer, rows)
        baseline_p = baseline.predict_proba([row.text for row in rows])[:, 1]
        sets[name] = {
            "tiny_guard": binary_results(truth, guard_p),
            "bag_of_words": binary_results(truth, baseline_p),
        }
    return {"sets": sets, "categories": _categories(model, tokenizer, corpus)}


def _categories(model: Any, tokenizer: Any, corpus: Corpus) -> dict[str, Any]:
    known = {
        "sources": corpus.validation,
        "openai-moderation": corpus.held_out["openai-moderation"],
        "content-moderation-lm3": corpus.held_out["content-moderation-lm3"][:400],
        "starter": corpus.held_out.get("starter", []),
    }
    results: dict[str, Any] = {}
    for name, rows in known.items():
        listed = [row for row in rows if row.unsafe and row.categories and row.complete]
        several = [row for row in listed if len(row.categories or ()) > 1]
        for kind, chosen in (("all", listed), ("two or more codes", several)):
            if chosen:
                predicted = greedy_categories(model, tokenizer, chosen)
                results[f"{name}, {kind}"] = category_results(chosen, predicted)
    return results


def load(folder: Path) -> tuple[Any, Any]:
    """Load the stored guard as any user does, in float32."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)
