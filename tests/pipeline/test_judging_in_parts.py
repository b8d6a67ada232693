"""Large sets are judged part by part, to the bytes of judging them whole."""

from __future__ import annotations

import shutil
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench import StrategySpec, hookimpl
from safebench.cli import cli
from safebench.evidence import Cost, EvidenceBundle, MemberLogits, Scores
from safebench.evidence.store import EvidenceStore
from safebench.pipeline import judging_in_parts, recording, stored_bundle
from safebench.pipeline.judging import JudgedRows
from safebench.pipeline.judging_in_parts import (
    joined,
    joined_note,
    strategies_at_once,
)
from safebench.plugins import Plugins
from safebench.specs import fields_by_kind
from safebench.strategies import Context, Judgements
from safebench.strategies.base import VECTORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


def run(plugins: Plugins, *words: str, out: Path, code: int = 0) -> str:
    """Run on the starter set; return what is said."""
    command = ["run", "-d", "starter", "--limit", "16", "--out", str(out), *words]
    result = CliRunner().invoke(cli, command, obj=plugins)
    assert code == result.exit_code, result.output
    return result.output


def stored(folder: Path) -> dict[str, bytes]:
    """Return all predictions and rows of a run."""
    paths = [*folder.glob("predictions/*/*/*"), folder / "results.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let five samples be judged at once; note how many are read at a time."""
    read: list[int] = []
    load = EvidenceStore.load

    def note(self: EvidenceStore, keys: Sequence[str], kinds: Any) -> Any:
        read.append(len(keys))
        return load(self, keys, kinds)

    monkeypatch.setattr(EvidenceStore, "load", note)
    monkeypatch.setattr(recording, "MAX_WHOLE", 5)
    monkeypatch.setattr(recording, "fits_whole", lambda _: False)
    monkeypatch.setattr(stored_bundle, "PART", 5)
    monkeypatch.setattr(judging_in_parts, "_BYTES_AT_ONCE", 0)
    return read


GUARDS = {
    "keyword": ("-c", "keyword"),
    "llamaguard": ("-c", "llamaguard", "-s", "all"),
}


@pytest.fixture(scope="module", params=[*GUARDS])
def whole(
    request: pytest.FixtureRequest,
    plugins: Plugins,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:
    """Return a run that judged all samples at once."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(plugins, *GUARDS[request.param], out=folder)
    return request.param, folder


@pytest.mark.slow
def test_predictions_are_the_same_bytes(
    whole: tuple[str, Path], plugins: Plugins, in_parts: list[int]
) -> None:
    """Of every strategy that an installed guard has; with the rows about them."""
    name, folder = whole
    first = stored(folder)
    shutil.rmtree(folder / "predictions")

    said = run(plugins, *GUARDS[name], out=folder)

    assert first == stored(folder)
    assert "uses stored evidence" in said
    assert max(in_parts) <= 5
    n_strategies = len(first) - 1
    # each sample once for four strategies, and one more for what the meta data say
    assert sum(in_parts) <= (16 + 1) * -(-n_strategies // 4)


def _bundle(kind: str, n: int, seed: int) -> EvidenceBundle:
    """Return evidence of `n` samples, drawn at random."""
    rng = np.random.default_rng(seed)
    if kind == "cost":
        meta = {"bias": 0.3, "temperature": 1.7, "n_calibration": 30}
        columns = {"value": rng.normal(size=n), "spread": rng.random(n)}
        return EvidenceBundle({Cost: Cost(columns, meta=meta)})
    windows = rng.integers(1, 4, n)
    offsets = {"W": np.concatenate(([0], np.cumsum(windows)))}
    logits = rng.normal(size=(int(windows.sum()), 5, 2)).astype(np.float32)
    meta = {
        "link": "softmax",
        "classes": ["no", "yes"],
        "tasks": {"yes": ["prompt_harm", 1], "no": ["prompt_harm", -1]},
        "members": [*"abcde"],
    }
    evidence = MemberLogits({"logits": logits}, offsets=offsets, meta=meta)
    return EvidenceBundle({MemberLogits: evidence})


@pytest.mark.parametrize("kind", ["cost", "members"])
def test_each_judgement_is_of_its_sample_alone(kind: str, plugins: Plugins) -> None:
    """Of ensembles and cost models: by any part, to the bit."""
    evidence = {"cost": Cost, "members": MemberLogits}[kind]
    specs = [
        spec
        for spec in plugins.all(StrategySpec)
        if spec.per_sample and set(fields_by_kind(spec.needs)) == {evidence}
    ]
    assert specs
    bundle, context = _bundle(kind, 23, seed=4), Context(task="prompt_harm")
    for spec in specs:
        if spec.needs_categories:  # the mean of the same classes
            continue
        whole = spec.code()(bundle, context)
        for rows in np.array_split(np.random.default_rng(1).permutation(23), 6):
            chosen = {k: batch.select(rows) for k, batch in bundle.items()}
            part = spec.code()(EvidenceBundle(chosen), context)
            for name in VECTORS:
                ours, theirs = getattr(whole, name), getattr(part, name)
                assert (ours is None) == (theirs is None)
                assert ours is None or ours[rows].tobytes() == theirs.tobytes()
            notes = (whole.note, whole.decision_note, whole.threshold)
            assert notes == (part.note, part.decision_note, part.threshold)


@pytest.mark.parametrize(
    ("notes", "sizes", "expected"),
    [
        (["", ""], [4, 3], ""),
        (["two-valued", "two-valued"], [4, 3], "two-valued"),
        (["two-valued", ""], [4, 3], None),
        (["in 3 of 4: x", "in 1 of 3: x"], [4, 3], "in 4 of 7: x"),
        (["", "in 1 of 3: x"], [4, 3], "in 1 of 7: x"),
        (["in 1 of 3: x", "in 1 of 3: x"], [3, 3], "in 2 of 6: x"),
        (["in 1 of 3: x", "in 1 of 3: y"], [3, 3], None),
        (["1 of 3, 2 of 3", "1 of 3, 2 of 3"], [3, 3], None),
        (["of 3", "of 3"], [3, 3], None),
        (["1 in 5 labels", "1 in 5 labels"], [4, 3], "1 in 5 labels"),
        # ten answers to each sample, of which none was read in any part
        (["30 of 30 answers", "30 of 30 answers"], [3, 3], None),
        (["1 of 3: 2 of 30 answers", "1 of 3: 2 of 30 answers"], [3, 3], None),
    ],
)
def test_counts_in_notes_are_added_up(
    notes: list[str], sizes: list[int], expected: str | None
) -> None:
    """What cannot be known of all samples is not guessed."""
    assert expected == joined_note(notes, sizes)


def _judged(scores: list[float], **others: Any) -> JudgedRows:
    judgements = Judgements(
        size=len(scores),
        score=np.array(scores),
        errors=[None, *[f"{x}" for x in scores[1:]]],
        **others,
    )
    return JudgedRows(judgements, [f"unread {x}" for x in scores])


def test_parts_are_put_in_the_order_of_their_rows() -> None:
    """Scores, errors and reasons alike."""
    rows = [np.array([4, 0]), np.array([2, 1, 3])]
    both = joined(rows, [_judged([0.4, 0.0]), _judged([0.2, 0.1, 0.3])])

    assert both is not None
    assert [0.0, 0.1, 0.2, 0.3, 0.4] == both.judgements.score.tolist()
    assert ["0.0", "0.1", None, "0.3", None] == both.judgements.errors
    assert [f"unread 0.{i}" for i in range(5)] == both.unread


@pytest.mark.parametrize(
    "other",
    [
        {"threshold": 0.3},
        {"probability": False},
        {"note": "another"},
        {"labels": ("S1",)},
        {"uncertainty": np.zeros(1)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_parts_that_differ_are_not_joined(other: dict[str, Any]) -> None:
    """The whole is judged then, as before."""
    rows = [np.array([0]), np.array([1])]
    assert joined(rows, [_judged([0.1]), _judged([0.2])]) is not None
    assert joined(rows, [_judged([0.1]), _judged([0.2], **other)]) is None


def _judge_by_mean(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Judge by how many samples are at hand: of no use, but told apart."""
    return Judgements(
        size=len(evidence), score=np.full(len(evidence), 1 / len(evidence))
    )


def _judge_noting(evidence: EvidenceBundle, context: Context) -> Judgements:
    scores = np.zeros(len(evidence))
    return Judgements(size=len(evidence), score=scores, note=f"of {len(evidence)}")


def _judge_failing(evidence: EvidenceBundle, context: Context) -> Judgements:
    raise ZeroDivisionError("no such thing")


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer strategies of which some need the whole set."""
    return [
        StrategySpec(
            name=name.removeprefix("_judge_"),
            summary="a strategy of this test",
            load=f"{__name__}:{name}",
            needs=frozenset({Scores}),
            per_sample=name != "_judge_by_mean",
        )
        for name in ("_judge_by_mean", "_judge_noting", "_judge_failing")
    ]


@pytest.mark.parametrize(
    ("strategies", "read"),
    [
        (("score", "by_mean"), [16]),  # all is read at once, for both
        (("score", "noting"), [4, 4, 4, 4, 16, 1]),  # and here after the parts
        (("score", "failing", "score.2=score"), [4, 4, 4, 4, 1]),
    ],
    ids=lambda value: value[-1] if isinstance(value[0], str) else "",
)
def test_what_needs_the_whole_set_gets_it(
    strategies: tuple[str, ...], read: list[int], tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """By its spec, or because its parts differ; one that fails harms no other."""
    core = [e for e in entry_points(group="safebench") if e.dist.name == "safebench"]
    plugins = Plugins([*core, EntryPoint("mine", __name__, "safebench")])
    words = ["-c", "keyword", *(w for s in strategies for w in ("-s", s))]
    folder = tmp_path / "out"
    codes = {"failing": 1}
    run(plugins, *words, out=folder, code=codes.get(strategies[1], 0))
    first = stored(folder)
    in_parts = request.getfixturevalue("in_parts")

    run(plugins, *words, out=folder, code=codes.get(strategies[1], 0))

    assert first == stored(folder)
    assert sorted(read) == sorted(in_parts)


def test_a_few_numbers_a_sample_are_judged_whole(
    plugins: Plugins,
    in_parts: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of 16 samples with one double each, 128 bytes: read once, not in four parts."""
    monkeypatch.setattr(recording, "fits_whole", stored_bundle.fits_whole)
    for limit, read in ((127, [1, 1, 4, 4, 4, 4]), (128, [1, 16])):
        monkeypatch.setattr(stored_bundle, "MAX_WHOLE_BYTES", limit)
        in_parts.clear()
        run(plugins, "-c", "keyword", out=tmp_path / str(limit))
        assert sorted(in_parts) == read
    assert stored(tmp_path / "127").keys() == stored(tmp_path / "128").keys()


def test_more_strategies_judge_fewer_samples_at_a_time() -> None:
    """Judgements of 64 MiB, of 400 bytes each, or those of four strategies."""
    assert [4194, 8, 4, 4] == [
        strategies_at_once(n) for n in (40, 20_000, 40_000, 10**6)
    ]
