"""The record that is the default: less work, the same answers of every strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench import Plugins, StrategySpec
from safebench.cli import cli
from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.lazy import import_object
from safebench.specs import fields_by_kind
from safebench.strategies import Context
from safebench.testing.table_model import TableModel
from safebench.verdict_tree import ExploreOptions, Grammar, TreeExplorer
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safebench.classifiers import Recording

# What is left out has less than a millionth, and a log-odds amplifies it where both
# sides are small; rounding in float32 adds its part.
CLOSE = {"rtol": 2e-4, "atol": 2e-5}
# A millionth of probability that moves changes an entropy by 1e-6 (1 + log 1e6) nats.
NATS = 1.5e-5
FIELDS = ("score", "decision", "uncertainty", "categories")


def recorded(record: Any) -> tuple[Recording, LlamaGuard]:
    """Return what is recorded of some prompts of the starter set."""
    samples = load_dataset(resolve_dataset("starter", Plugins())).samples[::50]
    guard = LlamaGuard(GuardOptions(record=record))
    return guard.record(samples, frozenset({VerdictTree}), lambda _: None), guard


def is_read_from_trees(kind: type) -> bool:
    """Tell whether a kind of evidence is the verdict tree, or derived from it."""
    sources = getattr(kind, "derived_from", {})
    return kind is VerdictTree or any(map(is_read_from_trees, sources))


def strategies() -> list[StrategySpec]:
    """Return the installed strategies that trees alone suffice for."""
    return [
        spec
        for spec in Plugins().all(StrategySpec)
        if all(map(is_read_from_trees, fields_by_kind(spec.needs)))
    ]


def judged(tree: Any, policy: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield strategy, field and values of everything that strategies say of trees."""
    for spec in strategies():
        options = import_object(spec.options)() if spec.options else None
        context = Context(task="prompt_harm", policy=policy, options=options)
        said = spec.code()(EvidenceBundle({VerdictTree: tree}), context)
        for field in FIELDS:
            values = getattr(said, field)
            if values is not None:
                yield spec.name, field, values
        yield spec.name, "errors", list(said.errors or [])


@pytest.mark.slow
def test_every_strategy_says_the_same_of_a_lean_record() -> None:
    """Scores, uncertainties and categories, for two thirds of the nodes."""
    (full, _), (lean, guard) = recorded("full"), recorded("auto")
    policy, names = guard.guard.policy, set()
    both = (judged(r.evidence[VerdictTree], policy) for r in (full, lean))
    for (name, field, a), (*other, b) in zip(*both, strict=True):
        assert [name, field] == other
        if field == "errors":
            assert a == b, name
        else:
            np.testing.assert_allclose(a, b, err_msg=f"{name} {field}", **CLOSE)
        names.add(name)
    assert {"marginal_any", "joint", "first_token", "ccp", "energy", "msp"} <= names
    nodes = [sum(t.tokens_out for t in r.traces) for r in (full, lean)]
    assert nodes[1] < 0.75 * nodes[0]


PIECES = ("\n", "\n\n", " ", "sa", "fe", "un", "S", "1", "2", ",", "x", "er", "I")
LEVELS, LINES = [PIECES.index("sa"), PIECES.index("un")], [0, 1]
GRAMMAR = {
    "levels": [
        {"name": "safe", "positive": False, "takes_labels": False},
        {"name": "unsafe", "positive": True, "takes_labels": True},
    ],
    "openers": ["", "\n", "\n\n"],
    "intro": "\n",
    "labels": ["S1", "S2"],
    "separators": [",", ", "],
    "mode": "strict",
}


class DrawnTable(dict[tuple[int, ...], Any]):
    """Next-token probabilities after any tokens, drawn by a seed when they are read.

    `bonus` is added to the logits of a level, and of line feeds, after no token, and to
    those of a level after line feeds.
    """

    def __init__(self, seed: int, spread: float, bonus: tuple[int, int, int]) -> None:
        super().__init__()
        self.seed, self.spread, self.bonus = seed, spread, bonus

    def get(self, tokens: tuple[int, ...], _: Any = None) -> Any:
        """Return the probabilities (V,) after `tokens`."""
        return self[tokens]

    def __missing__(self, tokens: tuple[int, ...]) -> Any:
        rng = np.random.default_rng([self.seed, *(token + 1 for token in tokens)])
        logits = rng.normal(size=len(PIECES) + 1) * self.spread
        level, lines, after_lines = self.bonus
        if not tokens:
            logits[LEVELS] += level
            logits[LINES] += lines
        elif tokens[-1] in LINES:
            logits[LEVELS] += after_lines
        p = np.exp(logits - logits.max())
        self[tokens] = p / p.sum()
        return self[tokens]


BONUSES = [
    *((0, 0, 0), (-6, 0, 0), (-14, 8, 14), (-10, 20, 20), (-8, 20, 20)),
    *((-14, 0, -14), (-25, 0, -25), (-14, 8, -14), (-14, 8, -25)),
]


def trees(floor: float) -> tuple[VerdictTree, int]:
    """Return trees of guards that write verdicts, seldom do, or hardly ever do."""
    spreads = (1.0, 3.0, 6.0)
    tables = [
        DrawnTable(seed, spreads[seed % len(spreads)], bonus)
        for seed, bonus in enumerate(bonus for bonus in BONUSES for _ in range(6))
    ]
    model = TableModel([p.encode() for p in PIECES] + [b""], len(PIECES), tables)
    options = ExploreOptions(eps=1e-3, forced_floor=floor)
    explorer = TreeExplorer(model, Grammar.from_json(GRAMMAR), options)
    explored = explorer.explore([[i] for i in range(len(tables))])
    return explored.tree, sum(stats.tokens for stats in explored.stats)


def test_strategies_lose_nothing_whatever_a_guard_writes() -> None:
    """Also where it writes no verdict, and every opener is as unlikely as the others.

    Levels take several tokens here: what is not followed there has no probability.
    """
    (full, n_full), (lean, n_lean) = trees(0.0), trees(1e-6)

    assert n_lean < 0.95 * n_full
    for (name, field, a), (*_, b) in zip(
        judged(full, None), judged(lean, None), strict=True
    ):
        if field == "errors":
            assert a == b, name
        else:
            atol = NATS if field == "uncertainty" else 1e-6
            np.testing.assert_allclose(
                a, b, rtol=0, atol=atol, err_msg=f"{name} {field}"
            )


def test_the_default_is_lean_and_full_evidence_keeps_its_key() -> None:
    """A full record is found under the key that it had before there was a choice."""
    default, lean, full, before = (
        model_identity(GuardOptions(**options))
        for options in ({}, {"record": "lean"}, {"record": "full"}, {"engine": 3})
    )

    assert default == lean
    assert (4, "lean") == (lean["engine"], lean["record"]["record"])
    assert full == before
    assert 3 == full["engine"]
    assert "record" not in full["record"]
    assert 2 == model_identity(GuardOptions(engine=2))["engine"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": 3, "record": "lean"}, "engine=3 records full trees"),
        ({"engine": 4, "record": "full"}, "engine=4 records lean trees"),
        ({"engine": "vllm", "record": "lean"}, "record=full would work"),
    ],
    ids=["full", "lean", "server"],
)
def test_an_engine_and_a_record_that_contradict_are_refused(
    options: dict[str, Any], said: str
) -> None:
    """Before anything is loaded, with what would work."""
    with pytest.raises(OptionError, match=said):
        GuardOptions(**options)
    assert not GuardOptions(engine="vllm").is_lean


@pytest.mark.slow
def test_full_scores_of_a_log_are_gone_on_with(tmp_path: Path) -> None:
    """A folder that an earlier version began is finished as it was begun."""
    log, out = tmp_path / "log.jsonl", tmp_path / "out"
    log.write_text('{"prompt": "How do I bake bread?"}\n{"prompt": "Hello"}\n')
    words = ["score", str(log), "-o", str(out), "--shard-size", "1", "-c"]
    plugins, runner = Plugins(), CliRunner()
    full = runner.invoke(cli, [*words, "llamaguard,record=full"], obj=plugins)
    assert 0 == full.exit_code, full.output
    last = out / "scores-00001.jsonl"
    before = last.read_bytes()
    last.unlink()

    again = runner.invoke(cli, [*words, "llamaguard"], obj=plugins)

    assert 0 == again.exit_code, again.output
    assert "recorded as what this folder holds (engine=3)" in again.output
    assert before == last.read_bytes()
