"""The cells of a notebook run in order, and it is a notebook as readers expect it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def cells(name: str) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    content = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    assert (4, 5) == (content["nbformat"], content["nbformat_minor"])
    listed: list[dict[str, Any]] = content["cells"]
    return listed


def execute(source: str, scope: dict[str, Any]) -> Any:
    """Run a cell, and return the value of its last line if that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), scope)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), scope)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_cells_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, one after the other; the last says that both frames agree."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    values = [
        execute("".join(cell["source"]), scope)
        for cell in cells(name)
        if cell["cell_type"] == "code"
    ]

    assert values[0] == [
        "keyword/score",
        "llamaguard/greedy",
        "llamaguard/marginal_any",
    ]
    assert (3, 4) == values[1].shape
    n_differing, n = values[4]
    assert 0 < n_differing < n
    assert ["prompt_harm", "response_harm"] == values[5].task.tolist()
    assert values[-1] is True


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_not_stored(name: str) -> None:
    """What a cell printed once would be wrong with the next version."""
    stored = [cell for cell in cells(name) if cell.get("outputs")]
    ids = [cell["id"] for cell in cells(name)]

    assert [] == stored
    assert len(set(ids)) == len(ids) > 10
