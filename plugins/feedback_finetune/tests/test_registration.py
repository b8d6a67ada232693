"""Pre-registration: a committed file, the training that it names, and no other."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from safebench.errors import OptionError
from safebench_feedback_finetune.evaluate.held_out import (
    HeldOutSets,
    check_independent,
)
from safebench_feedback_finetune.options import EvaluateOptions, FeedbackTrainOptions
from safebench_feedback_finetune.registration import (
    check_evaluation,
    read_registration,
    registered_options,
    registration_for,
)

if TYPE_CHECKING:
    from pathlib import Path

CONTENT: dict[str, Any] = {
    "recipe": {"benign": ["toxic_chat:train"], "epochs": 1.0},
    "seeds": [2, 3],
    "truth": "harm_rate",
    "measure": "auroc",
    "comparison": "improved - base re-tuned",
    "inputs": {"collected": "c0", "benign": "b0", "parts": "p0", "judge": "j0"},
}


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody, in a folder."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    """Return a registration that is committed."""
    return commit(tmp_path, CONTENT)


def commit(folder: Path, content: dict[str, Any]) -> Path:
    """Write a registration into a new repository and commit it."""
    git(folder, "init", "-q")
    path = folder / "feedback.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    git(folder, "add", "feedback.yaml")
    git(folder, "commit", "-q", "-m", "registered")
    return path


def manifest(**options: Any) -> dict[str, Any]:
    """Return the manifest of the training that is registered, but for some options."""
    trained = FeedbackTrainOptions(
        collected="c", out="o", benign=("toxic_chat:train",), epochs=1.0, seed=3
    )
    known = {
        name: list(value) if isinstance(value, tuple) else value
        for name in (option.name for option in fields(FeedbackTrainOptions))
        if name not in ("collected", "out", "strict", "device", "data_root", "guard")
        and name not in ("label_map", "registration", "set", "blocked")
        for value in [getattr(trained, name)]
    }
    return {
        "identity": {"options": known | options, "collected": "c0", "benign": "b0"},
        "collected": {"identity": {"judge": {"fingerprint": "j0"}}, "sources": []},
        "parts_hash": "p0",
    }


def test_a_committed_file_registers_its_training(registered: Path) -> None:
    """Its hash and its commit are kept beside the results."""
    found = registration_for(str(registered), manifest())

    assert found is not None
    kept = found.to_json()
    assert git(registered.parent, "rev-parse", "HEAD") == kept["commit"]
    assert hashlib.sha256(registered.read_bytes()).hexdigest() == kept["sha256"]
    assert ("auroc", [2, 3]) == (kept["measure"], kept["seeds"])
    assert registration_for("", manifest()) is None


@pytest.mark.parametrize("state", ["no repository", "not committed", "changed"])
def test_a_file_that_is_not_committed_registers_nothing(
    tmp_path: Path, state: str
) -> None:
    """Whoever can still change it has not promised anything."""
    path = tmp_path / "feedback.yaml"
    if state == "changed":
        commit(tmp_path, CONTENT)
    elif state == "not committed":
        git(tmp_path, "init", "-q")
    path.write_text(yaml.safe_dump(CONTENT | {"seeds": [9]}), encoding="utf-8")

    expected = "as it was committed" if state == "changed" else "is not committed"
    with pytest.raises(OptionError, match=expected):
        read_registration(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 2.0}, r"epochs: 1.0 registered, 2.0 trained"),
        ({"kl": 0.1}, r"kl: 1.0 registered, 0.1 trained"),
        ({"blocked": "judged"}, "blocked: None registered, 'judged' trained"),
        ({"seed": 4}, "registers the seeds 2, 3, and this training has 4"),
    ],
    ids=["recipe", "default", "later option", "seed"],
)
def test_another_training_is_not_registered(
    registered: Path, changed: dict[str, Any], message: str
) -> None:
    """An option that the file does not name is the default one."""
    with pytest.raises(OptionError, match=message):
        registration_for(str(registered), manifest(**changed))


@pytest.mark.parametrize("name", ["collected", "benign", "parts", "judge"])
def test_other_data_are_not_registered(registered: Path, name: str) -> None:
    """Each hash of the inputs is compared."""
    trained = manifest()
    if name == "parts":
        trained["parts_hash"] = "p1"
    elif name == "judge":
        trained["collected"]["identity"]["judge"]["fingerprint"] = "j1"
    else:
        trained["identity"][name] = "x1"

    with pytest.raises(OptionError, match=f"{name}: .0 registered, .1 here"):
        registration_for(str(registered), trained)


def test_a_registered_training_needs_its_registration(registered: Path) -> None:
    """Without it, or with another one, the test part is not read."""
    digest = hashlib.sha256(registered.read_bytes()).hexdigest()
    bound = manifest() | {"registration": {"file": "f.yaml", "sha256": digest}}

    assert registration_for(str(registered), bound)
    with pytest.raises(OptionError, match=r"--registration f\.yaml evaluates it"):
        registration_for("", bound)
    bound["registration"]["sha256"] = "0" * 64
    with pytest.raises(OptionError, match=r"by another f\.yaml"):
        registration_for(str(registered), bound)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT | {"measur": 1}, "unknown key 'measur'; did you mean 'measure'"),
        ({k: v for k, v in CONTENT.items() if k != "truth"}, "registers no truth"),
        (
            CONTENT | {"recipe": {"epoch": 1}},
            "no option 'epoch'; did you mean 'epochs'",
        ),
        (CONTENT | {"inputs": {"part": "x"}}, "unknown key 'part'"),
        (CONTENT | {"seeds": 3}, "seeds is no list"),
    ],
    ids=["key", "missing", "option", "input", "seeds"],
)
def test_what_a_registration_lacks_is_named(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    """In one line, with the nearest name."""
    path = commit(tmp_path, content)

    with pytest.raises(OptionError, match=message):
        registered_options(read_registration(path))


def test_a_registered_judge_is_known_to_be_independent(registered: Path) -> None:
    """What it learnt from is known, and the registered truth is there."""
    registration = read_registration(registered)
    unknown = manifest()
    unknown["collected"]["judge"] = {"trained_on_unknown": "nothing says it"}

    with pytest.raises(OptionError, match="registers the truth 'harm_rate'"):
        check_independent(registration, manifest(), HeldOutSets([]))
    with pytest.raises(OptionError, match="not known: nothing says it"):
        check_independent(registration, unknown, _harm_rate())


def _harm_rate() -> HeldOutSets:
    from safebench_feedback_finetune.evaluate.measurement import GuardTestSet

    return HeldOutSets([GuardTestSet("x", "harm_rate", [], [], [])])


@pytest.mark.parametrize(
    ("registered", "options", "message"),
    [
        ({}, {"eval_limit": 5}, r"registers eval_limit: None, and .* has 5"),
        ({"draws": 500}, {}, r"registers draws: 500, and .* has 2000"),
        ({"ood": ["a"]}, {"ood": ("b",)}, r"registers ood: \['a'\]"),
        ({"drawz": 5}, {}, r"no option 'drawz'; did you mean 'draws'"),
        ({"ood": ["a"], "draws": 9}, {"ood": ("a",), "draws": 9}, ""),
        ({}, {"ungated": True, "ood": ("a",)}, ""),
    ],
    ids=["some prompts", "draws", "other set", "unknown", "as registered", "beside"],
)
def test_an_evaluation_is_the_registered_one(
    tmp_path: Path, registered: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    """Fewer prompts would give another number under the same registration."""
    registration = read_registration(
        commit(tmp_path, CONTENT | {"evaluate": registered})
    )
    chosen = EvaluateOptions(improved="out", **options)
    if not message:
        check_evaluation(registration, chosen)
        return
    with pytest.raises(OptionError, match=message):
        check_evaluation(registration, chosen)
