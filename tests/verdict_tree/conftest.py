"""Table models with exact expectations, and small helpers to explore them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.testing.table_model import TableModel
from safebench.verdict_tree.explorer import Exploration, ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar

if TYPE_CHECKING:
    from collections.abc import Callable

ORACLES = Path(
    os.environ.get(
        "SAFEBENCH_ORACLES", Path(__file__).parents[3] / "shared" / "oracles"
    )
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests on the cases of verdict_cases.json.

    `case` is every one, `strict_case` those in which canonical tokens matter.
    """
    for name in {"case", "strict_case"}.intersection(metafunc.fixturenames):
        path = ORACLES / "verdict_cases.json"
        if path.exists():
            cases = json.loads(path.read_text())["cases"]
            if name == "strict_case":
                cases = [case for case in cases if case["expected"]["first_token"]]
            metafunc.parametrize(name, cases, ids=[case["name"] for case in cases])
        else:
            reason = "no verdict_cases.json: set SAFEBENCH_ORACLES to its folder"
            skipped = pytest.param({}, marks=pytest.mark.skip(reason=reason))
            metafunc.parametrize(name, [skipped])


@pytest.fixture(scope="session")
def explore_case() -> Callable[[dict[str, Any], float], Exploration]:
    """Explore a case of verdict_cases.json at some eps, and only once."""
    explorations: dict[tuple[str, float], Exploration] = {}

    def explore(case: dict[str, Any], eps: float) -> Exploration:
        key = (case["name"], eps)
        if key not in explorations:
            explorations[key] = explore_now(case, eps)
        return explorations[key]

    def explore_now(case: dict[str, Any], eps: float) -> Exploration:
        vocabulary = case["vocabulary"]
        rows = {
            tuple(map(int, prefix.split())): p for prefix, p in case["model"].items()
        }
        token_bytes = [text.encode() for text in vocabulary["pieces"]]
        model = TableModel(token_bytes, vocabulary["eos"], [rows])
        grammar = Grammar.from_json(case["grammar"])
        options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=case["D"])
        return TreeExplorer(model, grammar, options).explore([[0]])

    return explore


@pytest.fixture
def build_model() -> Callable[..., TableModel]:
    """Build a table model: ``build_model(tokens, {prefix: {next: p}}, ...)``.

    A prefix is tokens joined by ``|``; EOS is written ``$``. Each further dictionary is
    for one more prompt.
    """

    def build(
        token_texts: list[str], *tables: dict[str, dict[str, float]]
    ) -> TableModel:
        ids = {text: i for i, text in enumerate([*token_texts, "$"])}
        rows_by_prompt = []
        for table in tables:
            rows = {}
            for prefix, next_tokens in table.items():
                row = [0.0] * len(ids)
                for text, probability in next_tokens.items():
                    row[ids[text]] = probability
                rows[tuple(ids[text] for text in prefix.split("|") if text)] = row
            rows_by_prompt.append(rows)
        token_bytes = [*(text.encode() for text in token_texts), b""]
        return TableModel(token_bytes, len(token_texts), rows_by_prompt)

    return build
