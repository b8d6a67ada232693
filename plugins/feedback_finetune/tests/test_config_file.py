"""Files of options: our own keys, and those of a research_config.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.options import build_options
from safebench_feedback_finetune.commands import STAGES
from safebench_feedback_finetune.config_file import read_config_file
from safebench_feedback_finetune.legacy_config import (
    IGNORED_KEYS,
    OPTION_BY_KEY,
    SECTIONS,
    is_legacy_config,
    translate_legacy_config,
)

if TYPE_CHECKING:
    from pathlib import Path

COLLECT, TRAIN = STAGES[:2]
LEGACY: dict[str, Any] = {
    "dataset": {
        "path": "lmsys/toxic-chat",
        "config": "toxicchat0124",
        "split_ratios": [0.8, 0.1, 0.1],
        "store_dir": "data/",
    },
    "llama_guard": {
        "default_model_path": "meta-llama/Llama-Guard-3-1B",
        "base_model_path": "meta-llama/LlamaGuard-7b",
    },
    "llama": {"base_model_path": "mistralai/Mistral-7B-Instruct-v0.2"},
    "training": {
        "output_dir": "models/",
        "batch_size": 2,
        "gradient_accumulation_steps": 8,
        "learning_rate": 2e-5,
        "epochs": 3,
        "logging_steps": 10,
        "save_steps": 50,
        "save_total_limit": 3,
        "weight_decay": 0.01,
        "warmup_steps": 20,
    },
    "evaluation": {
        "results_dir": "results/",
        "improved_model_path": "models/improved",
        "max_eval_samples": 200,
    },
    "experiment": {"process_sample_size": 500, "train_sample_size": 100},
    "seed": 42,
}


def write(folder: Path, content: Any) -> Path:
    """Write a configuration file."""
    path = folder / "research_config.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_collect_takes_its_options_from_a_legacy_config(tmp_path: Path) -> None:
    """Dataset, guard, language model, sample size and seed keep their meaning."""
    result = read_config_file(write(tmp_path, LEGACY), COLLECT, STAGES)

    assert {
        "dataset": ("toxic_chat",),
        "guard": "meta-llama/Llama-Guard-3-1B",
        "generator": "mistralai/Mistral-7B-Instruct-v0.2",
        "limit": "500",
        "seed": "42",
    } == result.values


def test_every_key_is_translated_or_reported() -> None:
    """No key of an old file is dropped without a word."""
    result = translate_legacy_config(LEGACY)

    message = " ".join(result.notes)
    for section in SECTIONS:
        for key in LEGACY[section]:
            name = f"{section}.{key}"
            option = {
                "dataset.path": "dataset",
                "experiment.process_sample_size": "limit",
            }
            taken = option.get(name, OPTION_BY_KEY.get(name)) in result.values
            assert taken != (f"{name} is ignored: " in message), name
    assert [] == result.unknown_keys
    assert all(reason for reason in IGNORED_KEYS.values())


def test_values_for_training_keep_their_form() -> None:
    """Numbers are numbers; the names are those of the commands."""
    values = translate_legacy_config(LEGACY).values

    assert (2, 8, 2e-5, 3) == tuple(
        values[name]
        for name in ("batch_size", "gradient_accumulation", "learning_rate", "epochs")
    )
    assert ("models/improved", 200) == (values["improved"], values["eval_limit"])


@pytest.mark.parametrize(
    ("section", "guard", "ignored"),
    [
        ({"base_model_path": "a/b"}, "a/b", False),
        ({"base_model_path": "a/b", "default_model_path": "a/b"}, "a/b", False),
        ({"base_model_path": "a/b", "default_model_path": "c/d"}, "c/d", True),
    ],
)
def test_the_guard_that_collects_is_the_one_that_learns(
    section: dict[str, str], guard: str, ignored: bool
) -> None:
    """A second guard is ignored, and a note says so."""
    result = translate_legacy_config({"llama_guard": section})

    assert guard == result.values["guard"]
    assert ignored == any("base_model_path" in note for note in result.notes)


@pytest.mark.parametrize(
    ("dataset", "term"),
    [
        ({"path": "org/name"}, "org/name:train"),
        ({"path": "org/name", "config": "c"}, "org/name:c:train"),
        ({"path": "prompts.jsonl"}, "prompts.jsonl"),
    ],
)
def test_other_datasets_become_terms(dataset: dict[str, str], term: str) -> None:
    """A hub id with its config, its training split meant; a file as it is."""
    assert (term,) == translate_legacy_config({"dataset": dataset}).values["dataset"]


def test_an_unknown_key_of_a_legacy_config_is_named(tmp_path: Path) -> None:
    """With the nearest one that is known."""
    path = write(tmp_path, {"training": {"learning_rat": 1}})

    with pytest.raises(OptionError, match=r"training.learning_rate"):
        read_config_file(path, COLLECT, STAGES)


def test_keys_are_the_names_of_flags(tmp_path: Path) -> None:
    """A dash or an underscore, one dataset or a list, a mapping of label words."""
    path = tmp_path / "f.yaml"
    path.write_text(
        "dataset: beavertails\nsave-every: 8\nthreshold: 0.4\n"
        "label_map: {bad: unsafe, good: safe}\n"
    )

    values = read_config_file(path, COLLECT, STAGES).values

    assert not is_legacy_config({"dataset": "beavertails"})
    assert (("beavertails",), "8", "0.4") == tuple(
        values[name] for name in ("dataset", "save_every", "threshold")
    )
    assert ("bad=unsafe", "good=safe") == values["label_map"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("thresold: 1\n", "did you mean 'threshold'"),
        ("- a\n", "expected keys and values"),
        ("a: [\n", "no YAML"),
        ("threshold: high\n", r"f.yaml: threshold: 'high' is not a number"),
        ("threshold: yes\n", r"f.yaml: threshold: 'True' is not a number"),
        ("answers: 1.5\n", r"f.yaml: answers: '1.5' is not a whole number"),
        ("answers: [1]\n", r"f.yaml: answers: \[1\] is not a whole number"),
        ("guard: {a: 1}\n", r"f.yaml: guard: cannot use"),
        ("quantize: 3bit\n", r"f.yaml: quantize: '3bit' is not one of none, 4bit"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """One line: what, where, and what would work."""
    path = tmp_path / "f.yaml"
    path.write_text(content)

    with pytest.raises(OptionError, match=message):
        read_config_file(path, COLLECT, STAGES)


@pytest.mark.parametrize(
    ("written", "alphas"),
    [("[0, 1]", (0.0, 1.0)), ("[0.0, 0.5]", (0.0, 0.5)), ("0", (0.0,)), ("", None)],
)
def test_nothing_of_a_list_is_lost(
    tmp_path: Path, written: str, alphas: tuple[float, ...] | None
) -> None:
    """A zero is a value, a number alone a list of one; null is the default."""
    path = tmp_path / "f.yaml"
    path.write_text(f"collected: a\nout: b\nbenign: c\nalphas: {written}\n")

    options = build_options(TRAIN, read_config_file(path, TRAIN, STAGES).values)

    assert alphas or (0.0, 0.25, 0.5, 0.75, 1.0) == options.alphas
    assert alphas in (None, options.alphas)


def test_whole_numbers_may_have_a_point(tmp_path: Path) -> None:
    """As other programs write them."""
    path = tmp_path / "f.yaml"
    path.write_text("dataset: a\nout: b\nlimit: 20.0\n")

    result = build_options(COLLECT, read_config_file(path, COLLECT, STAGES).values)

    assert 20 == result.limit


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate: 'fast'"),
        ({"training": {"batch_size": True}}, "training.batch_size: 'True'"),
        ({"training": [1]}, "training: expected keys and values"),
        ({"dataset": "toxic_chat"}, "dataset: expected keys and values"),
        ({"dataset": {"path": ["a", "b"]}}, "dataset.path: expected text"),
        ({"dataset": {"path": "a/b", "config": 1}}, "dataset.config: expected text"),
        ({"llama_guard": {"base_model_path": 3}}, "base_model_path: expected text"),
        ({"experiment": {"sample_size": "all"}}, "expected a number of samples"),
        ({"experiment": {"max_samples": 0}}, "expected a number of samples"),
    ],
)
def test_values_of_another_type_in_a_legacy_config_are_named(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    """One line with the file and its own key."""
    path = write(tmp_path, {"dataset": {"path": "a/b"}} | {"llama": {}} | changed)

    with pytest.raises(OptionError, match=message) as result:
        read_config_file(path, TRAIN, STAGES)
    assert str(path) in str(result.value)


def test_experiment_keys_that_count_no_samples_are_ignored() -> None:
    """A name or another seed of an experiment is ignored with the reason."""
    result = translate_legacy_config(
        {"experiment": {"seed": 3, "name": "first", "sample_size": 9}}
    )

    assert {"limit": 9} == result.values
    assert [
        f"experiment.{key} is ignored: it counts no samples" for key in ("seed", "name")
    ] == result.notes


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    """A name mistyped is answered with the nearest file."""
    write(tmp_path, LEGACY)

    with pytest.raises(OptionError, match=r"research_config\.json"):
        read_config_file(tmp_path / "reserch_config.json", COLLECT, STAGES)
