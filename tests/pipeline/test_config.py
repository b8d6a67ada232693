"""A run as a file: native keys, the parameter form, flags on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.pipeline.config import (
    ComponentRef,
    RunConfig,
    load_run_config,
    parse_component_ref,
)

if TYPE_CHECKING:
    from pathlib import Path

PARAMS = """
strategies:
  marginal_probability_at_any_place: {top_p: 0.99, eps: 0.01, threshold: 0.2}
  greedy:
models:
  meta-llama/Llama-3.1-8B-Instruct: {top_p: 0.9, threshold: 0.3}
"""


def load(tmp_path: Path, text: str, **flags: Any) -> RunConfig:
    """Load a configuration file with some flags."""
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_run_config(path, flags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llamaguard", ComponentRef("llamaguard", "llamaguard", {})),
        ("big=llamaguard,eps=0.1", ComponentRef("llamaguard", "big", {"eps": "0.1"})),
        ('g=x,"words=a,b",n=1', ComponentRef("x", "g", {"words": "a,b", "n": "1"})),
        ("project:keyword", ComponentRef("project:keyword", "project:keyword", {})),
    ],
)
def test_a_term_reads_label_name_and_options(text: str, expected: ComponentRef) -> None:
    """``[LABEL=]NAME[,key=value...]``, a comma in a value quoted."""
    assert expected == parse_component_ref(text)


@pytest.mark.parametrize("text", ["", "=x", "a=,b=1", "x,eps", "x,eps=1,eps=2"])
def test_a_term_that_cannot_be_read_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(OptionError, match=r"expected|twice"):
        parse_component_ref(text)


def test_the_parameter_form_gives_strategies_and_overrides(tmp_path: Path) -> None:
    """Names with parameters become terms; `models` is kept for the grid."""
    config = load(tmp_path, PARAMS)

    name = "marginal_probability_at_any_place"
    assert (
        ComponentRef(name, name, {"top_p": 0.99, "eps": 0.01, "threshold": 0.2}),
        ComponentRef("greedy", "greedy", {}),
    ) == config.strategies
    assert {"top_p": 0.9, "threshold": 0.3} == config.models[
        "meta-llama/Llama-3.1-8B-Instruct"
    ]


def test_a_flag_wins_over_the_file_and_keeps_its_parameters(tmp_path: Path) -> None:
    """Choosing one strategy of the file keeps what the file says about it."""
    name = "marginal_probability_at_any_place"

    config = load(tmp_path, PARAMS + "limit: 5\n", limit=7, strategies=(
        ComponentRef(name, name, {"threshold": "0.4"}),
    ))  # fmt: skip

    assert 7 == config.limit
    assert {"top_p": 0.99, "eps": 0.01, "threshold": "0.4"} == config.strategies[
        0
    ].options


def test_singular_keys_and_mappings_are_understood(tmp_path: Path) -> None:
    """One classifier needs no list; a mapping carries its options."""
    config = load(
        tmp_path,
        "classifier: keyword\nstrategies: [{name: score, label: s, threshold: 0.3}]\n"
        "dataset: [xstest, toxic_chat:train]\n",
    )

    assert (ComponentRef("keyword", "keyword", {}),) == config.classifiers
    assert (ComponentRef("score", "s", {"threshold": 0.3}),) == config.strategies
    assert ("xstest", "toxic_chat:train") == config.datasets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clasifier: keyword", "unknown key 'clasifier'; did you mean 'classifier'?"),
        ("limit: many", "limit: 'many' is not a number"),
        ("limit: 2.7", "limit: 2.7 is not a whole number"),
        ("limit: yes", "limit: True is not a number"),
        ("seed: .inf", "seed: inf is not a number"),
        ("calibration_fraction: .nan", "calibration_fraction: nan is not a number"),
        ("- a", "expected keys and values"),
        ("a: [", "is no YAML"),
        ("strategies: 3", "expected a name, a list or a mapping"),
        ("limit: 0", "limit: at least 1"),
        ("calibration_fraction: 1.0", "calibration_fraction"),
        ("max_failures: some", "max_failures: a count or a share"),
        ("dataset: a\ndatasets: [b]", "'dataset' and 'datasets' are one key"),
        ("classifiers: a\nclassifier: b", "'classifier' and 'classifiers' are one key"),
        ("limit: 1\nlimit: 2", "the key 'limit' occurs twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, text: str, message: str
) -> None:
    """File, key and nearest right name are in one message."""
    with pytest.raises(OptionError) as caught:
        load(tmp_path, text)

    assert message in caught.value.message


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    """A mistyped file name is answered with the one that is there."""
    (tmp_path / "params.yaml").write_text("", encoding="utf-8")

    with pytest.raises(OptionError, match=r"did you mean 'params.yaml'\?"):
        load_run_config(tmp_path / "parms.yaml", {})


@pytest.mark.parametrize(
    ("text", "samples", "allowed"), [("5%", 200, 10), ("3", 200, 3), ("0", 9, 0)]
)
def test_allowed_failures_are_a_count_or_a_share(
    text: str, samples: int, allowed: float
) -> None:
    """5% of 200 is 10; 3 is 3."""
    assert allowed == RunConfig(max_failures=text).allowed_failures(samples)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("predictions: parquett", "predictions: 'parquett'.*'parquet'"),
        ("on_bad_row: skipp", "on_bad_row: 'skipp'.*'skip'"),
    ],
)
def test_a_word_outside_a_choice_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    """A misspelt value of a file does not mean "none" or the default in silence."""
    with pytest.raises(OptionError, match=problem):
        load(tmp_path, text)


def test_label_words_of_a_flag_join_those_of_the_file(tmp_path: Path) -> None:
    """As with `set`: the flag adds a word, and wins over the same one."""
    text = "label_map: {bad: unsafe, odd: safe}"
    config = load(tmp_path, text, label_map={"odd": "unsafe"})

    assert {"bad": "unsafe", "odd": "unsafe"} == config.label_map
