"""Compare engine and strategies with table models whose values were enumerated.

``python benchmarks/verdict_cases.py FILE`` explores every case of FILE without a cut
and at two values of eps, prints the largest deviation of each quantity, and exits 1
above 1e-9: of values where they must be exact, and beyond bounds where it was cut.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.strategies import Context, Judgements
from safebench.testing.failure_modes import malformed, truncated
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import Bounds, LabelPositions, TreeBounds
from safebench.verdict_tree.canonical_tokenizations import CanonicalTokenizations
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar
from safebench.verdict_tree.tree import ENDED, GREEDY, MALFORMED
from safebench_llamaguard_marginal.strategies.canonical_spelling import (
    first_token,
    joint,
    token_probability,
)
from safebench_llamaguard_marginal.strategies.greedy_verdict import greedy
from safebench_llamaguard_marginal.strategies.marginal import (
    MarginalFixedOptions,
    marginal_any,
    marginal_fixed,
)
from safebench_llamaguard_marginal.strategies.verdict_entropy import (
    outcome_entropy,
    verdict_outcomes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EPS = (0.0, 1e-3, 1e-2)
TOLERANCE = 1e-9


@dataclass
class LargestDeviations:
    """The largest deviation of each quantity, with the case and eps it came from."""

    found: dict[str, tuple[float, str]] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    def note(self, quantity: str, deviations: Any, where: str) -> None:
        """Keep the largest of some deviations; NaN is as far as can be."""
        values = np.nan_to_num(np.ravel(deviations), nan=np.inf)
        largest = float(values.max(initial=0.0))
        self.compared[quantity] = self.compared.get(quantity, 0) + values.size
        if largest >= self.found.get(quantity, (-1.0, ""))[0]:
            self.found[quantity] = (largest, where)

    def lines(self) -> Iterator[str]:
        """Yield a table, a quantity a line."""
        yield f"{'quantity':<36}{'values':>6}  {'deviation':>10}  where"
        for quantity in sorted(self.found):
            largest, where = self.found[quantity]
            count = self.compared[quantity]
            yield f"{quantity:<36}{count:>6}  {largest:>10.1e}  {where}"

    @property
    def bad(self) -> list[str]:
        """The quantities that deviate by more than the tolerance."""
        return [q for q, (value, _) in self.found.items() if value > TOLERANCE]


class Comparison:
    """One case at one eps: the tree, its judgements, and what they should be."""

    def __init__(
        self, case: dict[str, Any], eps: float, worst: LargestDeviations
    ) -> None:
        vocabulary, self.case, self.eps = case["vocabulary"], case, eps
        table = {tuple(map(int, k.split())): p for k, p in case["model"].items()}
        pieces = [piece.encode() for piece in vocabulary["pieces"]]
        model = TableModel(pieces, vocabulary["eos"], [table])
        options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=case["D"])
        grammar = Grammar.from_json(case["grammar"])
        explored = TreeExplorer(model, grammar, options).explore([[0]])
        self.tree, self.text = explored.tree, explored.stats[0].raw
        self.cut, self.grammar = self.tree.cached(TreeBounds), grammar
        self.expected: dict[str, Any] = case["expected"]
        self.worst, self.where = worst, f"{case['name']}, eps {eps:g}"

    def run(self) -> None:
        """Compare everything."""
        self.bounded()
        self.greedy()
        self.spelled()
        if self.eps == 0:
            self.outcomes()
            self.exact("gap", self.cut.open_mass, self.expected["truncated"])
            self.exact("truncated", truncated(self.cut), self.expected["truncated"])
            count = self.cut.label_bounds.lower.sum()
            self.exact("expected_labels", count, self.expected["expected_labels"])
            open_ = np.subtract(*self.cut.invalid_bounds[::-1])
            without = self.expected["truncated_without_level"]
            self.exact("truncated_without_level", open_, without)

    def judge(self, strategy: Any, options: Any = None) -> Judgements:
        """Read the tree by a strategy."""
        context = Context(task="prompt_harm", options=options)
        bundle = EvidenceBundle({VerdictTree: self.tree})
        judgements: Judgements = strategy(bundle, context)
        return judgements

    def exact(self, quantity: str, found: Any, value: Any) -> None:
        """Note how far a result is from its value."""
        self.worst.note(quantity, np.abs(np.subtract(found, value)), self.where)

    def within(self, quantity: str, bounds: Bounds | None, value: Any) -> None:
        """Note how far the value is outside its bounds; uncut, off the lower."""
        if bounds is None or value is None:
            return
        self.outside(quantity, bounds, value)
        if self.eps == 0:
            self.exact(quantity, bounds.lower, value)

    def outside(self, quantity: str, bounds: Bounds, value: Any) -> None:
        """Note how far the value is outside its bounds."""
        beyond = np.maximum(bounds.lower - value, np.subtract(value, bounds.upper))
        self.worst.note(f"{quantity} in bounds", np.maximum(beyond, 0.0), self.where)

    def columns(self, by_label: dict[str, float]) -> list[list[float]]:
        """Return values keyed by label as one row of columns."""
        return [[by_label[label] for label in self.grammar.labels]]

    def bounded(self) -> None:
        """Compare what trees bound."""
        cut, expected, grammar = self.cut, self.expected, self.grammar
        by_label = self.columns(expected["A"])
        self.within("A", cut.label_bounds, by_label)
        self.within("invalid", cut.invalid_bounds, expected["invalid"])
        self.within("malformed", malformed(cut), expected["malformed"])
        for i, level in enumerate(grammar.levels):
            bounds = cut.level_bounds([i == j for j in range(len(grammar.levels))])
            self.within("levels", bounds, expected["levels"][level.name])
        for k in (1, 2, 3):
            value = self.columns(expected[f"F_{k}"])
            self.within(f"F_{k}", LabelPositions(cut, k).bounds, value)
        entropy = outcome_entropy(cut)
        bounds, value = (
            Bounds(entropy.lower, entropy.upper),
            expected["verdict_entropy"],
        )
        self.outside("verdict_entropy", bounds, value)
        if self.eps == 0:
            self.exact("verdict_entropy", entropy.value, value)
        short = expected["truncated"] - cut.open_mass
        self.worst.note("gap at least", np.maximum(short, 0.0), self.where)
        self.judged("marginal_any", self.judge(marginal_any), by_label)
        for k in (1, 2, 3):
            options = MarginalFixedOptions(k=k)
            value = self.columns(expected[f"F_{k}"])
            self.judged("marginal_fixed", self.judge(marginal_fixed, options), value)

    def judged(self, strategy: str, found: Judgements, categories: Any) -> None:
        """Compare a strategy's bounds; a guard that mostly says nothing has none."""
        if self.expected["invalid"] > 0.5:  # noqa: PLR2004 - as strategies.reading
            if self.eps == 0:
                wrong = found.errors != ["invalid"]
                self.worst.note(f"{strategy} error", float(wrong), self.where)
            return
        score = _bounds(found.lower, found.upper)
        self.within(f"{strategy} score", score, self.expected["positive"])
        if self.grammar.labels:
            bounds = _bounds(found.category_lower, found.category_upper)
            self.within(f"{strategy} categories", bounds, categories)

    def greedy(self) -> None:
        """Compare the greedy verdict, whose parts are right or wrong."""
        expected, tree, last = (
            self.expected["greedy"],
            self.tree,
            self.cut.greedy_end[0],
        )
        path = np.nonzero((tree["flags"] & GREEDY > 0) & (tree["parent"] >= 0))[0]
        read = [label for label in tree["label"][path] if label >= 0]
        level, ended = tree["level"][last], tree["status"][last] == ENDED
        eos = tree["token"][last] == self.case["vocabulary"]["eos"]
        found = self.judge(greedy)
        actual = {
            "ids": tree["token"][path].tolist(),
            "text": self.text,
            "labels": [self.grammar.labels[label] for label in read],
            "level": self.grammar.levels[level].name if level >= 0 else None,
            "end": ("eos" if eos else "off_grammar") if ended else "budget",
            "error": found.errors[0],
        }
        if expected["malformed"] is not None:
            actual["malformed"] = bool(tree["flags"][last] & MALFORMED)
        wrong = [name for name, value in actual.items() if expected[name] != value]
        self.worst.note("greedy", float(bool(wrong)), f"{self.where} {wrong}")
        self.exact("greedy P", self.cut.mass[last], expected["P"])
        score = found.score
        if expected["score"] is not None and score is not None:
            self.exact("greedy score", score, expected["score"])

    def spelled(self) -> None:
        """Compare what is read from canonical spellings, whatever eps."""
        expected = self.expected
        if expected["opener_P"] is not None:
            self.openers(list(expected["opener_P"].values()))
        tokens, whole = self.judge(token_probability), self.judge(joint)
        pairs: Sequence[tuple[str, Any, Any]] = (
            ("token_probability", tokens.score, expected["token_probability"]),
            ("joint_score", whole.score, expected["joint_score"]),
        )
        for quantity, found, value in pairs:
            if value is not None:
                self.exact(quantity, found, value)
        for quantity, found, by_label in (
            ("c_1", tokens.categories, expected["c_1"]),
            ("joint", whole.categories, expected["joint"]),
        ):
            if by_label:
                self.exact(quantity, found, self.columns(by_label))

    def openers(self, masses: Sequence[float]) -> None:
        """Compare openers; an unlikely one may be missing from a pruned tree."""
        spellings, grammar = self.tree.cached(CanonicalTokenizations), self.grammar
        state = self.tree["state"][spellings.opener_nodes]
        mass = np.where(spellings.canonical, self.cut.mass[spellings.opener_nodes], 0.0)
        for opener, value in zip(grammar.openers, masses, strict=True):
            if value >= self.eps:
                here = state == self.cut.automaton.state_after(opener)
                self.exact("opener_P", mass[here].sum(), value)
        if all(p == 0 or p >= self.eps for p in masses):
            found = self.judge(first_token).score
            if self.expected["first_token"] is not None:
                self.exact("first_token", found, self.expected["first_token"])

    def outcomes(self) -> None:
        """Compare the distribution of verdicts by what they say."""
        grammar = self.grammar
        masses = {
            (outcome["level"], frozenset(outcome["labels"])): outcome["p"]
            for outcome in self.expected["outcomes"]
        }
        found = verdict_outcomes(self.cut)
        for _, level, bits, mass in zip(*found, strict=True):
            labels = [x for i, x in enumerate(grammar.labels) if int(bits) >> i & 1]
            name = grammar.levels[level].name if level >= 0 else None
            value = masses.pop((name, frozenset(labels)), 0.0)
            self.exact("outcomes", mass, value)
        self.exact("outcomes", np.zeros(len(masses)), list(masses.values()))


def _bounds(lower: Any, upper: Any) -> Bounds:
    """Return the bounds of a strategy that promises to have both."""
    assert lower is not None, "no lower bound"
    assert upper is not None, "no upper bound"
    return Bounds(lower, upper)


def main(path: Path) -> int:
    """Compare the cases of a file, print the table, return the exit code."""
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    worst = LargestDeviations()
    for case in cases:
        for eps in EPS:
            Comparison(case, eps, worst).run()
    print(*worst.lines(), sep="\n")
    over = f"above {TOLERANCE:g}: {', '.join(worst.bad) or 'none'}"
    print(f"{len(cases)} cases at eps {', '.join(f'{e:g}' for e in EPS)}; {over}")
    return 1 if worst.bad or not cases else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the script and its one argument
        sys.exit("usage: python benchmarks/verdict_cases.py FILE")
    sys.exit(main(Path(sys.argv[1])))
