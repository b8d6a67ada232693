"""Profiles of encoders: what may stand in one, whom it fits, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from scipy.special import expit

from safebench.errors import ModelError, OptionError, SafebenchError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.policies import load_policy
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.model.doctor import doctor
from safebench_bert_ensemble.model.encoding import context_and_text
from safebench_bert_ensemble.model.identity import (
    ensemble_capabilities,
    ensemble_identity,
)
from safebench_bert_ensemble.model.location import EnsembleLocation
from safebench_bert_ensemble.model.profile import (
    load_profile,
    matching_profiles,
    shipped_profiles,
)
from safebench_bert_ensemble.model.reading import Reading, find_reading
from safebench_bert_ensemble.options import EnsembleOptions
from safebench_bert_ensemble.strategies.ensemble import (
    category_probs,
    mean_logits,
    mean_probs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILE: dict[str, Any] = {
    "about": "three outputs",
    "classes": ["fine", "rude", "attack"],
    "tasks": {"prompt_harm": ["rude", "attack"], "jailbreak": "attack"},
}
NUMBERED = ["LABEL_0", "LABEL_1", "LABEL_2"]


def write_profile(folder: Path, **changes: Any) -> str:
    """Write a profile, and return its path; a change to None leaves a key out."""
    content = {k: v for k, v in (PROFILE | changes).items() if v is not None}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


README = Path(__file__).parents[1] / "README.md"


def test_the_profile_of_the_readme_can_be_used(tmp_path: Path) -> None:
    """It is copied, and read for each of its tasks as the text beside it says."""
    (block,) = re.findall(r"```yaml\n(about: .*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)

    reading = read(
        location(tmp_path / "mine", NUMBERED), profile=str(tmp_path / "mine.yaml")
    )

    assert {
        "prompt_harm": (0, 1, 1),
        "jailbreak": (0, 0, 1),
        "injection": (-1, 0, 0),
    } == dict(reading.tasks)
    assert "sigmoid" == reading.meaning.link
    assert 0.4 == reading.capabilities.threshold
    assert "llama-guard-3" == reading.capabilities.policy


def location(folder: Path, names: list[str], **changes: Any) -> EnsembleLocation:
    """Return a model of which there is only the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    label = changes.pop("label", folder.name)
    manifest = changes.pop("manifest", {})
    content = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    (folder / "config.json").write_text(json.dumps(content | changes))
    return EnsembleLocation(folder, (folder,), label, manifest=manifest)


def read(model: EnsembleLocation, **options: Any) -> Reading:
    """Return how a model is read with some options."""
    return find_reading(EnsembleOptions(**options), model)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clases": ["a"]}, "unknown key 'clases'; did you mean 'classes'"),
        ({"classes": None}, "classes is missing"),
        ({"classes": ["fine", "rude", "Rude"]}, "'Rude' occurs twice"),
        ({"classes": ["fine", "rude", False]}, "put it in quotes"),
        ({"tasks": {"injektion": "rude"}}, "did you mean 'injection'"),
        ({"tasks": {"injection": "rud"}}, "did you mean 'rude'"),
        ({"tasks": {"injection": {"all_but": "fin"}}}, "did you mean 'fine'"),
        ({"tasks": {"injection": {"al_but": "fine"}}}, "did you mean 'all_but'"),
        ({"tasks": {"injection": []}}, "no class is named"),
        ({"tasks": {}}, "tasks: at least one of prompt_harm"),
        ({"tasks": {"injection": "any"}}, "all classes are named"),
        ({"tasks": {"injection": ["fine", "rude", "attack"]}}, "all classes are named"),
        ({"tasks": {"injection": {"all_but": PROFILE["classes"]}}}, "are named"),
        ({"classes": ["fine", "rude", "!"]}, "'!' has no letter and no digit"),
        ({"link": "logit"}, "link: 'logit' is not one of softmax, sigmoid"),
        ({"classes": ["bad"], "tasks": {"injection": "bad"}}, "through a sigmoid"),
        ({"policy": "llama-guard-3"}, "go together"),
        ({"categories": {"rude": "S1"}}, "go together"),
        ({"policy": "llama-gard-3", "categories": {"rude": "S1"}}, "did you mean"),
        ({"policy": "llama-guard-3", "categories": {"rude": "S99"}}, "has no 'S99'"),
        ({"policy": "llama-guard-3", "categories": {"rde": "S1"}}, "mean 'rude'"),
        ({"threshold": 1.5}, "threshold: a probability"),
        ({"max_length": 3}, "max_length: at least 8"),
        ({"input": "pairs"}, "did you mean 'pair'"),
        ({"match": {"model": ["x"]}}, "match: unknown key 'model'; did you mean"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """The message names the file, the key, and the nearest right name."""
    path = write_profile(tmp_path, **changes)

    with pytest.raises(OptionError) as error:
        load_profile(path)

    assert error.value.message.startswith(f"profile {path}: ")
    assert expected in error.value.message


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        (["LABEL_0", "LABEL_1"], {}, "has 2 classes, and its profile names 3"),
        (["toxic"], {}, "has 1 class, and its profile names 3"),
        (["fine", "rude", "atack"], {}, "class 2 is 'atack' in config.json"),
        (["fine", "rude", "atack"], {}, "did you mean 'attack'"),
        (["fine", "rude", "LABEL_2"], {}, "class 2 is 'LABEL_2'"),
        (["at-tack", "at tack", "fine"], {}, "class 0 is 'at-tack'"),
        (["LABEL_2", "LABEL_1", "LABEL_0"], {}, "class 0 is 'LABEL_2'"),
        (["0", "2", "1"], {}, "class 0 is '0'"),
        (NUMBERED, {"problem_type": "regression"}, "link: softmax, which is for"),
        (NUMBERED, {"problem_type": "multi_label_classification"}, "link: softmax"),
        (NUMBERED, {"problem_type": "multilabel"}, "problem_type is 'multilabel'"),
        (NUMBERED, {"num_labels": 4}, "num_labels 4"),
        (NUMBERED, {"architectures": ["BertModel"]}, "no classifier"),
    ],
)
def test_a_profile_that_contradicts_the_model_is_refused(
    names: list[str], changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """One line, before anything is loaded: both sayings are in it."""
    model = location(tmp_path / "m", names, **changes)

    with pytest.raises(ModelError) as error:
        read(model, profile=write_profile(tmp_path))

    assert expected in error.value.message
    assert "\n" not in error.value.message


def test_exclusive_and_independent_heads_are_not_mixed_up(tmp_path: Path) -> None:
    """A sigmoid profile refuses a model that says that its classes are exclusive."""
    path = write_profile(tmp_path, link="sigmoid")
    wrong = location(
        tmp_path / "w", NUMBERED, problem_type="single_label_classification"
    )
    right = location(
        tmp_path / "r", NUMBERED, problem_type="multi_label_classification"
    )

    with pytest.raises(ModelError, match="link: sigmoid, which is for multi_label"):
        read(wrong, profile=path)
    assert "sigmoid" == read(right, profile=path).meaning.link


@pytest.mark.parametrize(
    "names",
    [
        NUMBERED,
        ["0", "1", "2"],
        ["class_0", "class_1", "class_2"],
        ["1", "2", "3"],
        ["fine", "rude", "attack"],
        ["Fine", "RUDE", "Attack"],
        ["attack", "fine", "rude"],
    ],
)
def test_classes_go_by_index_only_where_names_are_silent(
    names: list[str], tmp_path: Path
) -> None:
    """A model that numbers the same classes otherwise is read in its own order."""
    model = location(tmp_path / "m", names)

    reading = read(model, profile=write_profile(tmp_path))

    silent = not any(name.casefold() in PROFILE["classes"] for name in names)
    expected = PROFILE["classes"] if silent else [name.casefold() for name in names]
    assert expected == list(reading.meaning.classes)
    attack = expected.index("attack")
    assert tuple(int(i == attack) for i in range(3)) == reading.tasks["jailbreak"]


@pytest.mark.parametrize(
    ("folder", "names", "changes", "expected"),
    [
        ("x", ["LABEL_0", "LABEL_1"], {"label": "meta-llama/Llama-Prompt-Guard-2-22M"},
         "prompt-guard-2"),
        ("x", ["LABEL_0", "LABEL_1"], {"label": "mirror/llama-prompt-guard-2-86m"},
         "prompt-guard-2"),
        ("Llama-Prompt-Guard-2-86M", ["LABEL_0", "LABEL_1"], {}, "prompt-guard-2"),
        ("models--ibm-granite--granite-guardian-hap-38m/snapshots/0f",
         ["LABEL_0", "LABEL_1"], {}, "granite-hap"),
        ("HarmAug-Guard", ["LABEL_0", "LABEL_1"], {}, "harmaug"),
        ("x", ["Safe", "Injection"], {}, "protectai-injection"),
        ("x", ["INJECTION", "LEGIT"], {}, "deepset-injection"),
        ("x", ["nothate", "hate"], {}, "roberta-hate"),
        ("DuoGuard-0.5B", [f"LABEL_{i}" for i in range(12)],
         {"architectures": ["Qwen2ForSequenceClassification"]}, "duoguard"),
        ("DuoGuard-1B-Llama-3.2-transfer", [f"LABEL_{i}" for i in range(12)],
         {"architectures": ["LlamaForSequenceClassification"]}, "duoguard-llama"),
    ],
)  # fmt: skip
def test_a_published_model_finds_its_profile(
    folder: str,
    names: list[str],
    changes: dict[str, Any],
    expected: str,
    tmp_path: Path,
) -> None:
    """By hub id, folder, place in the hub's cache, or telling class names."""
    reading = read(location(tmp_path / folder, names, **changes))

    assert expected == reading.profile_name
    assert f"is read by the profile {expected}" in reading.note


@pytest.mark.parametrize(
    ("names", "changes", "options"),
    [
        (["SAFE", "INJECTION"], {}, {"profile": "none"}),
        (["SAFE", "INJECTION"], {}, {"harmful": ("INJECTION",)}),
        (["SAFE", "INJECTION"], {"manifest": {"task": "prompt_harm"}}, {}),
        (["safe", "unsafe"], {}, {}),
        (["toxic", "insult"], {}, {}),
        # fine-tuned models keep the origin, and number other classes
        (["safe", "unsafe"], {"_name_or_path": "hbseong/HarmAug-Guard"}, {}),
    ],
)
def test_other_models_are_read_by_their_own_names(
    names: list[str], changes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    """So is what the user speaks of, and an ensemble that was trained here."""
    reading = read(location(tmp_path / "m", names, **changes), **options)

    assert reading.profile is None
    assert {"prompt_harm": reading.meaning.polarity} == dict(reading.tasks)
    assert "" == reading.note


def test_a_head_of_another_kind_under_a_known_name_is_told(tmp_path: Path) -> None:
    """Its own names decide, and the note says why no profile does."""
    model = location(tmp_path / "toxic-bert", ["neutral", "toxic"])

    reading = read(model)

    assert reading.profile is None
    assert "no profile is used" in reading.note
    assert "has 2 classes, and its profile names 6" in reading.note
    assert reading.note == reading.capabilities.note


@pytest.mark.parametrize("told", [{"harmful": ("a",)}, {"classes": ("a", "b")},
                                  {"link": "sigmoid"}])  # fmt: skip
def test_a_profile_and_options_about_classes_exclude_each_other(
    told: dict[str, Any],
) -> None:
    """Both would say what the classes mean."""
    with pytest.raises(OptionError, match="both say what the classes mean"):
        EnsembleOptions(profile="duoguard", **told)


def test_a_task_may_be_chosen_or_told(tmp_path: Path) -> None:
    """One of the profile's; another only where it is clear which classes answer it."""
    model = location(tmp_path / "m", NUMBERED)
    several = write_profile(tmp_path)

    assert ["jailbreak"] == list(read(model, profile=several, task="jailbreak").tasks)
    with pytest.raises(OptionError, match="which of them shall answer injection"):
        read(model, profile=several, task="injection")
    single = write_profile(tmp_path, tasks={"jailbreak": "attack"})
    told = read(model, profile=single, task="injection")
    assert {"injection": (0, 0, 1)} == dict(told.tasks)
    assert "is about jailbreak, and read as injection" in told.note
    with pytest.raises(OptionError, match="did you mean 'injection'"):
        EnsembleOptions(task="injektion")


def test_one_minus_is_not_a_sum_where_classes_stand_alone(tmp_path: Path) -> None:
    """1 - P(fine): under a softmax the other classes together, else fine alone."""
    tasks = {"injection": {"all_but": "fine"}}
    soft = load_profile(write_profile(tmp_path, tasks=tasks))[1]
    alone = load_profile(write_profile(tmp_path, tasks=tasks, link="sigmoid"))[1]

    assert (-1, 1, 1) == soft.signs("injection", soft.classes)
    assert (-1, 0, 0) == alone.signs("injection", alone.classes)
    assert (0, 0, -1) == alone.signs("injection", ["rude", "attack", "fine"])
    assert "1 - P(fine)" == soft.formula("injection") == alone.formula("injection")


def test_names_of_any_script_are_told_apart(tmp_path: Path) -> None:
    """Letters are compared, of whatever alphabet."""
    classes = ["\u5b89\u5168", "\u5371\u9669"]
    path = write_profile(tmp_path, classes=classes, tasks={"prompt_harm": classes[1]})

    reading = read(location(tmp_path / "m", classes[::-1]), profile=path)

    assert {"prompt_harm": (1, 0)} == dict(reading.tasks)


@pytest.mark.slow
def test_one_minus_a_single_safe_head(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """A head that says how safe a text is, read the other way."""
    folder = make_checkpoint("one", {0: "LABEL_0"})
    path = write_profile(
        tmp_path,
        classes=["safe"],
        link="sigmoid",
        tasks={"prompt_harm": {"all_but": "safe"}},
    )

    score, evidence = judged(folder, ["poison", "bread"], "prompt_harm", profile=path)

    logits = evidence["logits"][:, 0, 0].astype(float)
    np.testing.assert_allclose(score, 1 - expit(logits), atol=1e-12)


def judged(
    folder: Path, texts: list[str], about: str, **options: Any
) -> tuple[Any, MemberLogits]:
    """Return the score of each text about a task, and the evidence."""
    chosen = EnsembleOptions(model=str(folder), device="cpu", **options)
    samples = [Sample(id=t, turns=(Turn("user", t),), task=about) for t in texts]
    recording = BertEnsemble(chosen).record(
        samples, frozenset({MemberLogits}), lambda _: None
    )
    evidence = recording.evidence[MemberLogits]
    assert isinstance(evidence, MemberLogits)
    bundle = EvidenceBundle({MemberLogits: evidence})
    return mean_probs(bundle, Context(task=about)).score, evidence


@pytest.mark.slow
def test_a_model_that_nobody_named_is_read_by_options_alone(
    make_checkpoint: Callable[..., Path],
) -> None:
    """Names of the outputs, sigmoid, which are positive, and for which task."""
    folder = make_checkpoint("new", dict(enumerate(NUMBERED)))
    told: dict[str, Any] = {
        "classes": ("fine", "rude", "attack"),
        "harmful": ("rude", "attack"),
        "link": "sigmoid",
        "task": "jailbreak",
    }

    score, evidence = judged(folder, ["poison", "make bread"], "jailbreak", **told)

    expected = expit(evidence["logits"][:, 0, 1:].astype(float)).max(axis=1)
    np.testing.assert_allclose(score, expected, atol=1e-12)
    assert ["fine", "rude", "attack"] == evidence.meta["classes"]
    options = EnsembleOptions(model=str(folder), **told)
    assert {"jailbreak"} == ensemble_capabilities(options).tasks
    keys = {
        json.dumps(ensemble_identity(replace(options, **change)), sort_keys=True)
        for change in ({}, {"link": "softmax"}, {"classes": ("a", "rude", "attack")})
    }
    assert 3 == len(keys)


@pytest.mark.parametrize(
    ("names", "changes", "told", "expected"),
    [
        (["a", "b"], {}, {"classes": ("x",)}, "classes= names 1"),
        (["a", "b"], {}, {"classes": ("x", "X")}, "two classes have one name"),
        (["a", "b"], {}, {"harmful": ("a", "b"), "link": "softmax"}, "exclude each"),
        (["bad"], {}, {"harmful": ("bad",), "link": "softmax"}, "has one output"),
        (["safe", "unsafe"], {"problem_type": "single_label_classification"},
         {"link": "sigmoid"}, "which link=sigmoid contradicts"),
    ],
)  # fmt: skip
def test_options_that_contradict_the_model_are_refused(
    names: list[str],
    changes: dict[str, Any],
    told: dict[str, Any],
    expected: str,
    tmp_path: Path,
) -> None:
    """As a profile would be."""
    model = location(tmp_path / "m", names, **changes)

    with pytest.raises(SafebenchError) as error:
        read(model, **told)

    assert expected in error.value.message


@pytest.mark.slow
def test_a_single_head_told_to_be_a_sigmoid_is_a_probability(
    make_checkpoint: Callable[..., Path],
) -> None:
    """By option or by profile; told nothing, it is a regression that only ranks."""
    folder = make_checkpoint("one", {0: "LABEL_0"})
    texts = ["poison", "make bread"]

    score, evidence = judged(
        folder, texts, "prompt_harm", harmful=("LABEL_0",), link="sigmoid"
    )

    logits = evidence["logits"][:, 0, 0].astype(float)
    np.testing.assert_allclose(score, expit(logits), atol=1e-12)
    assert evidence.meta.get("probability", True)
    _, told_nothing = judged(folder, texts, "prompt_harm", harmful=("LABEL_0",))
    assert told_nothing.meta["probability"] is False


def test_the_identity_holds_what_changes_numbers_and_no_more(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Evidence is kept where a profile says the same in other words, and only there."""
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))

    def key(**changes: Any) -> str:
        path = write_profile(tmp_path, **changes)
        options = EnsembleOptions(model=str(folder), profile=path)
        return json.dumps(ensemble_identity(options), sort_keys=True)

    same = [
        {},
        {"about": "other words"},
        {"verified": "by hand"},
        {"threshold": 0.3},
        {"match": {"models": ["a/b"]}},
    ]
    other: list[dict[str, Any]] = [
        {"link": "sigmoid"},
        {"tasks": {"prompt_harm": "rude", "jailbreak": "attack"}},
        {"tasks": {"prompt_harm": ["rude", "attack"]}},
        {"policy": "llama-guard-3", "categories": {"rude": "S1"}},
        {"policy": "llama-guard-3", "categories": {"rude": "S2"}},
        {"input": "pair"},
        {"max_length": 16},
        {"pad_token": "unk"},
        {"classes": ["attack", "rude", "fine"]},
    ]

    assert 1 == len({key(**changes) for changes in same})
    assert len(other) + 1 == len({key(**changes) for changes in [{}, *other]})


def test_a_tokenizer_from_elsewhere_is_part_of_the_identity(
    make_checkpoint: Callable[..., Path],
    new_tokenizer: Callable[..., None],
    tmp_path: Path,
) -> None:
    """By its content, and only where it is not the model's own."""
    folder = make_checkpoint("three", {0: "safe", 1: "unsafe"})
    for name, words in (("a", ("x",)), ("b", ("x",)), ("c", ("y",))):
        new_tokenizer(tmp_path / name, words)

    def key(tokenizer: str) -> str:
        options = EnsembleOptions(model=str(folder), tokenizer=tokenizer)
        return json.dumps(ensemble_identity(options), sort_keys=True)

    keys = [key(str(tmp_path / name)) for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    assert key("") not in keys


def test_categories_of_several_windows_and_members_are_worked_out_by_hand() -> None:
    """Each category has a largest window of its own; of two classes, the larger."""
    logits = np.array(
        [
            [[2.0, -1.0, 0.0], [1.0, -2.0, 0.5]],  # first window of text 0
            [[-2.0, 3.0, 0.1], [-1.0, 1.0, 0.2]],  # its second
            [[0.3, 0.2, -4.0], [0.1, 0.4, -3.0]],  # the only one of text 1
        ]
    )
    evidence = MemberLogits(
        {"logits": logits.astype(np.float32)},
        offsets={"W": [0, 2, 3]},
        meta={
            "link": "sigmoid",
            "classes": ["a", "b", "c"],
            "tasks": {"a": ["prompt_harm", 1]},
            "members": ["one", "two"],
            "categories": {"a": "S10", "b": "S2", "c": "S2"},
        },
    )
    bundle = EvidenceBundle({MemberLogits: evidence})
    policy = load_policy("llama-guard-3")

    judgements = category_probs(bundle, Context(task="prompt_harm", policy=policy))

    p = 1 / (1 + np.exp(-logits.astype(np.float32).astype(float)))  # (W, M, C)
    mean = p.mean(axis=1)
    assert judgements.categories is not None
    columns = dict(zip(judgements.labels, judgements.categories.T, strict=True))
    assert policy.codes == tuple(judgements.labels)
    np.testing.assert_allclose(
        columns["S10"], [max(mean[0, 0], mean[1, 0]), mean[2, 0]], atol=1e-12
    )
    np.testing.assert_allclose(
        columns["S2"], [mean[:2, 1:].max(), mean[2, 1:].max()], atol=1e-12
    )
    assert all(
        np.isnan(columns[c]).all() for c in policy.codes if c[1:] not in ("10", "2")
    )
    np.testing.assert_array_equal(
        judgements.score, mean_probs(bundle, Context(task="prompt_harm")).score
    )


def test_softmax_classes_can_be_categories_too(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Their shares of 1; a model without categories is refused with the reason."""
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))
    path = write_profile(
        tmp_path, policy="llama-guard-3", categories={"rude": "S10", "attack": "S2"}
    )
    _, evidence = judged(folder, ["poison"], "prompt_harm", profile=path)
    bundle = EvidenceBundle({MemberLogits: evidence})
    context = Context(task="prompt_harm", policy=load_policy("llama-guard-3"))

    judgements = category_probs(bundle, context)

    x = np.exp(evidence["logits"][0, 0].astype(float))
    assert judgements.categories is not None
    columns = dict(zip(judgements.labels, judgements.categories[0], strict=True))
    assert x[1] / x.sum() == pytest.approx(columns["S10"])
    assert x[2] / x.sum() == pytest.approx(columns["S2"])
    assert (x[1] + x[2]) / x.sum() == pytest.approx(
        mean_logits(bundle, context).score[0]  # type: ignore[index]
    )
    _, plain = judged(
        folder, ["poison"], "prompt_harm", profile=write_profile(tmp_path)
    )
    with pytest.raises(SafebenchError, match="no class of this model is a category"):
        category_probs(EvidenceBundle({MemberLogits: plain}), context)


def test_a_response_is_read_with_its_prompt_or_alone(tmp_path: Path) -> None:
    """As the model was trained; a document that a tool returned is a text alone."""
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("tool", "c"))
    response = Sample(id="r", turns=turns, target=1)
    document = Sample(id="d", turns=turns, target=2)

    assert ("a", "b") == context_and_text(response)
    assert ("", "b") == context_and_text(response, pairs=False)
    assert ("", "c") == context_and_text(document, pairs=False)
    model = location(tmp_path / "m", NUMBERED)
    assert read(model, profile=write_profile(tmp_path, input="pair")).pairs
    assert not read(model, profile=write_profile(tmp_path)).pairs
    assert read(location(tmp_path / "n", ["safe", "unsafe"])).pairs


@pytest.mark.slow
def test_a_padding_token_that_is_not_there_is_refused(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """The tokenizer has no end of text; a word of its vocabulary would do."""
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))

    for token in ("eos", "<|pad|>"):
        path = write_profile(tmp_path, pad_token=token)
        with pytest.raises(ModelError, match=r"no token .* \(pad_token\)"):
            BertEnsemble(EnsembleOptions(model=str(folder), profile=path))
    path = write_profile(tmp_path, pad_token="[UNK]")
    ensemble = BertEnsemble(EnsembleOptions(model=str(folder), profile=path)).ensemble
    assert "[UNK]" == ensemble.runners[0][0].tokenizer.pad_token


@pytest.mark.slow
def test_the_doctor_shows_what_a_profile_does(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Classes by index, the number that answers each task, threshold, windows."""
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))
    path = write_profile(
        tmp_path,
        threshold=0.3,
        max_length=32,
        policy="llama-guard-3",
        categories={"rude": "S10"},
        verified="by hand",
    )

    checks = list(doctor(EnsembleOptions(model=str(folder), profile=path)))

    details = {name: detail for name, _, detail in checks}
    assert {"ok"} == {status for _, status, _ in checks}
    assert "mine: three outputs; verified: by hand" == details["profile"]
    assert "fine, rude, attack; softmax" == details["classes"]
    assert "0 fine, 1 rude, 2 attack" == details["outputs"]
    assert (
        "prompt_harm = P(rude, attack); jailbreak = P(attack); positive from 0.3 on"
        == details["tasks"]
    )
    assert "llama-guard-3: rude = S10" == details["categories"]
    assert "more than 32 tokens is read in up to 32 windows" in details["texts"]
    assert "read alone" in details["texts"]


@pytest.mark.slow
def test_the_doctor_looks_at_a_profile_alone_and_at_a_task_that_is_told(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Without a model there is nothing to load; what a run notes is a warning."""
    path = write_profile(tmp_path, tasks={"jailbreak": "attack"})
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))

    alone = {n: status for n, status, _ in doctor(EnsembleOptions(profile=path))}
    told = {
        name: (status, detail)
        for name, status, detail in doctor(
            EnsembleOptions(model=str(folder), profile=path, task="injection")
        )
    }

    expected = {"profile": "ok", "classes": "ok", "tasks": "ok", "model": "warn"}
    assert expected == alone
    assert "warn" == told["outputs"][0]
    assert "read as injection" in told["outputs"][1]


def test_a_profile_names_the_model_where_the_user_does_not(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """`--set profile=NAME` alone runs a published guard; `--model` stands over it."""
    folder = make_checkpoint("three", dict(enumerate(NUMBERED)))
    path = write_profile(tmp_path, model=str(folder))

    identity = ensemble_identity(EnsembleOptions(profile=path))

    assert "three" == identity["model"]
    other = make_checkpoint("other", dict(enumerate(NUMBERED)))
    named = ensemble_identity(EnsembleOptions(profile=path, model=str(other)))
    assert "other" == named["model"]
    with pytest.raises(ModelError, match="no model of its own"):
        ensemble_identity(EnsembleOptions(profile=write_profile(tmp_path)))


@pytest.mark.parametrize("name", sorted(shipped_profiles()))
def test_a_preset_is_for_the_model_that_it_names(name: str) -> None:
    """The hub id that it would load fits its own patterns, and no other preset's."""
    profile = shipped_profiles()[name]

    found = matching_profiles(
        [profile.model], profile.match.architectures, profile.classes
    )

    assert [name] == list(found)
