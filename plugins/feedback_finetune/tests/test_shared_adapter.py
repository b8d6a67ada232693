"""What of a feedback training is shared: an adapter that its gate let pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench import Plugins
from safebench.errors import ModelError
from safebench.training import Artifact
from safebench.training.sharing import select_files

if TYPE_CHECKING:
    from pathlib import Path

TERMS = {"cap": 0.2, "tolerance": 0.02, "delta": 0.05}
GATE = {
    "status": "passed",
    "candidate": {"alpha": 0.5, "threshold": 0.25},
    "terms": TERMS,
    "reasons": [],
    "n_benign": 500,
    "fpr": 0.1,
    "fpr_ucb": 0.125,
    "n_harmful": 60,
    "gained": 5,
    "lost": 1,
    "recall_change": 0.066,
    "recall_change_lcb": -0.01,
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


def training(folder: Path, *, whole: bool, **gate: Any) -> Path:
    """Write the folder of a training, with a scaled adapter if it is `whole`."""
    adapter = ("adapter_config.json", "adapter_model.safetensors")
    names = [f"trained/{name}" for name in (*adapter, "learned.json")]
    names += [*(adapter if whole else ()), "promise.json"]
    (folder / "trained").mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    for name in ("parts.jsonl", "test.jsonl", "results.jsonl"):
        (folder / name).write_text('{"text": "a prompt"}\n')
    entry = {"value": 0.5, "low": 0.4, "high": 0.6, "method": "mid-p"}
    sets = [{"name": "xstest", "task": "prompt_harm", "n": 99,
             "contenders": {"improved": {"f1": entry, "flagged": 3}}}]  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps({"sets": sets}))
    manifest = {
        "kind": "llamaguard",
        "trainer": "feedback_finetune",
        "status": "done",
        "identity": {
            "guard": {"model": "org/guard", "policy": "llama-guard-3@1:ab"},
            "options": {"epochs": 1.0, "benign": ["toxic_chat"]},
        },
        "base_guard": "org/guard",
        "collected": {
            "sources": [{"name": "beavertails:train", "rows": 60}],
            "judge": {
                "label": "cost/words",
                "calibrated_on": [{"name": "diasafety:validation", "rows": 40}],
                "quality": [
                    {"dataset": "a", "n": 9, "auroc": 0.7, "low": 0.6, "high": 0.8},
                    {"dataset": "b", "n": 0, "auroc": None},
                ],
            },
        },
        "benign": [{"name": "toxic_chat:train", "prompts": 90}],
        "parts": {"train": {"collected": 24}},
        "gate": {**GATE, **gate},
        "alarms": ["nothing is flagged"],
        "files": {"test.jsonl": "0" * 16, "promise.json": "1" * 16},
    }
    Artifact(folder).write(manifest)
    return folder


def shared_texts(folder: Path, plugins: Plugins, **options: Any) -> dict[str, str]:
    """Return the shared files of text by name."""
    artifact = Artifact(folder).describe(plugins)
    selection = select_files(artifact, plugins, "org/adapter", **options)
    return {
        file.name: (
            file.source if isinstance(file.source, bytes) else file.source.read_bytes()
        ).decode()
        for file in selection.files
    }


def test_a_certified_adapter_is_shared_without_its_prompts(
    tmp_path: Path, plugins: Plugins
) -> None:
    """The card says what was promised and kept, and how it is run."""
    files = shared_texts(training(tmp_path / "x", whole=True), plugins)

    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    numbers = {"promise.json", "trained/learned.json"}
    assert adapter | numbers | {"README.md", "safebench.json"} == files.keys()
    assert ["promise.json"] == list(json.loads(files["safebench.json"])["files"])
    assert not [name for name, text in files.items() if "a prompt" in text]
    card = files["README.md"]
    assert "a false-positive rate of at most 0.200" in card
    assert "false-positive rate 0.100, at most 0.125, on 500 harmless" in card
    assert "recall changed by +0.066, at least -0.010, on 60 harmful" in card
    assert (
        "| xstest (prompt_harm) | improved | f1 | 0.500 | [0.400, 0.600] | 99 |" in card
    )
    assert "- responses were judged by cost/words" in card
    assert "AUROC of the judge on a: 0.700 [0.600, 0.800] on 9 responses" in card
    assert "quality of the judge on b: unknown (0 labelled responses)" in card
    assert "| diasafety | thu-coai/diasafety | validation | judge | 40 |" in card
    assert "alarm of its training: nothing is flagged" in card
    assert "--model org/guard --adapter org/adapter" in card
    assert "-s first_token,threshold=0.25" in card
    assert "license: unknown" in card  # of the base nothing is known
    assert "the strictest that is known is cc-by-nc-4.0" in card


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ({"status": "rejected", "reasons": ["recall: lower"]}, "its gate rejected it"),
        (
            {"candidate": {"alpha": 0.0, "threshold": 0.5}},
            "nothing that was learnt did",
        ),
    ],
    ids=["rejected", "base"],
)
def test_what_its_gate_did_not_let_pass_is_not_shared_by_default(
    gate: dict[str, Any], why: str, tmp_path: Path, plugins: Plugins
) -> None:
    """With the flag its card begins with that, and shows no command to run it."""
    folder = training(tmp_path / "x", whole=False, **gate)
    with pytest.raises(ModelError, match=why):
        shared_texts(folder, plugins)

    files = shared_texts(folder, plugins, allow_rejected=True)

    assert "trained/adapter_model.safetensors" in files
    assert f"**Not for use: {why}" in files["README.md"]
    assert "safebench run" not in files["README.md"]
    for reason in gate.get("reasons", ()):
        assert f"why it was rejected: {reason}" in files["README.md"]
