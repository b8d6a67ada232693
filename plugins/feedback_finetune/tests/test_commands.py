"""The command group: names, help, and nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from safebench import Plugins
from safebench.errors import OptionError
from safebench.options import OptionSchema, build_options
from safebench_feedback_finetune.collect import collection_loop
from safebench_feedback_finetune.commands import (
    STAGES,
    run_stage,
    stage_command,
    stage_flags,
)
from safebench_feedback_finetune.options import SharedOptions

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


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--help"], ["feedback", "--help"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    """The group is listed without torch, transformers or numpy."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *args], capture_output=True, text=True, check=True
    )

    assert "feedback" in result.stdout
    # what is printed after a command has ended goes to stderr
    assert "LOADED []" in result.stderr


def test_every_option_is_a_flag_that_is_explained() -> None:
    """Each field of the options has one flag with a help text."""
    for stage in STAGES:
        flags = stage_flags(stage)
        assert sorted(OptionSchema.of(stage).names) == sorted(
            str(flag.name) for flag in flags
        )
        assert all(flag.help for flag in flags)


def test_shared_flags_come_last_in_help() -> None:
    """Each command lists its own flags first, then those of all, in one order."""
    shared = [field.name for field in fields(SharedOptions)]
    for stage in STAGES:
        assert shared == [flag.name for flag in stage_flags(stage)][-len(shared) :]


def test_examples_can_be_run_as_they_stand() -> None:
    """Each command shows some, and none has a flag or a value that it does not take."""
    for stage in STAGES:
        command = stage_command(stage)
        assert stage.examples
        for line in stage.examples:
            context = command.make_context(stage.name, line.split())
            given = {
                k: v for k, v in context.params.items() if v not in (None, (), False)
            }
            if not given.pop("config_file", None):
                assert build_options(stage, given)


def test_full_takes_no_adapter() -> None:
    """`full` takes no adapter: training on its collection would be refused."""
    assert "adapter" in OptionSchema.of(COLLECT).names
    assert not any("adapter" in OptionSchema.of(stage).names for stage in STAGES[1:])


@pytest.mark.slow
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


REQUIRED = {"dataset": ("a",), "out": "b"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": ()}, "which prompts"),
        ({"out": ""}, "--out DIR"),
        ({"threshold": "1.5"}, "threshold: between 0 and 1"),
        ({"threshold": "high"}, "not a number"),
        ({"temperature": "-1"}, "temperature: 0 or more"),
        ({"top_p": "0"}, "top_p: above 0"),
        ({"answers": "2", "temperature": "0"}, "all answers are the same"),
        ({"save_every": "0"}, "save_every: 1 or more"),
        ({"limit": "0"}, "limit: 1 or more"),
        ({"temperature": "inf"}, "temperature: 0 or more"),
        ({"quantize": "3bit"}, "none, 4bit"),
    ],
)
def test_bad_collect_options_are_refused(values: dict[str, Any], message: str) -> None:
    """One line names the option and what would work."""
    with pytest.raises(OptionError, match=message):
        build_options(COLLECT, REQUIRED | values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cap": "1"}, "cap: between 0 and 1"),
        ({"recall_loss": "2"}, "recall_loss: 0 to 1"),
        ({"lora_dropout": "-0.1"}, "lora_dropout: 0 to 1"),
        ({"lora_r": "0"}, "lora_r: 1 or more"),
        ({"learning_rate": "inf"}, "learning_rate: 0 or more"),
        ({"cap_margin": "-1"}, "cap_margin: 0 or more"),
        ({"patience": "-1"}, "patience: 0 or more"),
        ({"alphas": ("2",)}, "alphas: one or more, each from 0 to 1"),
        ({"epochs": "0"}, "epochs: above 0"),
        ({"benign_val": "0"}, "leave something to the gate, got 0 and 0"),
        ({"benign_train": "0.75"}, "leave something to the gate, got 0.25 and 0.75"),
        ({"recipe": "labels_only"}, "from which labels"),
        ({"split_seed": "-1"}, "split_seed: 0 or more"),
    ],
)
def test_bad_train_options_are_refused(values: dict[str, Any], message: str) -> None:
    """Shares, counts and amounts have their limits; infinity is none."""
    given = {"collected": "a", "out": "b", "benign": ("c",)}
    with pytest.raises(OptionError, match=message):
        build_options(STAGES[1], given | values)


def test_flags_come_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a flag says replaces what the file says; the work's code is the exit's."""
    path = tmp_path / "f.yaml"
    path.write_text("dataset: a\nout: there\nthreshold: 0.4\n")
    received: list[tuple[Any, ...]] = []

    def fake_run(options: Any, plugins: Any, say: Any) -> int:
        received.append((options.dataset, options.out, options.threshold))
        return 3

    monkeypatch.setattr(collection_loop, "run", fake_run)

    flags = {"threshold": "0.6", "dataset": (), "out": None}
    assert 3 == run_stage(COLLECT, str(path), flags, Plugins())
    assert [(("a",), "there", 0.6)] == received
