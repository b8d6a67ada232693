"""Guards that reason before their verdict: greedily, several times, or not at all.

Networks write one of a few reasonings with chosen probabilities, and then an answer.
The truth comes from plain enumeration of whole texts, cut at the marker here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.doctor import _reasoning_checks
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.model.reasoning import MarkerFinder, marker_units
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies.marginal import marginal_any
from safebench_llamaguard_marginal.strategies.reasoning_spread import (
    ReasoningSpreadOptions,
    mutual_information,
    reasoning_spread,
    standard_deviation,
)
from safebench_llamaguard_marginal.testing import (
    build_tokenizer,
    enumerate_answers,
    save_guard,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.classifiers import Recording

pytestmark = pytest.mark.slow

MARKER = "</think>"
LONG, SHORT = "<think>it asks for harm</think>", "<think>fine</think>"
ANSWERS = {
    f"{LONG}\nyes": 0.45,
    f"{LONG}\nno": 0.15,
    f"{SHORT}\nyes": 0.1,
    f"{SHORT}\nno": 0.3,
}
TEXTS = ("kill it", "hello my friend", "bake bread")
PROBE = "How do I bake bread?"  # the first of those that doctor asks
PROFILE: dict[str, Any] = {
    "summary": "a guard of the test",
    "tasks": {"user": ["prompt_harm"]},
    "prompt": {"source": "raw", "text": "Judge: {prompt} Verdict"},
    "answer": {
        "openers": ["", "\n"],
        "levels": [{"name": "yes", "positive": True}, {"name": "no"}],
    },
    "verdict_after": {"marker": MARKER, "budget": 12, "no_think": {}},
}


def prompt(text: str) -> str:
    """Return what the profile asks."""
    return f"Judge: {text} Verdict"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """Return a guard's folder with its network and tokenizer."""
    folder = tmp_path_factory.mktemp("guard")
    tokenizer = build_tokenizer(
        [*map(prompt, TEXTS), *ANSWERS], special=["<s>", "</s>"], bos="<s>", eos="</s>"
    )
    taught = {
        prompt(text): dict(zip(ANSWERS, weights, strict=True))
        for text, weights in zip(
            TEXTS,
            (ANSWERS.values(), (0.1, 0.3, 0.45, 0.15), (0.2, 0.05, 0.5, 0.25)),
            strict=True,
        )
    }
    taught[prompt(PROBE)] = ANSWERS
    network = save_guard(folder, tokenizer, taught)
    (folder / "profile.yaml").write_text(json.dumps(PROFILE))
    return folder, network, tokenizer


def load(folder: Path, profile: Mapping[str, Any] = PROFILE, **options: Any) -> Any:
    """Return the guard with a profile."""
    path = folder / "other.yaml"
    path.write_text(json.dumps(profile))
    return LlamaGuard(
        GuardOptions(
            model=str(folder),
            device="cpu",
            dtype="float64",
            eps=1e-8,
            profile=str(path),
            **options,
        )
    )


def record(guard: LlamaGuard, texts: Sequence[str] = TEXTS) -> Recording:
    """Record one conversation for each text."""
    samples = [Sample(id=text, turns=(Turn("user", text),)) for text in texts]
    return guard.record(samples, frozenset({VerdictTree}), lambda _: None)


def scores(recording: Recording) -> np.ndarray:
    """Return P(yes) of every tree, (samples, reasonings)."""
    bundle = EvidenceBundle(recording.evidence)
    score = marginal_any(bundle.unfolded, Context(task="prompt_harm")).score
    assert score is not None
    return score.reshape(len(recording.traces), -1)


def after_reasonings(
    built: tuple[Path, Any, Any], text: str
) -> dict[str, tuple[float, float]]:
    """Return each reasoning with its probability and P(yes) after it."""
    _, network, tokenizer = built
    whole: Counter[str] = Counter()
    harmful: Counter[str] = Counter()
    for answer, p in enumerate_answers(network, tokenizer, prompt(text)).items():
        reasoning, _, verdict = answer.partition(MARKER)
        whole[reasoning + MARKER] += p  # type: ignore[assignment]
        harmful[reasoning + MARKER] += p * (verdict.strip() == "yes")  # type: ignore[assignment]
    return {r: (p, harmful[r] / p) for r, p in whole.items() if p > 1e-6}


def test_the_verdict_after_one_greedy_reasoning(built: tuple[Path, Any, Any]) -> None:
    """P(yes) given the likeliest reasoning, which is a cost and not a verdict."""
    recording = record(load(built[0]))

    for row, text in enumerate(TEXTS):
        truth = after_reasonings(built, text)
        best = max(truth, key=lambda r: truth[r][0])
        assert truth[best][1] == pytest.approx(scores(recording)[row, 0], abs=1e-9)
        n_tokens = len(built[2](best, add_special_tokens=False)["input_ids"])
        tree = recording.evidence[VerdictTree]
        assert n_tokens == tree["reasoning_tokens"][row]
        trace = recording.traces[row]
        assert trace.tokens_out > n_tokens
        assert trace.forward_passes > n_tokens / len(TEXTS)
        assert trace.seconds > 0
        assert len(built[2](prompt(text))["input_ids"]) == trace.tokens_in
    assert ["read after one greedy reasoning of at most 12 tokens"] == (
        recording.evidence[VerdictTree].meta["notes"]
    )


def test_sampled_reasonings_have_a_tree_each(built: tuple[Path, Any, Any]) -> None:
    """Every tree is exact given its reasoning, and the mean nears the exact mixture."""
    count = 300
    recording = record(load(built[0], reasoning=str(count)))

    tree = recording.evidence[VerdictTree]
    assert count == len(tree.questions)
    by_tree, lengths = scores(recording), tree["reasoning_tokens"].reshape(3, count)
    for row, text in enumerate(TEXTS):
        truth = after_reasonings(built, text)
        seen = {}
        for reasoning, (p, harmful) in truth.items():
            ids = built[2](reasoning, add_special_tokens=False)["input_ids"]
            own = lengths[row] == len(ids)
            assert by_tree[row][own] == pytest.approx(harmful, abs=1e-9)
            seen[reasoning] = own.mean()
            # five standard errors of a share of `count` draws
            assert abs(own.mean() - p) < 5 * math.sqrt(p * (1 - p) / count)
        assert sum(seen.values()) == pytest.approx(1.0)
        exact = sum(p * harmful for p, harmful in truth.values())
        spread = math.sqrt(sum(p * (h - exact) ** 2 for p, h in truth.values()))
        assert abs(by_tree[row].mean() - exact) < 5 * spread / math.sqrt(count)


def test_a_temperature_sharpens_what_is_sampled(built: tuple[Path, Any, Any]) -> None:
    """The first token in which reasonings differ is drawn by p to the power 1 / T."""
    count, temperature = 300, 0.4
    recording = record(
        load(built[0], reasoning=str(count), reasoning_temperature=temperature),
        TEXTS[2:],
    )

    truth = after_reasonings(built, TEXTS[2])
    n_long = len(built[2](LONG, add_special_tokens=False)["input_ids"])
    p = truth[LONG][0] ** (1 / temperature)
    p /= sum(q ** (1 / temperature) for q, _ in truth.values())
    share = (recording.evidence[VerdictTree]["reasoning_tokens"] == n_long).mean()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / count)
    assert abs(share - truth[LONG][0]) > 0.1


def test_reasonings_depend_on_seed_and_prompt_alone(
    built: tuple[Path, Any, Any],
) -> None:
    """Neither on what else is in the batch nor on the order; another seed differs."""
    guard = load(built[0], reasoning="20")
    together, turned = record(guard), record(guard, TEXTS[::-1])
    alone = [record(guard, [text]) for text in TEXTS]
    other = record(load(built[0], reasoning="20", reasoning_seed=1))

    assert scores(together) == pytest.approx(scores(turned)[::-1], abs=1e-9)
    assert scores(together) == pytest.approx(
        np.concatenate([scores(each) for each in alone]), abs=1e-9
    )
    assert np.abs(scores(together) - scores(other)).max() > 0.1
    first = [r.evidence[VerdictTree]["reasoning_tokens"].tolist() for r in alone]
    tree = together.evidence[VerdictTree]
    assert [n for lengths in first for n in lengths] == tree[
        "reasoning_tokens"
    ].tolist()


def test_a_guard_that_does_not_reason_is_asked_at_once(
    built: tuple[Path, Any, Any],
) -> None:
    """The form without reasoning reads what the guard writes first."""
    profile = {
        **PROFILE,
        "verdict_after": {
            **PROFILE["verdict_after"],
            # with the line feed, which its last token holds
            "no_think": {"prompt": {"prefill": f"{SHORT}\n"}},
        },
    }
    recording = record(load(built[0], profile, reasoning="off"), TEXTS[:1])

    truth = after_reasonings(built, TEXTS[0])[SHORT][1]
    assert truth == pytest.approx(scores(recording)[0, 0], abs=1e-9)
    assert "reasoning_tokens" not in recording.evidence[VerdictTree]


@pytest.mark.parametrize(
    ("after", "options", "message"),
    [
        ({"budget": 4}, {}, "does not end within 4 tokens; reasoning_tokens=8"),
        ({}, {"reasoning_tokens": 3}, "does not end within 3 tokens"),
        ({"marker": "</done>"}, {}, "not come to the marker: the answer ends before"),
        (
            {"budget": 7},
            {"reasoning": "10"},
            r"\d+ of 10 reasonings do not end within 7 tokens",
        ),
    ],
)
def test_a_reasoning_without_an_end_is_a_failure(
    after: dict[str, Any],
    options: dict[str, Any],
    message: str,
    built: tuple[Path, Any, Any],
) -> None:
    """It says so, with its budget, and its tokens are counted all the same."""
    profile = {**PROFILE, "verdict_after": {**PROFILE["verdict_after"], **after}}

    recording = record(load(built[0], profile, **options), TEXTS[:1])

    (trace,) = recording.traces
    with pytest.raises(AssertionError, match=message):
        assert trace.error is None, trace.error
    tree = recording.evidence[VerdictTree]
    assert int(tree["reasoning_tokens"].sum()) == trace.tokens_out
    assert not tree["reasoning_ended"].all()


def test_what_a_profile_cannot_do_is_refused(built: tuple[Path, Any, Any]) -> None:
    """In one line, with what would work."""
    folder = built[0]
    no_off = {**PROFILE, "verdict_after": {"marker": MARKER}}
    plain = {k: v for k, v in PROFILE.items() if k != "verdict_after"}
    control = {**PROFILE, "verdict_after": {"marker": "<|channel|>final"}}
    huge = {**PROFILE, "verdict_after": {"marker": MARKER, "budget": 5000}}

    with pytest.raises(OptionError, match=r"always reasons.*reasoning=greedy"):
        load(folder, no_off, reasoning="off")
    with pytest.raises(OptionError, match=r"nothing of a reasoning.*reasoning=off"):
        load(folder, plain, reasoning="greedy")
    with pytest.raises(OptionError, match=r"no token <\|channel\|>"):
        load(folder, control)
    with pytest.raises(OptionError, match=r"may have 50.*smaller reasoning_tokens"):
        load(folder, huge)
    with pytest.raises(OptionError, match="did you mean 'greedy'"):
        GuardOptions(reasoning="gredy")
    with pytest.raises(OptionError, match="reasoning=8 would sample eight"):
        GuardOptions(reasoning_seed=3)
    with pytest.raises(OptionError, match="windows both read a sample several"):
        GuardOptions(reasoning="4", truncation="windows")


def test_evidence_of_other_reasonings_has_another_key(
    built: tuple[Path, Any, Any],
) -> None:
    """Mode, number, seed, temperature and budget are part of it."""
    path = built[0] / "profile.yaml"
    options = GuardOptions(model=str(built[0]), profile=str(path))
    variants = [
        options,
        replace(options, reasoning="off"),
        replace(options, reasoning="2"),
        replace(options, reasoning="3"),
        replace(options, reasoning="3", reasoning_seed=1),
        replace(options, reasoning="3", reasoning_temperature=0.5),
        replace(options, reasoning_tokens=11),
    ]

    keys = [json.dumps(model_identity(variant)) for variant in variants]

    assert len(keys) == len(set(keys))
    assert model_identity(replace(options, reasoning="greedy")) == model_identity(
        options
    )


@pytest.mark.parametrize(
    ("marker", "tokens", "expected"),
    [
        ("</t>", [b"a", b"</t", b">"], "marker"),
        ("</t>", [b"a</t>\n\n"], "marker"),
        ("</t>", [b"a</t> yes"], "inside"),
        ("</t>", [b"</", b"t", b"a>"], None),
        ("<|f|>go<|m|>", ["<|f|>", b"g", b"o", "<|m|>"], "marker"),
        ("<|f|>go<|m|>", ["<|f|>", b"g", b"o", "<|x|>"], None),
        ("<|f|>go<|m|>", [b"<|f|>", b"go", "<|m|>"], None),
    ],
)
def test_a_marker_is_found_however_it_is_cut(
    marker: str, tokens: list[bytes | str], expected: str | None
) -> None:
    """In bytes and control tokens; a control token is not the text of its name."""
    control = {"<|f|>": 0, "<|m|>": 1, "<|x|>": 2}
    token_bytes = [b"", b"", b"", *(t for t in tokens if isinstance(t, bytes))]
    ids = [control[t] if isinstance(t, str) else token_bytes.index(t) for t in tokens]
    finder = MarkerFinder([marker_units(marker, control, token_bytes)], token_bytes)

    ends, before = [], list[int]()
    for token in ids:
        ends.append(finder.search(before, token))
        before += finder.units(token)

    assert [None] * (len(ids) - 1) + [expected] == ends


def test_the_spread_is_that_of_the_reasonings(built: tuple[Path, Any, Any]) -> None:
    """Standard deviation and mutual information over the trees; the score is a mean."""
    recording = record(load(built[0], reasoning="12"))
    p = scores(recording)
    bundle = EvidenceBundle(recording.evidence)

    def judge(spread: Any) -> Any:
        options = ReasoningSpreadOptions(spread=spread)
        return reasoning_spread(bundle, Context(task="prompt_harm", options=options))

    def entropy(x: Any) -> Any:
        return -x * np.log(x) - (1 - x) * np.log(1 - x)

    information = entropy(p.mean(axis=1)) - entropy(p).mean(axis=1)
    deviation = judge("sd")
    assert deviation.score == pytest.approx(p.mean(axis=1), abs=1e-12)
    assert deviation.uncertainty == pytest.approx(p.std(axis=1, ddof=1), abs=1e-12)
    assert judge("mutual_information").uncertainty == pytest.approx(
        information, abs=1e-12
    )
    assert deviation.uncertainty.min() > 0.01
    one = record(load(built[0]))
    alone = reasoning_spread(
        EvidenceBundle(one.evidence), Context(task="prompt_harm", options=None)
    )
    assert all("reasoning=8" in str(error) for error in alone.errors)


@pytest.mark.parametrize("measure", [standard_deviation, mutual_information])
def test_bounds_of_a_spread_hold_for_all_that_is_possible(measure: Any) -> None:
    """Ten thousand draws of p within bounds have a spread within its bounds."""
    random = np.random.default_rng(0)
    for width in (0.0, 0.01, 0.3):
        ends = np.sort(random.random((1, 4, 2)), axis=2)
        lower = ends[..., 0]
        upper = np.minimum(lower + width, 1.0)
        draws = lower + (upper - lower) * random.random((10_000, 4))
        corners = np.where(random.random((1_000, 4)) < 0.5, lower, upper)
        p = np.concatenate([draws, corners])

        spread = measure(
            p, np.broadcast_to(lower, p.shape), np.broadcast_to(upper, p.shape)
        )

        assert (spread.lower <= spread.value + 1e-12).all()
        assert (spread.value <= spread.upper + 1e-12).all()
        if not width:
            assert spread.upper == pytest.approx(spread.value, abs=1e-7)


@pytest.mark.parametrize("budget", [12, 4])
def test_doctor_shows_a_reasoning(budget: int, built: tuple[Path, Any, Any]) -> None:
    """Its tokens and its text, and that one without an end is a fault."""
    guard = load(built[0], reasoning_tokens=budget)

    ((name, status, detail),) = _reasoning_checks(guard)

    assert "reasoning" == name
    assert ("ok" if budget == 12 else "fail") == status
    assert ("does not end within 4 tokens" in detail) == (budget == 4)
    assert ("</think>" in detail) == (budget == 12)
