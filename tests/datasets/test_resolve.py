"""Dataset names: what resolves, and messages for what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench import Plugins
from safebench.datasets import resolve_dataset
from safebench.errors import DataError, OptionError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.datasets import DatasetRequest

    Resolve = Callable[..., DatasetRequest]


@pytest.mark.parametrize(
    ("text", "name", "config", "split"),
    [
        ("starter", "starter", None, "all"),
        ("toxic_chat", "toxic_chat", None, "test"),
        ("toxic_chat:train", "toxic_chat", None, "train"),
        ("toxic_chat:toxicchat0124", "toxic_chat", None, "test"),
        ("toxic_chat:toxicchat0124:train", "toxic_chat", None, "train"),
        ("pku_safe_rlhf:alpaca-7b:test", "pku_safe_rlhf", "alpaca-7b", "test"),
        ("unknown:xstest", "xstest", None, "test"),  # no distribution in tests
        ("XSTEST", "xstest", None, "test"),
        ("org/set:test", "org--set", None, "test"),
        ("org/set:conf:test", "org--set", "conf", "test"),
        ("some/where/set.jsonl", "set.jsonl", None, "all"),
        ("set.csv", "set.csv", None, "all"),
    ],
)
def test_names_of_splits(
    resolve: Resolve, text: str, name: str, config: str | None, split: str
) -> None:
    """Names, configs and splits; the evaluation split is the default."""
    request = resolve(text)

    assert (name, config, split) == (request.name, request.config, request.split)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("toxic_caht", UnknownNameError, "did you mean 'toxic_chat'?"),
        (
            "toxic_chat:tset",
            UnknownNameError,
            "split of toxic_chat 'tset'; did you mean",
        ),
        ("toxic_chat:a:b:c", OptionError, r"NAME\[:CONFIG\]\[:SPLIT\]"),
        ("toxic_chat:", UnknownNameError, "there is: test, train"),
        ("jsonl", OptionError, "which file"),
        ("hub", OptionError, "ORG/NAME:SPLIT"),
        ("org/set", OptionError, "org/set:SPLIT"),
        ("a/b/c", DataError, "no file a/b/c"),
        ("./set", DataError, "no file ./set"),
        ("xstest,foo=1", OptionError, "no option 'foo'"),
        ("set.jsonl,prompt", OptionError, "expected key=value"),
        ("", OptionError, "expected NAME"),
        (",", OptionError, "expected NAME"),
    ],
)
def test_names_that_do_not_resolve(
    resolve: Resolve, text: str, error: type[Exception], words: str
) -> None:
    """Each refusal says what would work."""
    with pytest.raises(error, match=words):
        resolve(text)


def test_a_file_name_may_hold_commas_and_colons(
    resolve: Resolve, tmp_path: Path
) -> None:
    """A text that is a file's name is that file."""
    path = tmp_path / "a,b=c:d.jsonl"
    path.write_text('{"prompt": "x", "label": 0}\n')

    assert str(path) == resolve(str(path)).source


def test_the_data_root_is_the_flag_then_the_environment(
    resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag wins; neither means the hub."""
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("SAFEBENCH_DATA", str(tmp_path))

    assert tmp_path == resolve("xstest").data_root
    assert other == resolve("xstest", data_root=other).data_root
    monkeypatch.delenv("SAFEBENCH_DATA")
    assert resolve("xstest").data_root is None


def test_a_data_root_that_is_no_folder_is_refused(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the flag or the variable, and what it holds."""
    with pytest.raises(DataError, match="--data-root: no folder /no/such"):
        resolve("xstest", data_root="/no/such")
    monkeypatch.setenv("SAFEBENCH_DATA", "/no/such")
    with pytest.raises(DataError, match="SAFEBENCH_DATA: no folder /no/such"):
        resolve("xstest")
    assert resolve("starter").data_root is None


def test_a_label_map_may_be_what_flags_give() -> None:
    """Texts ``word=meaning`` are a mapping; a word that stands twice is refused."""
    request = resolve_dataset("starter", Plugins(), label_map=["bad=unsafe", "ok=safe"])

    assert {"bad": "unsafe", "ok": "safe"} == request.label_map
    with pytest.raises(OptionError, match="'bad' is given twice"):
        resolve_dataset("starter", Plugins(), label_map=["bad=unsafe", "bad=safe"])
