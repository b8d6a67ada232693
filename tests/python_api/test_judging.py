"""`safebench.judge` gives what ``safebench score --json`` prints, as a frame."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Event, Semaphore
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from click.testing import CliRunner

from safebench import judge, run
from safebench.classifiers.keyword import Keyword
from safebench.cli import cli
from safebench.errors import DataError, IncompatibleError, SafebenchError
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.python_api import judging

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCKS = ("seconds", "loading")
TEXTS: list[Any] = [
    "how to attack a castle",
    {"prompt": "bake bread"},
    {"prompt": "Hi", "response": "attack!"},
    {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": "kill"},
        ]
    },
]
ODD = Path(__file__).parents[1] / "distributions" / "odd_guards"


@pytest.fixture
def odd_guards(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed and the odd guards, and let `judge` use it."""
    monkeypatch.syspath_prepend(str(ODD))
    entry_point = EntryPoint("odd_guards", "odd_guards.plugin", ENTRY_POINT_GROUP)
    plugins = Plugins([*entry_points(group=ENTRY_POINT_GROUP), entry_point])
    monkeypatch.setattr(judging, "installed_plugins", lambda: plugins)
    monkeypatch.setattr(judging, "_models", judging.LoadedModels())
    return plugins


def scored(plugins: Plugins, texts: list[Any], *words: str) -> list[dict[str, Any]]:
    """Return what the command prints for texts as JSON lines, without clocks."""
    lines = [{"prompt": t} if isinstance(t, str) else t for t in texts]
    stdin = "\n".join(map(json.dumps, lines))
    result = CliRunner().invoke(
        cli, ["score", "--json", *words, "-"], obj=plugins, input=stdin
    )
    results = [json.loads(line) for line in result.stdout.splitlines()]
    return [
        {"row": int(result.pop("where").rpartition(":")[2]) - 1}
        | {name: value for name, value in result.items() if name not in CLOCKS}
        for result in results
    ]


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame without clocks, None for each <NA>."""
    kept = [name for name in frame.columns if name not in CLOCKS]
    rows = zip(*(frame[name].array for name in kept), strict=True)
    return [
        {n: None if v is pd.NA else v for n, v in zip(kept, row, strict=True)}
        for row in rows
    ]


def test_it_gives_what_score_prints(odd_guards: Plugins) -> None:
    """Texts, responses and messages; all fields, in their order, notes included."""
    frame = judge(TEXTS, "keyword", set={"saturation": 3})
    words = ("-c", "keyword", "--set", "saturation=3")

    assert scored(odd_guards, TEXTS, *words) == plain(frame)
    assert ["the last of 2 user turns is judged"] == frame.notes[3]
    assert ["Float64", "string", "boolean"] == [
        str(frame[name].dtype) for name in ("upper", "error", "harmful")
    ]


@pytest.mark.slow
def test_the_embedded_guard_judges_by_several_strategies(odd_guards: Plugins) -> None:
    """Bounds, categories and costs are those of the command, digit by digit."""
    strategies = ["marginal_any", "greedy"]
    frame = judge(TEXTS[:3], strategy=strategies)
    words = ("-s", "marginal_any", "-s", "greedy")

    assert scored(odd_guards, TEXTS[:3], *words) == plain(frame)
    assert strategies * 3 == frame.strategy.tolist()
    assert [0, 0, 1, 1, 2, 2] == frame.row.tolist()


def test_one_text_is_no_list_of_letters(odd_guards: Plugins) -> None:
    """A text alone, a mapping alone, a series and a generator of texts."""
    assert 1 == len(judge("attack", "keyword")) == len(judge(TEXTS[2], "keyword"))
    series = pd.Series(["attack", "bread"], index=[7, 3])
    assert [0, 1] == judge(series, "keyword").row.tolist()
    assert 2 == len(judge((text for text in ["a", "b"]), "keyword"))


def test_no_text_makes_no_row(odd_guards: Plugins) -> None:
    """The columns are there, of their types, and no model was loaded."""
    empty, full = judge([], "keyword"), judge(["a"], "keyword")

    assert 0 == len(empty)
    assert empty.dtypes.equals(full.dtypes)


@pytest.mark.slow
def test_a_model_is_loaded_once(odd_guards: Plugins) -> None:
    """For all texts of all threads, and again after another one was asked."""
    judge("warm up", "counted")
    from odd_guards.guard import Counted  # type: ignore[import-not-found]

    Counted.loads = Counted.most = 0
    judge("another model", "keyword")
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda n: judge([f"text {n}"] * 3, "counted"), range(8)))

    assert [[0.9] * 3] * 8 == [frame.score.tolist() for frame in frames]
    assert (1, 1) == (Counted.loads, Counted.most)


@pytest.mark.slow
def test_calls_take_turns(odd_guards: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a text is judged, a run in another thread does not work with a model."""
    inside, go_on = Semaphore(0), Event()
    record = Keyword.record

    def waiting(self: Keyword, *args: Any) -> Any:
        inside.release()
        assert go_on.wait(240)
        return record(self, *args)

    monkeypatch.setattr(Keyword, "record", waiting)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(judge, "attack", "keyword")
        assert inside.acquire(timeout=240)
        second = pool.submit(run, "keyword", datasets="starter", limit=5, out=None)
        both = inside.acquire(timeout=1)
        go_on.set()

    assert not both
    assert first.result().harmful[0]
    assert 5 == len(second.result().predictions)


def test_a_judgement_that_fails_is_a_row(odd_guards: Plugins) -> None:
    """Its reason is in `error`, it has no verdict, and the other guard goes on."""
    frame = judge(["attack", "bread"], ["bursting", "keyword"])
    failed = frame[frame.classifier == "bursting"]

    assert scored(
        odd_guards, ["attack", "bread"], "-c", "bursting", "-c", "keyword"
    ) == (plain(frame))
    assert failed.verdict.isna().all()
    assert failed.score.isna().all()
    assert failed.error.notna().all()
    assert frame[frame.classifier == "keyword"].error.isna().all()


def test_pairs_that_do_not_fit_are_left_out_with_a_warning(odd_guards: Plugins) -> None:
    """As the command says it; where nothing fits it is an error."""
    with pytest.warns(UserWarning, match=r"skipped keyword x raw_cost"):
        frame = judge("attack", "keyword", ["score", "raw_cost"])

    assert ["score"] == frame.strategy.tolist()
    with pytest.raises(IncompatibleError):
        judge("attack", "keyword", "raw_cost")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge(["a", " ", "b", ""], "keyword"), "texts[1]: empty prompt"),
        (lambda: judge(["a", None], "keyword"), "texts[1]: expected a text"),  # type: ignore[list-item]
        (lambda: judge(["a", {"promt": "b"}], "keyword"), "texts[1]: expected an ob"),
        (lambda: judge(3, "keyword"), "texts: expected texts"),  # type: ignore[call-overload]
        (lambda: judge("a", "keywrd"), "did you mean 'keyword'"),
        (lambda: judge("a", "keyword", task="prompt_ham"), "mean 'prompt_harm'"),
        (lambda: judge("a", "keyword", task="response_harm"), "no response"),
        (lambda: judge("a", "keyword", set={"saturaton": 1}), "mean 'saturation'"),
        (lambda: judge("a", "keyword", operating_point="none.json"), "none.json"),
    ],
)
def test_mistakes_are_refused_before_a_model_is_loaded(
    odd_guards: Plugins, call: Callable[[], Any], message: str
) -> None:
    """With the place of a bad text, or the nearest name."""
    with pytest.raises(SafebenchError) as raised:
        call()

    assert message in str(raised.value)
    assert judging._models.service is None


def test_nothing_is_printed(
    odd_guards: Plugins, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither by the call nor by a guard that fails."""
    judge(["attack"], ["keyword", "bursting"])

    assert ("", "") == capfd.readouterr()


def test_ten_bad_texts_are_named_and_the_rest_counted(odd_guards: Plugins) -> None:
    """As of a file of JSON lines."""
    with pytest.raises(DataError) as raised:
        judge([""] * 12, "keyword")

    assert 11 == len(str(raised.value).splitlines())
    assert str(raised.value).endswith("... and 2 more")
