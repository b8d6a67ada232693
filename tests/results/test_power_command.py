"""`power`: how many groups it takes, from stored predictions."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from scipy import stats

from safebench.cli.power import command
from safebench.plugins import Plugins
from safebench.statistics import delong
from safebench.statistics.power import mcnemar_power

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from click.testing import Result
    from conftest import Write

    Run = Callable[..., Result]


@pytest.fixture
def run(write: Write, scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Run:
    """Return a function that runs the command beside two stored strategies."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    write("alone", "guard/weak", y, weak)
    plugins = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])

    def _run(*args: str) -> Result:
        return CliRunner().invoke(command, args, obj=plugins)

    return _run


def estimates(run: Run, *args: str) -> list[dict[str, Any]]:
    """Return the records of a command that works."""
    done = run(*args, "--format", "json")
    assert 0 == done.exit_code, done.output
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return records


def test_groups_for_an_area_follow_from_its_error(
    run: Run, scores: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """(z + z)^2 times DeLong's variance, over the squared difference."""
    y, weak, strong = scores
    args = ("--metric", "auroc", "--difference", "0.02", "--run", "one")
    (record,) = estimates(run, *args)

    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    expected = 200 * z**2 * delong(y, weak, strong).se ** 2 / 0.02**2
    assert expected == pytest.approx(record["groups_needed"], rel=0.02)
    assert record["groups_needed"] == record["samples_needed"]
    stricter = estimates(run, *args, "--power", "0.9", "--alpha", "0.01")
    assert stricter[0]["groups_needed"] > record["groups_needed"]


def test_groups_for_a_rate_have_the_power_of_mcnemar(
    run: Run, scores: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Of the positives, as many as have 80 % power for what tells both apart."""
    y, weak, strong = scores
    args = ("weak", "strong", "--metric", "recall", "--difference", "0.05")
    (record,) = estimates(run, *args, "--run", "one")

    told_apart = float(((weak >= 0.5) != (strong >= 0.5))[y].mean())
    positives = record["groups_needed"] * y.mean()
    assert 0.8 == pytest.approx(mcnemar_power(positives, told_apart, 0.05), abs=0.01)


def test_one_combination_has_a_partner_with_unrelated_errors(run: Run) -> None:
    """Two shares p that err apart are told apart in 2 p (1 - p) of the samples."""
    args = ("--metric", "accuracy", "--difference", "0.1", "--run", "alone")
    (record,) = estimates(run, *args)

    assert "unrelated errors" in record["b"]
    assert record["groups_needed"] > 100


def test_the_text_says_what_it_takes_and_how(run: Run) -> None:
    """Groups, prompts, what the run shows, and what that follows from."""
    done = run("--metric", "auroc", "--difference", "0.02", "--run", "one")

    assert 0 == done.exit_code, done.output
    assert "a difference of 0.02 in auroc" in done.output
    assert "groups (set:test: guard/" in done.output
    assert "standard deviation, DeLong" in done.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--metric", "auroq", "--difference", "0.1"], "did you mean 'auroc'?"),
        (["--metric", "auroc", "--difference", "0"], "no number above 0"),
        (["--metric", "auroc", "--difference", "inf"], "no number above 0"),
        (["--metric", "auroc", "--difference", "1.5"], "lies between 0 and 1"),
        (["--metric", "auroc", "--difference", "0.1", "--alpha", "1"], "below 1"),
        (
            ["--metric", "auroc", "--difference", "0.1", "--power", "0.05"],
            "is not above --alpha",
        ),
        (["--metric", "auroc", "--difference", "0.1"], "name a run: --run RUN"),
        (["weak", "--metric", "auroc", "--difference", "0.1"], "name A and B"),
        (
            ["--metric", "auroc", "--difference", "0.1", "--run", "onne"],
            "did you mean 'one'?",
        ),
        (
            ["--metric", "error_auroc", "--difference", "0.1", "--run", "one"],
            "nothing to compute the power from",
        ),
    ],
)
def test_what_cannot_be_is_refused(run: Run, args: list[str], message: str) -> None:
    """Exit code 2 and one message with what would work."""
    done = run(*args)

    assert 2 == done.exit_code
    assert message in done.output


def test_what_is_rough_is_noted(run: Run) -> None:
    """Few are needed where differences are large, and small powers are not reached."""
    args = ("--metric", "auroc", "--difference", "0.4", "--run", "one")
    (record,) = estimates(run, *args, "--power", "0.5")

    assert "fewer than 40 independent samples of the rarer class" in record["note"]
    assert "a power below 0.6 is often not reached" in record["note"]
    (sure,) = estimates(run, "--metric", "auroc", "--difference", "0.02", *args[4:])
    assert "" == sure["note"]
    text = " ".join(run(*args).stdout.split())
    assert "note: fewer than 40 independent samples of the rarer class" in text
