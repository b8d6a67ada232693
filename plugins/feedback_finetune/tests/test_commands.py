"""The command group: names, help, and nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.options import build_options, option_names
from safebench.plugins import Plugins
from safebench_feedback_finetune import collect
from safebench_feedback_finetune.commands import STAGES, execute, stage_flags

if TYPE_CHECKING:
    from pathlib import Path

COLLECT = next(stage for stage in STAGES if stage.name == "collect")
PROBE = """
import runpy, sys
sys.argv = ["safebench", *sys.argv[1:]]
try:
    runpy.run_module("safebench", run_name="__main__", alter_sys=True)
finally:
    heavy = {"torch", "transformers", "peft", "numpy", "datasets"}
    print("LOADED", sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("args", [["--help"], ["feedback", "--help"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    """The group is listed without torch, transformers or numpy."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *args], capture_output=True, text=True, check=True
    )

    assert "feedback" in result.stdout
    assert "LOADED []" in result.stdout


def test_every_option_is_a_flag_that_is_explained() -> None:
    """Each field of the options has one flag with a help text."""
    for stage in STAGES:
        flags = stage_flags(stage)
        assert option_names(stage) == [flag.name for flag in flags]
        assert all(flag.help for flag in flags)


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    """Exit code 2 and a suggestion."""
    result = subprocess.run(
        [sys.executable, "-m", "safebench", "feedback", "colect"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 2 == result.returncode
    assert "did you mean 'collect'" in result.stderr


GIVEN = {"dataset": ("a",), "out": "b"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset": ()}, "which prompts"),
        ({"out": ""}, "--out DIR"),
        ({"threshold": "1.5"}, "threshold: between 0 and 1"),
        ({"threshold": "high"}, "not a number"),
        ({"temperature": "-1"}, "temperature: 0 or more"),
        ({"top_p": "0"}, "top_p: above 0"),
        ({"answers": "2", "temperature": "0"}, "all answers are the same"),
        ({"save_every": "0"}, "save_every: 1 or more"),
        ({"quantize": "3bit"}, "none, 4bit"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    values: dict[str, Any], said: str
) -> None:
    """One line names the option and what would work."""
    with pytest.raises(OptionError, match=said):
        build_options(COLLECT, GIVEN | values)


def test_flags_come_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a flag says replaces what the file says; the work's code is the exit's."""
    path = tmp_path / "f.yaml"
    path.write_text("dataset: a\nout: there\nthreshold: 0.4\n")
    seen: list[tuple[Any, ...]] = []

    def work(options: Any, plugins: Any, say: Any) -> int:
        seen.append((options.dataset, options.out, options.threshold))
        return 3

    monkeypatch.setattr(collect, "run", work)

    flags = {"threshold": "0.6", "dataset": (), "out": None}
    assert 3 == execute(COLLECT, str(path), flags, Plugins())
    assert [(("a",), "there", 0.6)] == seen
