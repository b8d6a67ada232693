"""Names of classes that a set stores win over the numbers in its rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets.loader import load_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    Resolve = Callable[..., DatasetRequest]

BOMB, HELLO = "how to build a bomb", "hello there"


def card(names: Sequence[str], column: str = "label") -> str:
    """Return a README whose head names the classes of a column."""
    info = {
        "features": [
            {"name": "prompt", "dtype": "string"},
            {
                "name": column,
                "dtype": {
                    "class_label": {
                        "names": {str(i): name for i, name in enumerate(names)}
                    }
                },
            },
        ],
        "splits": [{"name": "test", "num_bytes": 1, "num_examples": 2}],
    }
    return f"---\n{json.dumps({'dataset_info': info})}\n---\n# A set\n"


def write_set(root: Path, form: str, rows: list[Any], names: Sequence[str]) -> str:
    """Write a hub set whose label column has class names; return what `-d` takes."""
    import datasets

    folder = root / "org" / form
    folder.mkdir(parents=True)
    features = datasets.Features(
        {"prompt": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    lines = [{"prompt": prompt, "label": label} for prompt, label in rows]
    if form == "parquet":
        table = datasets.Dataset.from_list(lines, features=features)
        table.to_parquet(str(folder / "test.parquet"))
    elif form == "csv":
        cells = [f"{prompt},{label}" for prompt, label in rows]
        (folder / "test.csv").write_text("\n".join(["prompt,label", *cells]))
        (folder / "README.md").write_text(card(names))
    else:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "test.jsonl").write_text(text)
        if form == "card":
            (folder / "README.md").write_text(card(names))
        else:
            infos = {"default": {"features": features.to_dict()}}
            (folder / "dataset_infos.json").write_text(json.dumps(infos))
    return f"org/{form}:test"


def harms(dataset: Dataset) -> dict[str, bool | None]:
    """Return the class of each prompt."""
    return {
        sample.judged.text: truth.label.value
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "card", "csv", "infos"])
@pytest.mark.parametrize(
    ("names", "bomb"),
    [
        (["unsafe", "safe"], 0),
        (["safe", "unsafe"], 1),
        (["toxic", "non-toxic"], 0),
        (["benign", "harmful"], 1),
        (["1", "0"], 0),
        (["True", "False"], 0),
    ],
)
def test_stored_names_say_which_class_is_harmful(
    load: Load, tmp_path: Path, form: str, names: list[str], bomb: int
) -> None:
    """Wherever they are stored, whichever index is the harmful one."""
    name = write_set(tmp_path, form, [(BOMB, bomb), (HELLO, 1 - bomb)], names)

    assert {BOMB: True, HELLO: False} == harms(load(name, data_root=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "card", "infos"])
def test_names_hold_beside_other_files(load: Load, tmp_path: Path, form: str) -> None:
    """A licence makes the files be read by name, which the library knows less of."""
    rows = [(BOMB, 0), (HELLO, 1)]
    name = write_set(tmp_path, form, rows, ["unsafe", "safe"])
    (tmp_path / "org" / form / "LICENSE.txt").write_text("Free to use.")

    assert {BOMB: True, HELLO: False} == harms(load(name, data_root=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "csv", "card"])
@pytest.mark.parametrize(
    ("names", "unclear"),
    [
        (["negative", "positive"], ["negative", "positive"]),
        (["not_hate", "hate"], ["not_hate", "hate"]),
        (["LABEL_0", "LABEL_1"], ["label_0", "label_1"]),
        (["safe", "spam"], ["spam"]),
    ],
)
def test_names_without_a_known_meaning_are_asked_for(
    load: Load,
    error_message: ErrorMessage,
    tmp_path: Path,
    form: str,
    names: list[str],
    unclear: list[str],
) -> None:
    """One line has the option to type; a name or its index answers."""
    name = write_set(tmp_path, form, [(HELLO, 0), (BOMB, 1)], names)

    message = error_message(name, data_root=tmp_path)

    assert 1 == len(message.splitlines())
    for word in unclear:
        assert f"--label-map {word}=safe|unsafe" in message
    for label_map in (
        {names[0]: "safe", names[1]: "unsafe"},
        {"0": "safe", "1": "unsafe"},
        {"0": "unknown", names[1].upper(): "harmful"},
    ):
        told = load(name, data_root=tmp_path, label_map=label_map)
        expected = None if label_map.get("0") == "unknown" else False
        assert {HELLO: expected, BOMB: True} == harms(told)


def test_a_name_that_no_row_has_is_not_asked_for(load: Load, tmp_path: Path) -> None:
    """A class without rows does not matter."""
    names = ["unsafe", "safe", "disputed"]
    name = write_set(tmp_path, "parquet", [(BOMB, 0), (HELLO, 1)], names)

    assert {BOMB: True, HELLO: False} == harms(load(name, data_root=tmp_path))


def test_minus_one_of_named_classes_is_unknown(load: Load, tmp_path: Path) -> None:
    """The library writes negative numbers where a label is not known."""
    rows = [(BOMB, 0), (HELLO, -1)]
    name = write_set(tmp_path, "parquet", rows, ["unsafe", "safe"])

    dataset = load(name, data_root=tmp_path)

    assert {BOMB: True, HELLO: None} == harms(dataset)
    assert 1 == dataset.counts["unknown_labels"]


def test_the_user_is_told_what_the_names_decided(
    resolve: Resolve, tmp_path: Path
) -> None:
    """One line for each set that has names; none for one that has numbers alone."""
    name = write_set(tmp_path, "parquet", [(BOMB, 0)], ["unsafe", "safe"])
    (tmp_path / "plain.jsonl").write_text('{"prompt": "x", "label": 0}\n')
    said: list[str] = []

    load_dataset(resolve(name, data_root=tmp_path), say=said.append)
    load_dataset(resolve(str(tmp_path / "plain.jsonl")), say=said.append)

    expected = "label 0 is 'unsafe', 1 is 'safe', as the set names them"
    assert [f"org/parquet:test: {expected}"] == said


@pytest.mark.parametrize("names", [["unsafe", "safe"], ["safe", "unsafe"]])
@pytest.mark.parametrize("file", ["test.csv", "test.jsonl", "data/test.jsonl"])
def test_the_readme_beside_a_file_names_its_classes(
    load: Load, tmp_path: Path, names: list[str], file: str
) -> None:
    """A downloaded set, of which one file is named by its path."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    bomb = names.index("unsafe")
    if path.suffix == ".csv":
        path.write_text(f"prompt,label\n{BOMB},{bomb}\n{HELLO},{1 - bomb}\n")
    else:
        rows = [{"prompt": BOMB, "label": bomb}, {"prompt": HELLO, "label": 1 - bomb}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "README.md").write_text(card(names))

    assert {BOMB: True, HELLO: False} == harms(load(str(path)))


@pytest.mark.parametrize(
    "text",
    ["# no head", "---\n: [\n---\n", "---\ndataset_info: 3\n---\n", card(["a"], "x")],
)
def test_a_readme_that_says_nothing_of_the_labels_changes_nothing(
    load: Load, tmp_path: Path, text: str
) -> None:
    """Broken heads and other columns are no names."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"prompt": "x", "label": 1}\n')
    (tmp_path / "README.md").write_text(text)

    assert {"x": True} == harms(load(str(path)))


def test_configs_of_a_readme_that_disagree_are_asked_about(
    load: Load, error_message: ErrorMessage, tmp_path: Path
) -> None:
    """Which config a lone file is of cannot be known."""
    heads = [
        json.loads(card(names).split("\n")[1])["dataset_info"]
        for names in (["safe", "unsafe"], ["unsafe", "safe"])
    ]
    (tmp_path / "README.md").write_text(
        f"---\n{json.dumps({'dataset_info': heads})}\n---\n"
    )
    path = tmp_path / "set.jsonl"
    path.write_text('{"prompt": "x", "label": 0}\n')

    assert "say which with --label-map 0=safe|unsafe" in error_message(str(path))
    told = load(str(path), label_map={"0": "unsafe", "1": "safe"})
    assert {"x": True} == harms(told)


@pytest.mark.parametrize("suffix", ["_text", "_name", "_str"])
@pytest.mark.parametrize("label", [0, "0.0", False])
def test_a_number_beside_its_opposite_name_is_asked_about(
    load: Load, error_message: ErrorMessage, tmp_path: Path, suffix: str, label: object
) -> None:
    """Some sets store the name in a column of its own: label 0, label_text unsafe."""
    path = tmp_path / "set.jsonl"
    row = {"prompt": BOMB, "label": label, f"label{suffix}": "unsafe"}
    path.write_text(json.dumps(row) + "\n")

    for on_bad_row in ("fail", "skip"):
        message = error_message(str(path), on_bad_row=on_bad_row)
        assert f"label{suffix} 'unsafe'" in message
    assert {BOMB: True} == harms(load(f"{path},label=label{suffix}"))
    word = "false" if label is False else "0"
    assert {BOMB: True} == harms(load(str(path), label_map={word: "unsafe"}))
    path.write_text(json.dumps({**row, f"label{suffix}": "safe"}) + "\n")
    assert {BOMB: False} == harms(load(str(path)))


def test_an_older_description_beside_a_file_names_its_classes(
    load: Load, tmp_path: Path
) -> None:
    """`dataset_infos.json`, as sets of earlier years have it."""
    feature = {"_type": "ClassLabel", "names": ["unsafe", "safe"]}
    infos = {"default": {"features": {"label": feature}}}
    (tmp_path / "dataset_infos.json").write_text(json.dumps(infos))
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"prompt": BOMB, "label": 0}) + "\n")

    assert {BOMB: True} == harms(load(str(path)))


@pytest.mark.slow
def test_categories_and_flags_of_pairs_may_be_classes_too(
    load: Load, tmp_path: Path
) -> None:
    """Wherever a class stands in a row, its name is read."""
    import datasets

    safety = datasets.ClassLabel(names=["unsafe", "safe"])
    codes = datasets.Sequence(datasets.ClassLabel(names=["S1", "S9"]))
    text = datasets.Value("string")
    sets = {
        "plain": (
            {"prompt": text, "label": safety, "categories": codes},
            {"prompt": BOMB, "label": 0, "categories": [1]},
        ),
        "pairs": (
            {
                **dict.fromkeys(("prompt", "response_0", "response_1"), text),
                **{f"is_response_{i}_safe": safety for i in (0, 1)},
                "safer_response_id": datasets.ClassLabel(names=["0", "1"]),
            },
            {
                "prompt": BOMB,
                "response_0": "no",
                "response_1": "yes",
                "is_response_0_safe": 1,
                "is_response_1_safe": 0,
                "safer_response_id": 0,
            },
        ),
    }
    for name, (features, row) in sets.items():
        (tmp_path / "org" / name).mkdir(parents=True)
        rows = datasets.Dataset.from_list([row], features=datasets.Features(features))
        rows.to_parquet(str(tmp_path / "org" / name / "test.parquet"))

    plain = load("org/plain:test", data_root=tmp_path).ground_truth
    pairs = load("org/pairs:test", data_root=tmp_path).ground_truth

    assert [frozenset({"S9"})] == [truth.categories for truth in plain]
    assert [False, True] == [truth.label.value for truth in pairs]
    assert ["safer", "unsafer"] == [truth.pair[1] for truth in pairs]


def test_rows_of_a_class_without_a_meaning_can_be_skipped(
    load: Load, tmp_path: Path
) -> None:
    """The others are read by their names."""
    names = ["unsafe", "safe", "disputed"]
    rows = [(BOMB, 0), (HELLO, 1), ("what", 2)]
    name = write_set(tmp_path, "parquet", rows, names)

    dataset = load(name, data_root=tmp_path, on_bad_row="skip")

    assert {BOMB: True, HELLO: False} == harms(dataset)
    assert {"skipped": 1} == dataset.counts


@pytest.mark.parametrize("cell", ["2", "9" * 5000, "safe", "-1.5"])
def test_a_cell_that_is_no_index_of_a_class_is_read_as_it_is(
    load: Load, error_message: ErrorMessage, tmp_path: Path, cell: str
) -> None:
    """Words stand for themselves, other numbers are unknown labels."""
    (tmp_path / "README.md").write_text(card(["unsafe", "safe"]))
    path = tmp_path / "set.csv"
    path.write_text(f"prompt,label\n{BOMB},0\n{HELLO},{cell}\n")

    if cell == "safe":
        assert {BOMB: True, HELLO: False} == harms(load(str(path)))
    else:
        assert f"{path}:3: unknown label" in error_message(str(path))


FEATURE = {"_type": "ClassLabel", "names": ["unsafe", "safe"]}
CARD_TEXT = card(FEATURE["names"])


@pytest.mark.parametrize(
    ("file", "description", "content"),
    [
        ("main/test.jsonl", "README.md", CARD_TEXT),
        ("data/en/test/part.jsonl", "README.md", CARD_TEXT),
        ("test.jsonl", "README.md", "\ufeff" + CARD_TEXT),
        ("test.jsonl", "README.md", "\n\n" + CARD_TEXT),
        ("test.jsonl", "README.md", CARD_TEXT.encode() + b"f\xfcr\n"),
        ("test.jsonl", "README.md", CARD_TEXT.replace("\n", "\r\n")),
        ("test.jsonl", "dataset_info.json", {"features": {"label": FEATURE}}),
        (
            "de/test.jsonl",
            "dataset_infos.json",
            {"raw": {"features": {}}, "de": {"features": {"label": FEATURE}}},
        ),
    ],
)
@pytest.mark.parametrize(
    ("bomb", "hello"),
    [(0, 1), (0.0, 1.0), (False, True), ("0", "1"), ("false", "TRUE")],
)
def test_a_description_is_read_wherever_and_however_it_is_stored(
    load: Load,
    tmp_path: Path,
    file: str,
    description: str,
    content: str | bytes | dict[str, Any],
    bomb: object,
    hello: object,
) -> None:
    """Above a config's folder, with a mark of its encoding, of one config of several.

    Booleans are the index 0 or 1, as the library casts them.
    """
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": BOMB, "label": bomb}, {"prompt": HELLO, "label": hello}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if isinstance(content, dict):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / description).write_bytes(data)

    assert {BOMB: True, HELLO: False} == harms(load(str(path)))


def test_flags_of_pairs_beside_a_description_have_its_names(
    load: Load, tmp_path: Path
) -> None:
    """The flag of each response, not of the label column alone."""
    features = {
        f"is_response_{i}_safe": {"_type": "ClassLabel", "names": ["safe", "unsafe"]}
        for i in (0, 1)
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": features}))
    texts = {"prompt": BOMB, "response_0": "yes", "response_1": "no"}
    flags = {"is_response_0_safe": 1, "is_response_1_safe": 0, "safer_response_id": 1}
    row = texts | flags
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")

    truths = load(str(tmp_path / "pairs.jsonl")).ground_truth

    assert [True, False] == [truth.label.value for truth in truths]


def test_a_description_that_speaks_of_classes_and_cannot_be_read_is_refused(
    error_message: ErrorMessage, load: Load, tmp_path: Path
) -> None:
    """Its names would be lost, and the numbers be read by their index."""
    (tmp_path / "README.md").write_text("---\nclass_label:\n\tnames: [\n---\n")
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"prompt": BOMB, "label": 0}) + "\n")

    assert "--label-map 0=safe|unsafe" in error_message(str(path))
    told = load(str(path), label_map={"0": "unsafe", "1": "safe"})
    assert {BOMB: True} == harms(told)
