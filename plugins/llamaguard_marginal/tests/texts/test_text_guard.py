"""A guard behind a server without log-probabilities, from options to tables."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError, OptionError
from safebench.evidence import EvidenceBundle
from safebench.plugins import Plugins
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_llamaguard_marginal.doctor import doctor
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.opening import open_guard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies.sampled_texts import self_consistency
from safebench_llamaguard_marginal.texts.evidence import VerdictTexts

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.classifiers import Recording

KEY = "sk-texts-key-0123456789"
TEXTS = {
    "calm": {"safe": 0.9, "unsafe\nS1": 0.1},
    "torn": {"unsafe\nS1,S10": 0.5, "safe": 0.3, "unsafe\nS2": 0.2},
    "grim": {"unsafe\nS9": 1.0},
}


def sample(text: str, **more: Any) -> Sample:
    """Return a prompt."""
    return Sample(id=text[:40], turns=(Turn("user", text),), **more)


def options(server: Any, **more: Any) -> GuardOptions:
    """Return the options of a guard at the server, without files here."""
    settings = {
        "engine": "openai",
        "base_url": server.address,
        "logprobs": False,
        "profile": "llama-guard-3",
        "backoff": 0.001,
    }
    return GuardOptions(**settings | more)


def record(opts: GuardOptions, texts: Any = tuple(TEXTS)) -> Recording:
    """Record texts about some prompts."""
    guard = open_guard(opts)
    try:
        kinds: Any = frozenset({VerdictTexts})
        return guard.record([sample(t) for t in texts], kinds, lambda _: None)
    finally:
        guard.close()


@pytest.mark.slow
def test_shares_are_those_of_what_the_server_wrote(server: Any) -> None:
    """Counted from the server's own log: one greedy answer and k samples a prompt."""
    server.table = TEXTS

    recording = record(options(server, samples=16))

    bundle = EvidenceBundle(recording.evidence)
    judged = self_consistency(bundle, Context(task="prompt_harm"))
    for i, prompt in enumerate(TEXTS):
        sampled = [w[3] for w in server.written if w[0] == prompt and w[1]]
        assert 16 == len(sampled)
        assert sum("unsafe" in t for t in sampled) / 16 == judged.score[i]
        s10 = [*judged.labels].index("S10")
        assert sum("S10" in t for t in sampled) / 16 == judged.categories[i, s10]
        texts = recording.evidence[VerdictTexts].texts()[i]  # type: ignore[attr-defined]
        assert sorted(sampled) == sorted(texts[1:])
        assert max(TEXTS[prompt], key=TEXTS[prompt].__getitem__) == texts[0]
    seeds = [w[2] for w in server.written if w[1] and w[0] in TEXTS]
    assert len(set(seeds)) == len(seeds)
    assert 17.0 == recording.traces[0].forward_passes


@pytest.mark.slow
def test_shares_estimate_the_probability_of_the_table(server: Any) -> None:
    """Within 4 standard errors of the enumerated value, over many prompts."""
    server.usual = TEXTS["torn"]
    prompts = [f"prompt {i}" for i in range(40)]

    recording = record(options(server, samples=8, concurrency=8), prompts)

    bundle = EvidenceBundle(recording.evidence)
    score = self_consistency(bundle, Context(task="prompt_harm")).score
    error = 4 * math.sqrt(0.7 * 0.3 / (8 * len(prompts)))
    assert score is not None
    assert 0.7 == pytest.approx(float(score.mean()), abs=error)
    assert len(set(score.tolist())) > 3


@pytest.mark.slow
def test_samples_are_asked_for_again_with_the_same_seeds(server: Any) -> None:
    """Whatever is beside them; another seed gives others."""
    server.table = TEXTS
    texts = lambda **more: (  # noqa: E731
        record(options(server, samples=6, **more), ["torn"])
        .evidence[VerdictTexts]
        .texts()  # type: ignore[attr-defined]
    )
    beside = record(options(server, samples=6)).evidence[VerdictTexts]

    assert texts() == texts() == [beside.texts()[1]]  # type: ignore[attr-defined]
    assert texts() != texts(sample_seed=1)


def test_the_whole_distribution_is_asked_for_where_servers_take_it(server: Any) -> None:
    """Unasked, they leave unlikely tokens out: shares would be too near 0 and 1."""
    guard = open_guard(options(server, samples=2))
    facts = dict(guard.facts)
    guard.close()
    assert ("whole", True) == (facts["distribution"], facts["seeds"])
    assert (-1, 0.0, 1.0) == tuple(
        server.bodies[-1][name] for name in ("top_k", "min_p", "top_p")
    )

    server.only_documented()
    guard = open_guard(options(server, samples=2))
    assert "top_p=1" == guard.facts["distribution"]
    notes = guard.record([sample("a")], frozenset({VerdictTexts}), lambda _: None)
    guard.close()
    said = " ".join(notes.evidence[VerdictTexts].meta["notes"])
    assert "was not told to sample from the whole distribution" in said


@pytest.mark.parametrize(
    ("refused", "field", "facts"),
    [
        ("seed", "seed", {"seeds": False, "distribution": "whole"}),
        ("top_p", "top_p", {"seeds": True, "distribution": "whole"}),
        ("max_tokens", "max_completion_tokens", {"seeds": True}),
    ],
)
def test_a_field_that_a_server_refuses_is_left_out(
    server: Any, refused: str, field: str, facts: dict[str, Any]
) -> None:
    """By what it says of it; one that is named otherwise is used."""
    server.refuse = lambda body: (
        f"Unsupported parameter: {refused}; use max_completion_tokens or none"
        if refused in body and (refused != "max_tokens" or "max_tokens" in body)
        else ""
    ).replace(
        "; use max_completion_tokens or none",
        "; use max_completion_tokens" if refused == "max_tokens" else "",
    )

    guard = open_guard(options(server, samples=1))
    found = dict(guard.facts)
    guard.close()

    assert facts.items() <= found.items()
    assert refused not in server.bodies[-1]
    assert (field in server.bodies[-1]) == (refused == "max_tokens")


def test_a_server_that_refuses_temperature_is_refused(server: Any) -> None:
    """Greedy or sampled cannot be asked for: nothing is recorded."""
    server.refuse = lambda _: "temperature does not support 0 with this model"

    with pytest.raises(ModelError, match="temperature does not support 0"):
        record(options(server))


def test_one_prompt_that_is_refused_fails_alone(server: Any) -> None:
    """A filter of the service, or a prompt that is too long."""
    server.refuse = lambda body: "content policy" if "grim" in str(body) else ""

    traces = record(options(server, samples=2)).traces

    assert [None, None] == [traces[0].error, traces[1].error]
    assert "HTTP 400: content policy" in str(traces[2].error)


def test_a_busy_server_is_waited_for(server: Any) -> None:
    """Before the run, and in it."""
    busy: Any = lambda _: (429, {"error": {"message": "slow down"}}, {})  # noqa: E731
    server.scripted = [busy]
    guard = open_guard(options(server))
    server.scripted = [busy, busy]

    recording = guard.record([sample("a")], frozenset({VerdictTexts}), lambda _: None)
    guard.close()

    assert recording.traces[0].error is None


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
def test_the_prompts_of_the_server_are_compared_where_a_tokenizer_is_here(
    server: Any, tiny_guard: Path
) -> None:
    """By their number of tokens; another template is refused, one sample fails."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_guard)
    here = {"profile": "auto", "model": str(tiny_guard), "api": "chat"}

    def length(body: Any) -> int:
        odd = "torn" in str(body)
        return odd + len(
            tokenizer.apply_chat_template(
                body["messages"], add_generation_prompt=True, return_dict=False
            )
        )

    server.count = length
    traces = record(options(server, **here)).traces
    assert [None, None] == [traces[0].error, traces[2].error]
    assert "another prompt" in str(traces[1].error)

    server.count = lambda body: 1 + length(body)
    with pytest.raises(ModelError, match="makes other prompts"):
        record(options(server, **here))


def test_own_words_of_a_profile_are_sent_as_a_message(server: Any) -> None:
    """So a chat model is asked, with nothing of it here."""
    recording = record(options(server, profile="instruct"), ["calm {x}"])

    (message,) = server.asked[-1]["messages"]
    assert "user" == message["role"]
    assert "calm {x}" in message["content"]
    assert "S1" in message["content"]
    assert "nothing here compares" in str(
        recording.evidence[VerdictTexts].meta["notes"]
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"samples": -1}, "not 0 or more"),
        ({"samples": 4, "logprobs": True}, "with logprobs=no it would work"),
        ({"sample_seed": 3}, "samples=8 would sample eight"),
        ({"samples": 2, "sample_temperature": 0.0}, "not above 0"),
        ({"unlisted": "cap"}, "logprobs=no asks for none"),
        ({"truncation": "windows"}, "asks about whole ones"),
        ({"samples": 8, "max_requests": 9}, "leaves none done"),
        ({"profile": "wildguard"}, "without a chat template"),
        ({"profile": "shieldgemma", "policy": "openai-moderation"}, "category by itse"),
        ({"api": "completions"}, "api=chat needs no tokenizer"),
        ({"profile": "granite-guardian-3"}, "variables"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_texts_cannot_be_is_refused(
    server: Any, more: dict[str, Any], message: str
) -> None:
    """Before a prompt is sent, with what would work."""
    with pytest.raises(OptionError, match=message):
        record(options(server, **more))
    assert [] == server.written


def test_evidence_is_that_of_a_model_and_its_samples(server: Any) -> None:
    """Name at the server, k, temperature, seed are part of it; the address is not."""
    first = model_identity(options(server, samples=4))
    assert first == model_identity(
        options(server, samples=4, base_url="http://b/v1", retries=1, eps=0.1)
    )
    for change in (
        {"served_model": "x"},
        {"samples": 5},
        {"sample_temperature": 0.5},
        {"sample_seed": 1},
        {"profile": "instruct"},
        {"api": "chat"},
        {"max_new_tokens": 5},
    ):
        assert first != model_identity(options(server, **{"samples": 4} | change))


def run(server: Any, out: Path, *more: str) -> Any:
    """Run the command line on the prompts of the table."""
    data = out.parent / "data.jsonl"
    rows = [{"prompt": t, "label": ("safe", "unsafe")[t != "calm"]} for t in TEXTS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"engine": "openai", "base_url": server.address, "logprobs": "no"}
    settings |= {"profile": "llama-guard-3", "retries": "0", "concurrency": "1"}
    return CliRunner().invoke(
        cli,
        [
            *("run", "-c", "llamaguard", "-d", str(data), "--out", str(out)),
            *(f"--set={name}={value}" for name, value in settings.items()),
            *more,
        ],
        obj=Plugins(),
    )


def rows_of(out: Path) -> list[Any]:
    """Return the rows of a run's results."""
    return [json.loads(x) for x in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_judges_what_texts_tell_and_says_what_they_do_not(
    server: Any, tmp_path: Path
) -> None:
    """All strategies: those of texts; each of the others is left out with a reason."""
    server.table = TEXTS

    result = run(server, tmp_path / "out", "-s", "all", "--set", "samples=4")

    assert 0 == result.exit_code, result.output
    rows = rows_of(tmp_path / "out")
    assert {"greedy", "self_consistency", "sampled_verdict_entropy"} == {
        row["strategy"] for row in rows
    }
    plain = " ".join(result.output.split())
    assert "marginal_any" in plain
    assert "since logprobs=no records the texts of verdicts" in plain
    notes = {row["note"] for row in rows if row["strategy"] == "self_consistency"}
    assert any("score of 5 values" in str(note) for note in notes)
    assert KEY not in result.output

    again = run(server, tmp_path / "out", "-s", "greedy", "--set", "samples=4")
    assert 0 == again.exit_code
    assert "uses stored evidence of 3 samples" in again.output


@pytest.mark.slow
def test_without_a_strategy_texts_are_read_by_their_own(
    server: Any, tmp_path: Path
) -> None:
    """The usual default reads trees: greedy, or the share of samples, stands in."""
    server.table = TEXTS
    for more, expected in (("0", "greedy"), ("3", "self_consistency")):
        out = tmp_path / more
        result = run(server, out, f"--set=samples={more}")
        assert 0 == result.exit_code, result.output
        assert {expected} == {row["strategy"] for row in rows_of(out)}

    refused = run(server, tmp_path / "no", "-s", "self_consistency")
    assert 2 == refused.exit_code
    assert "samples=8 adds eight" in refused.output


@pytest.mark.slow
def test_a_run_that_is_cut_short_asks_for_what_is_missing_alone(
    server: Any, tmp_path: Path
) -> None:
    """A budget of requests ends it; the same command goes on, shard by shard."""
    server.table = TEXTS
    short = ("-s", "self_consistency", "--set=samples=4", "--set=max_requests=13")

    first = run(server, tmp_path / "out", *short)
    assert 2 == first.exit_code
    assert "max_requests=13 allows" in first.output
    before = len(server.asked)
    second = run(server, tmp_path / "out", *short[:-1])

    assert 0 == second.exit_code, second.output
    done = list((tmp_path / "out").rglob("*.npz"))
    assert len(done) > 1
    by_prompt = [
        sum(w[0] == prompt and bool(w[1]) for w in server.written) for prompt in TEXTS
    ]
    # what was stored is not asked about again
    assert [4, 4, 4] == by_prompt
    assert 5 == len(server.asked) - before


def test_trees_are_still_recorded_where_nothing_is_said_of_texts() -> None:
    """A strategy on samples names the options that would record them."""
    result = CliRunner().invoke(
        cli, ["run", "-c", "llamaguard", "-s", "self_consistency"], obj=Plugins()
    )

    assert 2 == result.exit_code
    assert "engine=openai logprobs=no samples=8 records" in result.output


@pytest.mark.slow
def test_a_shard_of_one_form_says_so_of_the_others(server: Any) -> None:
    """Verdicts on prompts and responses are written in other forms by this family."""
    guard = open_guard(options(server, profile="qwen3guard"))
    response = Sample(
        id="r",
        turns=(Turn("user", "a"), Turn("assistant", "b")),
        task="response_harm",
    )
    server.usual = {"Safety: Safe\nCategories: None": 1.0}

    recording = guard.record(
        [sample("a"), sample("b"), response], frozenset({VerdictTexts}), lambda _: None
    )
    guard.close()

    errors = [trace.error for trace in recording.traces]
    assert [None, None] == errors[:2]
    assert "in another form" in str(errors[2])
    levels = recording.evidence[VerdictTexts]["level"]
    np.testing.assert_array_equal([0, 0], levels)


def test_the_doctor_shows_what_is_asked_and_what_is_read(server: Any) -> None:
    """The server's fields, the conversation, and an answer that holds no verdict."""
    server.table = {"Hello.": {"Hi!": 1.0}}

    checks = list(doctor(options(server, samples=2)))

    by_name = {name: (state, detail) for name, state, detail in checks}
    assert ("ok", True) == (
        by_name["conversation"][0],
        '"Hello."' in by_name["conversation"][1],
    )
    answers = [(s, d) for name, s, d in checks if name == "answer"]
    assert ["fail", "ok", "ok"] == [state for state, _ in answers]
    assert "wrote 'Hi!', which is no level" in answers[0][1]
    assert any("guard-x" in detail for _, _, detail in checks)


def test_a_model_that_was_not_named_is_named_beside_its_numbers(server: Any) -> None:
    """Stored answers are used again, whatever the server has by then."""
    said = {}
    for name in ("", "guard-x"):
        recording = record(options(server, served_model=name), ["calm"])
        said[name] = " ".join(recording.evidence[VerdictTexts].meta["notes"])

    assert "guard-x answered" in said[""]
    assert "answered" not in said["guard-x"]
