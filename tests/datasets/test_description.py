"""What a dataset is said to hold, compared with counts by hand."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets.description import Lengths, class_name, describe_dataset
from safebench.datasets.labels import LabelParser
from safebench.records import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from safebench.plugins import Plugins
    from safebench.records import Dataset

ROWS = (
    (
        '{"id": "a", "prompt": "one", "label": "safe", "categories": [], '
        '"language": "en", "group": "g"}'
    ),
    (
        '{"id": "b", "prompt": "one", "label": "unsafe", "categories": ["S1", "S9"], '
        '"language": "de", "group": "g"}'
    ),
    (
        '{"id": "c", "prompt": "three", "label": "unsafe", "categories": ["S1"], '
        '"language": "en"}'
    ),
    '{"id": "d", "prompt": "four \\u001b[2J", "label": null, "language": null}',
    '{"id": "e", "prompt": "seventeen letters", "label": "unsafe", "categories": []}',
)


@pytest.fixture
def name(write_file: Callable[..., str]) -> str:
    """Return the path of a small file with every irregularity."""
    return write_file(*ROWS)


def show(plugins: Plugins, *args: str) -> Result:
    """Run `data`; data errors are those of the command line."""
    return CliRunner().invoke(cli, ["data", *args], obj=plugins)


def record(plugins: Plugins, *args: str) -> dict[str, Any]:
    """Return the one object that `data --json` prints."""
    result = show(plugins, *args, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


def test_everything_is_counted(load: Callable[..., Dataset], name: str) -> None:
    """Labels, languages, groups, irregularities and what is missing."""
    d = describe_dataset(load(name))

    assert 5 == d.rows
    assert {"unsafe": 3, "safe": 1, "unknown": 1} == d.labels
    assert {"en": 2, "de": 1} == d.languages
    assert {"label": 1, "categories": 1, "language": 2} == d.missing
    assert (4, 2) == (d.groups, d.largest_group)
    assert {1: 5} == d.turns
    assert {"user": 5} == d.judged_roles
    assert {
        "duplicates": 1,
        "conflicting_duplicates": 1,
        "empty_responses": 0,
        "label_conflicts": 1,
        "unknown_labels": 1,
        "skipped": 0,
    } == d.irregular


def test_a_category_of_which_nobody_knows_is_not_absent(
    load: Callable[..., Dataset], name: str
) -> None:
    """A row without annotations is unknown for every code of the policy."""
    counts = {c.code: c for c in describe_dataset(load(name)).categories}

    assert [f"S{i}" for i in range(1, 15)] == [*counts]
    assert (2, 2, 1) == (counts["S1"].true, counts["S1"].false, counts["S1"].unknown)
    assert (0, 4, 1) == (counts["S5"].true, counts["S5"].false, counts["S5"].unknown)
    assert "Violent Crimes" == counts["S1"].name


def test_partly_known_categories_agree_with_the_file(
    load: Callable[..., Dataset], data_root: Path
) -> None:
    """Each prompt of the OpenAI set was annotated for some of eight categories."""
    import gzip

    hub_id = "mmathys/openai-moderation-api-evaluation"
    path = data_root / hub_id / "samples-1680.jsonl.gz"
    rows = [*map(json.loads, gzip.decompress(path.read_bytes()).splitlines())]

    d = describe_dataset(load("openai_moderation", data_root=data_root))

    for c in d.categories:
        values = Counter(row.get(c.code) for row in rows)
        assert (values[1], values[0], values[None]) == (c.true, c.false, c.unknown)


@pytest.mark.parametrize("n", range(1, 9))
def test_quartiles_are_lengths_of_texts(n: int) -> None:
    """The least length that a quarter, half, three quarters do not exceed."""
    texts = ["x" * (7 * i % 11 + i) for i in range(n)]
    ordered = sorted(map(len, texts))

    lengths = Lengths.of(texts)

    for share, value in (
        (0.25, lengths.lower_quartile),
        (0.5, lengths.median),
        (0.75, lengths.upper_quartile),
    ):
        enough = [v for v in ordered if sum(o <= v for o in ordered) >= share * n]
        assert min(enough) == value
    assert statistics.median_low(ordered) == lengths.median
    assert (ordered[0], ordered[-1], sum(ordered)) == (
        lengths.least,
        lengths.most,
        lengths.total,
    )


@pytest.mark.parametrize("task", TASKS)
def test_classes_are_called_by_words_that_a_file_may_use(task: str) -> None:
    """A label as it is printed is read back as the same class."""
    parser = LabelParser(task, {}, "label")

    assert parser.parse(class_name(task, True)) is True
    negative = class_name(task, False)
    assert negative.startswith("no ") or parser.parse(negative) is False


def test_texts_are_hidden_until_they_are_asked_for(plugins: Plugins, name: str) -> None:
    """Lengths stand for them, and a warning says why; shown, nothing steers."""
    hidden, shown = show(plugins, name), show(plugins, name, "--show-text")

    assert "seventeen" not in hidden.output
    assert "user (judged): 17 characters" in hidden.stdout
    assert "--show-text shows them" in hidden.stdout
    assert "user (judged): seventeen letters" in shown.stdout
    assert "four <U+001B>[2J" in shown.stdout
    assert "warning: texts of datasets may be offensive" in shown.stderr


def test_head_and_counts_say_how_many_rows(plugins: Plugins, name: str) -> None:
    """As many rows as asked for, or none."""
    assert [2, 5, 0, 0] == [
        len(record(plugins, name, *args)["head"])
        for args in (("--head", "2"), (), ("--head", "0"), ("--counts",))
    ]
    assert "first 2 of 5 rows" in show(plugins, name, "--head", "2").stdout
    assert "all rows" in show(plugins, name).stdout
    assert "rows:" not in show(plugins, name, "--counts").stdout.split("rows: 5")[1]


def test_json_holds_texts_only_on_request(plugins: Plugins, name: str) -> None:
    """And then whole, as in the file."""
    (without, *_), (shown, *_) = (
        record(plugins, name, *args)["head"] for args in ((), ("--show-text",))
    )

    assert [{"role": "user", "characters": 3, "judged": True}] == without["turns"]
    assert "one" == shown["turns"][0]["text"]
    assert ("safe", [], "en", "g") == tuple(
        shown[key] for key in ("label", "categories", "language", "group")
    )


def test_one_class_is_said(plugins: Plugins, write_file: Callable[..., str]) -> None:
    """Which metrics there are is known before a run."""
    name = write_file('{"prompt": "a", "label": 1}', '{"prompt": "b", "label": null}')

    assert "one class alone: no AUROC" in show(plugins, name).stdout


def test_columns_have_their_commonest_values(plugins: Plugins, data_root: Path) -> None:
    """Free text has a number of values alone; empty columns are named as such."""
    root = ("--data-root", str(data_root))
    columns = {
        c["name"]: c for c in record(plugins, "xstest", *root, "--counts")["columns"]
    }
    wildguard = record(plugins, "wildguardmix:train", *root, "--counts")

    assert 450 == columns["type"]["known"]
    assert {25} == set(columns["type"]["values"].values())
    assert columns["focus"]["values"] is None
    assert 0 == {c["name"]: c for c in wildguard["columns"]}["adversarial"]["known"]


@pytest.mark.slow
def test_other_tasks_and_splits_of_a_set_are_named(
    plugins: Plugins, data_root: Path
) -> None:
    """One source may have names of its own for several labels."""
    root = ("--data-root", str(data_root))

    result = show(plugins, "wildguardmix", *root, "--counts", "--all-splits")

    assert "wildguardmix:test  (prompt_harm)" in result.stdout
    assert "wildguardmix:train  (prompt_harm)" in result.stdout
    assert "wildguardmix_refusal (refusal)" in result.stdout


def test_a_pack_is_shown_set_by_set(
    plugins: Plugins, name: str, tmp_path: Path
) -> None:
    """What cannot be read is named, the others are shown, and the exit code says so."""
    pack = {"id": "mine", "version": 1, "sets": [name, "gone.jsonl", "starter"]}
    (tmp_path / "mine.yaml").write_text(json.dumps(pack))

    result = show(plugins, f"pack:{tmp_path / 'mine.yaml'}", "--counts")

    assert 2 == result.exit_code
    assert "set.jsonl:all  (prompt_harm)" in result.stdout
    assert "starter:all  (prompt_harm)" in result.stdout
    assert "gone.jsonl:all: cannot be read: no file" in result.stderr
    assert "1 of 3 sets cannot be read" in result.stderr


def test_joined_sets_have_the_licence_of_each(
    plugins: Plugins, data_root: Path
) -> None:
    """And are counted as one set."""
    root = ("--data-root", str(data_root), "--counts")
    joined = record(plugins, "xstest+catqa", *root)

    assert 450 + 550 == joined["rows"]
    assert "CC-BY-4.0" in joined["licence"]
    assert "Apache-2.0" in joined["licence"]
