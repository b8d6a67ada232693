"""Model files and identity: folders, the hub cache, hashes, and one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from safebench.errors import ModelError, OptionError, UnknownNameError
from safebench.torch_utils import ModelFolder
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.model import model_files
from safebench_llamaguard_marginal.model.model_files import (
    is_embedded,
    locate_model,
    weight_files,
)
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use caches in a temporary folder, and no network."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def fake(folder: Path, weights: bytes = b"w", **files: str) -> Path:
    """Write a folder that looks like a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def stored(tmp_path: Path, name: str = "acme/guard-7b") -> Path:
    """Write a model into the hub cache."""
    root = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    fake(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return root


def test_a_folder_is_found_by_path(tmp_path: Path) -> None:
    """A folder's name is the model's."""
    folder = fake(tmp_path / "my-guard")

    located = locate_model(str(folder))

    assert (folder, "my-guard", "") == (located.folder, located.label, located.commit)


def test_an_adapter_that_a_gate_did_not_accept_is_named(tmp_path: Path) -> None:
    """It lies in a folder of the training's."""
    learnt = tmp_path / "improved" / "trained"
    learnt.mkdir(parents=True)
    (learnt / "adapter_config.json").write_text("{}")

    with pytest.raises(ModelError, match=r"did not accept lies in .*trained"):
        locate_model(str(learnt.parent), kind="adapter")


def test_a_stored_hub_model_is_found_offline(tmp_path: Path) -> None:
    """The main branch and the commit itself both lead to the snapshot."""
    root = stored(tmp_path)

    for revision in ("", "main", COMMIT):
        located = locate_model("acme/guard-7b", revision)
        assert root / "snapshots" / COMMIT == located.folder
        assert ("acme/guard-7b", COMMIT) == (located.label, located.commit)


def _one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    assert "\n" not in error.value.message
    assert 2 == error.value.exit_code
    return error.value.message


def test_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt folder is answered with the one beside it."""
    fake(tmp_path / "llama-guard-tiny")

    with pytest.raises(ModelError) as error:
        locate_model(str(tmp_path / "lama-guard-tiny"))

    message = _one_line(error)
    assert str(tmp_path / "lama-guard-tiny") in message
    assert message.endswith("no such folder; did you mean 'llama-guard-tiny'?")


def test_hub_model_while_offline(tmp_path: Path) -> None:
    """What was looked for, where, why it was not fetched, and what is there."""
    stored(tmp_path)

    with pytest.raises(ModelError) as error:
        locate_model("acme/gaurd-7b")

    message = _one_line(error)
    assert "'acme/gaurd-7b'" in message
    assert str(tmp_path / "hub") in message
    assert "HF_HUB_OFFLINE is set" in message
    assert message.endswith("did you mean 'acme/guard-7b'?")


def test_hub_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A failed download is one line with the client's reason."""

    def unreachable(name: str, revision: str, **_: str) -> Path:
        raise OSError("Got: ConnectError: no route\nmore about it")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(ModelFolder, "download", unreachable)

    with pytest.raises(ModelError) as error:
        locate_model("acme/guard-7b")

    assert "the hub did not give it: Got: ConnectError: no route" in _one_line(error)


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    """No configuration, no weights, an adapter alone, a missing shard: each is said."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    sharded = fake(tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    (sharded / "model-1.safetensors").write_bytes(b"")
    message = {}
    for name in ("empty", "bare", "lora", "sharded"):
        with pytest.raises(ModelError) as error:
            locate_model(str(tmp_path / name))
        message[name] = _one_line(error)

    assert "no config.json in" in message["empty"]
    assert "no weights in" in message["bare"]
    assert "name its base model and add adapter=FOLDER" in message["lora"]
    assert "1 of 2 shards are missing, first model-2.safetensors" in message["sharded"]


def test_interrupted_download_is_not_a_model(tmp_path: Path) -> None:
    """A snapshot without its weights counts as not stored."""
    root = stored(tmp_path)
    (root / "snapshots" / COMMIT / "model.safetensors").unlink()

    with pytest.raises(ModelError, match="downloads are off"):
        locate_model("acme/guard-7b")


def test_shards_are_listed_in_order(tmp_path: Path) -> None:
    """An index names all weight files, each once."""
    folder = fake(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    names = {"a": "b.safetensors", "b": "a.safetensors", "c": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": names})
    )
    for name in set(names.values()):
        (folder / name).write_bytes(b"")

    located = [path.name for path in weight_files(folder)]

    assert ["a.safetensors", "b.safetensors"] == located


def test_identity_changes_with_everything_that_matters(tmp_path: Path) -> None:
    """Weights, template, adapter, policy and record options; not the folder's place."""
    base = model_identity(GuardOptions(model=str(fake(tmp_path / "a" / "guard"))))
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"1")

    def of(name: str, **options: object) -> dict[str, object]:
        folder = tmp_path / name / "guard"
        return model_identity(GuardOptions(model=str(folder), **options))  # type: ignore[arg-type]

    fake(tmp_path / "b" / "guard")
    fake(tmp_path / "c" / "guard", weights=b"v")
    fake(tmp_path / "d" / "guard", tokenizer_config="{}")

    assert base == of("b")
    assert base == of("b", device="cpu")
    assert base["weights"] != of("c")["weights"]
    assert base["weights"] != of("d")["weights"]
    assert "guard + lora" == of("b", adapter=str(adapter))["model"]
    assert base["adapter"] != of("b", adapter=str(adapter))["adapter"]
    assert base["policy"] != of("b", policy="llama-guard-2")["policy"]
    assert base["record"] != of("b", eps=0.01)["record"]
    assert json.loads(json.dumps(base)) == base


def test_hub_models_are_known_by_commit(tmp_path: Path) -> None:
    """A snapshot's commit stands for its files, which are not read."""
    stored(tmp_path)

    located = model_identity(GuardOptions(model="acme/guard-7b"))

    assert f"acme/guard-7b@{COMMIT}" == located["weights"]
    assert (COMMIT, "acme/guard-7b") == (located["revision"], located["model"])


def test_unknown_policy_is_named(tmp_path: Path) -> None:
    """A policy that does not exist is the user's mistake."""
    model = str(fake(tmp_path / "guard"))

    with pytest.raises(UnknownNameError, match="did you mean 'llama-guard-3'"):
        model_identity(GuardOptions(model=model, policy="llamaguard3"))


@pytest.mark.parametrize(
    "wrong", [{"eps": 1.0}, {"eps": -0.1}, {"max_nodes": 0}, {"max_length": -1}]
)
def test_options_out_of_range(wrong: dict[str, float]) -> None:
    """Values that make no tree are refused when given."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        GuardOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_declaring_and_identifying_import_nothing_heavy(tmp_path: Path) -> None:
    """Neither the plugin's declaration nor a model's identity imports its libraries."""
    model = fake(tmp_path / "guard")
    code = (
        "import sys\n"
        "import safebench_llamaguard_marginal.plugin as plugin\n"
        "plugin.safebench_classifiers(), plugin.safebench_strategies()\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from safebench_llamaguard_marginal.identity import model_identity\n"
        "from safebench_llamaguard_marginal.options import GuardOptions\n"
        f"model_identity(GuardOptions(model={str(model)!r}))\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_guards_of_the_package_go_by_their_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first is also the default; a second one is found where its files lie."""
    package = tmp_path / "package"
    first, second = fake(package / "tiny_guard"), fake(package / "tiny_guard_2")
    fake(package / "other")
    monkeypatch.setattr(model_files, "_PACKAGE", package)
    monkeypatch.chdir(tmp_path)

    found = [locate_model(name) for name in ("", "tiny-guard", "tiny-guard-2")]

    assert [first, first, second] == [model.folder for model in found]
    labels = ["tiny-guard (embedded)"] * 2 + ["tiny-guard-2 (embedded)"]
    assert labels == [model.label for model in found]
    assert all(map(is_embedded, found))
    assert not is_embedded(locate_model(str(package / "other")))


def test_a_folder_with_the_name_of_a_packaged_guard_is_not_mixed_up_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bare name would be either; with a path it is the folder."""
    fake(tmp_path / "tiny-guard")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError, match=r"\./tiny-guard is the folder"):
        locate_model("tiny-guard")
    located = locate_model("./tiny-guard")

    assert located.label == "tiny-guard"
    assert not is_embedded(located)


def test_a_misspelt_guard_of_the_package_is_suggested(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name is among those that could be meant."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError, match="did you mean 'tiny-guard'"):
        locate_model("tiny-gaurd")
