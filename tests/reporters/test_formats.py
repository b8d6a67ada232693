"""Markdown, CSV, LaTeX and JSON, letter by letter."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.console import RenderOptions
from safebench.metrics.catalog import SPECS
from safebench.reporters.formats import render_csv as to_csv
from safebench.reporters.formats import render_json as to_json
from safebench.reporters.formats import render_latex as to_latex
from safebench.reporters.formats import render_markdown as to_markdown
from safebench.reporters.leaderboard import build_leaderboard

if TYPE_CHECKING:
    from conftest import Rows

    from safebench.reporters.table import Leaderboard


@pytest.fixture
def table(rows: Rows) -> Leaderboard:
    """Return two lines with every trap: specials, a null, a count, a best number."""
    odd = {"model": r"a|b_{1}&50%\x", "strategy": "any_place", "n_failed": 1}
    given = [
        *rows({"auroc": 0.87654, "tp": 3.0}, **odd),
        *rows({"auroc": 0.5, "tp": None}, note="no\ndecision"),
    ]
    return build_leaderboard(given, specs=SPECS)


def test_markdown(table: Leaderboard) -> None:
    """Pipes and stars of names are escaped, numbers rounded, the best in bold."""
    expected = r"""
| dataset | classifier | model | strategy | auroc | n | failed |
| :-- | :-- | :-- | :-- | --: | --: | --: |
| set:test (prompt_harm) | guard | a\|b\_{1}&50%\\x | any_place | **0.877** | 8 | 1 |
| set:test (prompt_harm) | guard | org/guard | greedy | 0.500 | 8 | 0 |

- auroc (greedy): no decision
- failed samples count as wrong decisions; metrics of scores leave them out
"""
    assert expected.strip() == to_markdown(table, RenderOptions())


def test_latex(table: Leaderboard) -> None:
    """Specials of TeX are escaped; remarks are comments."""
    expected = r"""
% auroc (greedy): no decision
% failed samples count as wrong decisions; metrics of scores leave them out
\begin{tabular}{lllrrr}
\toprule
classifier & model & strategy & auroc & n & failed \\
\midrule
\multicolumn{6}{l}{\textit{set:test (prompt\_harm)}} \\
guard & a|b\_\{1\}\&50\%\textbackslash{}x & any\_place & \textbf{0.877} & 8 & 1 \\
guard & org/guard & greedy & 0.500 & 8 & 0 \\
\bottomrule
\end{tabular}
"""
    assert expected.strip() == to_latex(table, RenderOptions())


def test_csv(rows: Rows) -> None:
    """Full precision, an empty field for null, quotes where a comma needs them."""
    given = [
        *rows({"auroc": 0.8765432109, "tp": 3.0}, model="a, b"),
        *rows({"auroc": None, "tp": 1.0}, strategy="b", calibrator="platt"),
    ]
    expected = """
dataset,task,classifier,model,strategy,calibrator,run,auroc,tp,n,n_failed
set:test,prompt_harm,guard,"a, b",greedy,,r,0.8765432109,3.0,8,0
set:test,prompt_harm,guard,org/guard,b,platt,r,,1.0,8,0
"""
    text = to_csv(build_leaderboard(given, metrics=["auroc", "tp"]), RenderOptions())

    assert expected.strip() == text
    assert "a, b" == next(csv.DictReader(io.StringIO(text)))["model"]


def test_json(rows: Rows) -> None:
    """Raw numbers with every n, and the notes."""
    given = rows(
        {"auroc": 0.8765432109}, n_scored=7, n_failed=1, bound_low=0.8, bound_high=0.9
    )
    (record,) = json.loads(to_json(build_leaderboard(given), RenderOptions()))

    assert {
        "dataset": "set:test",
        "task": "prompt_harm",
        "classifier": "guard",
        "model": "org/guard",
        "strategy": "greedy",
        "calibrator": None,
        "run": "r",
        "n": 8,
        "n_pos": 4,
        "n_failed": 1,
        "metrics": {
            "auroc": {
                "value": 0.8765432109,
                "ci_low": None,
                "ci_high": None,
                "ci_method": None,
                "bound_low": 0.8,
                "bound_high": 0.9,
                "n_scored": 7,
                "note": "",
            }
        },
    } == record


def test_counts_have_no_decimals(rows: Rows) -> None:
    """True positives are whole numbers in every format for people."""
    given = build_leaderboard(rows({"tp": 1.0, "auroc": 1.0}), metrics=["tp", "auroc"])

    assert "| 1 | 1.000 |" in to_markdown(given, RenderOptions())


@pytest.mark.parametrize("render", [to_markdown, to_latex, to_csv, to_json])
def test_control_characters_never_pass(render: object, rows: Rows) -> None:
    """Escape sequences and direction marks in names reach no terminal."""
    given = build_leaderboard(
        rows({"auroc": 0.5}, model="\x1b[31mred\u202e\x07", note="\x1b]0;x")
    )
    text = render(given, RenderOptions())  # type: ignore[operator]

    assert "red" in text
    assert not {"\x1b", "\u202e", "\x07"} & set(text)


def test_a_name_in_brackets_is_no_option_of_tex(rows: Rows) -> None:
    """A row that begins with a bracket would be read as the room after the last one."""
    drawn = to_latex(
        build_leaderboard(rows({"auroc": 0.5}, classifier="[mine]")), RenderOptions()
    )

    assert "\n{}[mine] & org/guard & greedy & 0.500 & 8 & 0 \\\\\n" in drawn


def test_gaps_too_small_for_decimals_are_powers_of_ten(rows: Rows) -> None:
    """A gap of 2e-07 is not 0, and 0 stays 0; other metrics keep their decimals."""
    values = {"gap_mean": 2.1e-07, "gap_p95": 0.0}
    drawn = to_markdown(build_leaderboard(rows(values)), RenderOptions())

    assert "| 2e-07 | 0.000 |" in drawn
    assert "| 0.000 | 8 |" in to_markdown(
        build_leaderboard(rows({"fpr": 0.0004})), RenderOptions()
    )


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_no_cell_of_a_csv_is_a_formula(rows: Rows, start: str) -> None:
    """Whatever a name begins with; numbers below 0 stay numbers."""
    name = f'{start}HYPERLINK("http://host","x")'
    named = {
        "dataset": name,
        "classifier": name,
        "model": f"\t{name}",
        "strategy": f"\r\n{name}",
        "calibrator": name,
        "run": f" {name}",
    }
    table = build_leaderboard([*rows({"mcc": -0.25}, **named)], metrics=["mcc"])

    head, line = csv.reader(io.StringIO(to_csv(table, RenderOptions())))

    cells = dict(zip(head, line, strict=True))
    assert all(cells[key].startswith(f"'{start}HYPER") for key in named)
    assert "-0.25" == cells["mcc"]


def test_no_remark_is_code_of_latex(rows: Rows) -> None:
    """A comment ends with its line, so a remark has no line ends."""
    table = build_leaderboard(rows({"auroc": 0.5}))
    table = replace(table, title="a\n\\input{x}", footnotes=("b\r\\input{y}", "\u2028"))

    text = to_latex(table, RenderOptions())

    assert all(line.startswith("% ") for line in text.splitlines() if "\\input" in line)
