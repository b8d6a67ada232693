"""What of a cost model is shared, and under which base others load it."""

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

    from safebench.training.sharing import SharedFiles


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return two adapters on a base in a folder of this machine."""
    base = tmp_path / "bases" / "tiny"
    out = tmp_path / "mine"
    for member in ("member-1", "member-2"):
        adapter = out / member / "adapter"
        adapter.mkdir(parents=True)
        for name in ("adapter_model.safetensors", "tokenizer.json", "README.md"):
            (adapter / name).write_text("{}")
        config = {"r": 8, "base_model_name_or_path": str(base)}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        (adapter / "member.json").write_text('{"costs": {"val": [[0.5]]}}')
    manifest = {
        "kind": "cost_model",
        "trainer": "cost_model",
        "status": "done",
        "files": "adapter",
        "members": 2,
        "base": {"name": "tiny", "folder": str(base), "revision": ""},
        "train_args": {"base": str(base)},
    }
    Artifact(out).write(manifest)
    return out


def select(folder: Path, plugins: Plugins, **options: Any) -> SharedFiles:
    """Return what would be shared."""
    artifact = Artifact(folder).describe(plugins)
    return select_files(artifact, plugins, "org/cost", **options)


def text_of(selection: SharedFiles, name: str) -> str:
    """Return a file as it is shared."""
    (file,) = (file for file in selection.files if file.name == name)
    is_new = isinstance(file.source, bytes)
    return (file.source if is_new else file.source.read_bytes()).decode()


def test_adapters_need_a_base_that_others_find(folder: Path, plugins: Plugins) -> None:
    """A folder of this machine is none; what replaces it stands in all files."""
    with pytest.raises(ModelError, match="--base ORG/NAME says where others find it"):
        select(folder, plugins)

    shared = select(folder, plugins, base="org/tiny")

    adapter = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
    files = {f"member-{i}/adapter/{name}" for i in (1, 2) for name in adapter}
    assert files | {"README.md", "safebench.json"} == {f.name for f in shared.files}
    kept = {
        f"member-{i}/adapter/{n}" for i in (1, 2) for n in ("README.md", "member.json")
    }
    assert kept == set(shared.kept)
    manifest = json.loads(text_of(shared, "safebench.json"))
    assert ("org/tiny", "") == (manifest["base"]["name"], manifest["base"]["folder"])
    config = json.loads(text_of(shared, "member-2/adapter/adapter_config.json"))
    assert {"r": 8, "base_model_name_or_path": "org/tiny"} == config
    assert "- org/tiny" in text_of(shared, "README.md")  # of the front matter
    assert not [
        f for f in shared.files if str(folder.parent) in text_of(shared, f.name)
    ]


def test_a_base_of_the_supervised_stage_comes_along(
    folder: Path, plugins: Plugins
) -> None:
    """Nobody else has it."""
    (folder / "sft").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / "sft" / name).write_text("{}")
    manifest = Artifact(folder).manifest()
    base = {"name": "sft", "folder": "", "revision": ""}
    Artifact(folder).write(manifest | {"base": base, "sft_base": {"name": "org/x"}})

    shared = select(folder, plugins)

    assert {"sft/config.json", "sft/model.safetensors", "sft/tokenizer.json"} <= {
        file.name for file in shared.files
    }
    assert "- org/x" in text_of(shared, "README.md")
