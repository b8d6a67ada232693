"""A broken plugin costs itself and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BROKEN = [
    ("import_error", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    ("exits_at_import", "SystemExit: called sys.exit(3)"),
    ("misspelt_hook", "unknown hook 'safebench_clasifiers'"),
    ("wrong_argument", "registry"),
    ("raising_hook", "RuntimeError: no licence file"),
    ("wrong_type", "returned a str, not a ClassifierSpec"),
    ("unknown_word", "metric 'mine': needs cannot be 'scores'; did you mean 'score'?"),
    ("raising_command", "RuntimeError: cannot add the second one"),
    ("takes_a_command", "replaces the command 'run'"),
]


def records(output: str) -> dict[str, dict[str, Any]]:
    """Return the lines of `list-plugins --json` by plugin name."""
    lines = [json.loads(line) for line in output.splitlines()]
    return {record["name"]: record for record in lines}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), BROKEN, ids=[name for name, _ in BROKEN])
def test_a_broken_plugin_is_reported_and_the_rest_works(
    install: Callable[..., Any], name: str, reason: str
) -> None:
    """It is listed as broken with its reason, warned of in one line, exit code 0."""
    site = install(name)

    result = site.safebench("list-plugins", "--json")

    listed = records(result.stdout)
    warnings = [line for line in result.stderr.splitlines() if name in line]
    assert 0 == result.returncode
    assert reason in listed[name]["error"]
    assert [] == listed[name]["components"]
    assert 1 == len(warnings)
    assert f"safebench-test-{name.replace('_', '-')} 1.2.3" in warnings[0]
    assert "classifier:keyword" in listed["core"]["components"]


@pytest.mark.slow
def test_all_broken_plugins_at_once_leave_a_working_harness(
    install: Callable[..., Any],
) -> None:
    """With every broken plugin installed, a run still ends with a results table."""
    site = install(*(name for name, _ in BROKEN))

    result = site.safebench("run", "-c", "keyword", "--limit", "20")

    assert 0 == result.returncode, result.stderr
    assert (site.cwd / "runs" / "keyword-starter" / "results.jsonl").exists()
    assert len(BROKEN) == result.stderr.count("is disabled")


@pytest.mark.slow
def test_a_failed_command_hook_leaves_no_command_behind(
    install: Callable[..., Any],
) -> None:
    """The command that was added before the failure is gone."""
    result = install("raising_command").safebench("half-added")

    assert 2 == result.returncode
    assert "no command 'half-added'" in result.stderr


@pytest.mark.slow
def test_a_clash_is_refused_only_when_the_name_is_asked_for(
    install: Callable[..., Any],
) -> None:
    """Two owners of a name: listing works, the bare name is refused, both run."""
    site = install("clashing_component")

    listed = site.safebench("list", "classifiers")
    bare = site.safebench("run", "-c", "keyword", "--limit", "20")
    chosen = site.safebench(
        "run", "-c", "theirs=safebench-test-clashing-component:keyword",
        "-c", "ours=safebench:keyword", "--limit", "20", "--out", "both",
    )  # fmt: skip

    assert 0 == listed.returncode
    assert 2 == bare.returncode
    assert "more than one plugin has the classifier 'keyword'" in bare.stderr
    assert "safebench-test-clashing-component:keyword" in bare.stderr
    assert 0 == chosen.returncode, chosen.stderr
    assert {"theirs", "ours"} == {
        json.loads(line)["classifier"]
        for line in (site.cwd / "both" / "results.jsonl").read_text().splitlines()
    }


@pytest.mark.slow
def test_two_distributions_may_share_an_entry_point_name(
    install: Callable[..., Any],
) -> None:
    """Both load, and both are shown."""
    result = install("twin_a", "twin_b").safebench("list-plugins", "--json")

    twins = [
        r for r in map(json.loads, result.stdout.splitlines()) if r["name"] == "twin"
    ]
    assert [None, None] == [twin["error"] for twin in twins]
    assert [["strategy:twin_a"], ["strategy:twin_b"]] == sorted(
        twin["components"] for twin in twins
    )


@pytest.mark.slow
def test_a_third_party_guard_strategy_and_evidence_run_in_a_grid(
    install: Callable[..., Any],
) -> None:
    """A plugin's own kinds cross with the core's: three pairs run, one is skipped."""
    site = install("good_guard")

    result = site.safebench(
        "run", "-c", "length,scale=50", "-c", "keyword", "-s", "longest_word",
        "-s", "score", "--limit", "40", "--out", "grid",
    )  # fmt: skip

    rows = map(
        json.loads, (site.cwd / "grid" / "results.jsonl").read_text().splitlines()
    )
    pairs = {(row["classifier"], row["strategy"]) for row in rows}
    assert 0 == result.returncode, result.stderr
    assert {
        ("length", "longest_word"),
        ("length", "score"),
        ("keyword", "score"),
    } == pairs
    assert "keyword x longest_word: longest_word needs Lengths" in result.stderr


@pytest.mark.slow
def test_a_wrong_option_of_a_third_party_guard_names_the_nearest(
    install: Callable[..., Any],
) -> None:
    """Options of plugins are checked as ours are."""
    result = install("good_guard").safebench("run", "-c", "length,scal=50")

    assert 2 == result.returncode
    assert "has no option 'scal'; did you mean 'scale'?" in result.stderr
