"""An interrupted training goes on where it stopped, and ends as it would have."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError
from safebench.plugins import Plugins
from safebench_bert_ensemble.model.location import MEMBER_FILE
from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    MakeTraining = Callable[..., Training]
    EqualWeights = Callable[[Path, Path], bool]

pytestmark = pytest.mark.slow


class Interrupt:
    """Says nothing, and gives up as a user would after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def __call__(self, line: str) -> None:
        """Count the lines about epochs."""
        self.left -= "epoch" in line
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "reports"),
    [
        ({}, 3),
        ({"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 5,
          "save_steps": 5}, 5),
    ],
    ids=["epochs", "steps"],
)  # fmt: skip
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    make_training: MakeTraining,
    equal_weights: EqualWeights,
    arguments: dict[str, Any],
    reports: int,
) -> None:
    """Interrupted within the second member, resumed: equal to the last bit."""
    whole = make_training("whole", arguments=arguments)
    fit(whole)
    broken = make_training("broken", arguments=arguments, say=Interrupt(reports))
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    assert [MEMBER_FILE] == [
        p.name for p in broken.out.glob(f"member-01/{MEMBER_FILE}")
    ]
    assert not (broken.out / "member-02").exists()
    stamp = (broken.out / "member-01" / MEMBER_FILE).stat().st_mtime_ns

    lines: list[str] = []
    again = make_training("broken", arguments=arguments, resume=True, say=lines.append)
    fit(again)

    assert any("goes on after step" in line for line in lines)
    assert stamp == (broken.out / "member-01" / MEMBER_FILE).stat().st_mtime_ns
    for member in ("member-01", "member-02"):
        assert equal_weights(whole.out / member, again.out / member)


def test_patience_is_remembered_over_an_interruption(
    make_training: MakeTraining, equal_weights: EqualWeights
) -> None:
    """Interrupted an epoch before patience ends, a resumed training ends there too."""
    settings = {"members": 1, "epochs": 30.0, "patience": 2}
    whole = make_training("whole", **settings)
    fit(whole)
    expected = json.loads((whole.out / "member-01" / MEMBER_FILE).read_text())
    last = len(expected["epochs"])
    broken = make_training("broken", say=Interrupt(last - 1), **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)

    fit(make_training("broken", resume=True, **settings))

    resumed_facts = json.loads((broken.out / "member-01" / MEMBER_FILE).read_text())
    assert last < 30
    assert expected["epochs"] == resumed_facts["epochs"]
    assert equal_weights(whole.out / "member-01", broken.out / "member-01")


@pytest.mark.parametrize("lost", [MEMBER_FILE, "model.safetensors"])
def test_a_damaged_member_is_named_before_others_are_trained(
    finished: tuple[Training, Trained], tmp_path: Path, lost: str
) -> None:
    """A finished folder that lost its facts or weights stops the training at once."""
    training, _ = finished
    shutil.copytree(training.out, tmp_path / "copy")
    (tmp_path / "copy" / "member-02" / lost).unlink()
    shutil.rmtree(tmp_path / "copy" / "member-01")

    with pytest.raises(ModelError, match=r"member-02 is damaged.*--resume"):
        fit(replace(training, out=tmp_path / "copy", resume=True))
    assert not (tmp_path / "copy" / "member-01").exists()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--device", "auto", "--parallel", "processes", "--workers", "3"], 0),
        (["--eval-tokens", "64"], 0),
        (["--lr", "0.1"], 2),
    ],
    ids=["machine", "memory", "recipe"],
)
def test_another_machine_may_go_on_and_another_recipe_may_not(
    tiny_base: Path, tmp_path: Path, flags: list[str], code: int
) -> None:
    """How the work is done may change between commands; what is learnt may not."""
    lines = [
        json.dumps({"prompt": f"how do i {word} number {i}", "label": label})
        for i in range(20)
        for word, label in (("poison", "harmful"), ("paint", "safe"))
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["train", "bert_ensemble", "--base", str(tiny_base), "--members", "1",
               "--epochs", "1", "--dataset", str(file),
               "--out", str(tmp_path / "m")]  # fmt: skip
    first = CliRunner().invoke(cli, [*command, "--device", "cpu"], obj=Plugins())
    assert first.exit_code == 0, first.output

    again = CliRunner().invoke(cli, [*command, *flags, "--resume"], obj=Plugins())

    assert code == again.exit_code, again.output
    finished = "1 of 1 members are finished already" in again.stderr
    assert finished == (code == 0)
