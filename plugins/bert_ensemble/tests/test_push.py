"""What is pushed to a hub is what loading needs, and loads from there by its name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from click.testing import CliRunner

from safebench import Plugins
from safebench.cli import cli
from safebench.errors import ModelError
from safebench.testing.hub_server import hub_server
from safebench.training import Artifact
from safebench_bert_ensemble.model.identity import ensemble_identity
from safebench_bert_ensemble.model.location import find_baseline, find_ensemble
from safebench_bert_ensemble.options import EnsembleOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from safebench.testing.hub_server import HubServer

# Of the HTTP library, about how the hub's client calls it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content")
NAME = "my-org/guard"
TOKEN = "hf_" + "x" * 30
FILES = {
    "README.md",
    *(
        f"member-0{i}/{name}"
        for i in (1, 2)
        for name in ("config.json", "model.safetensors")
    ),
    *("safebench.json", "tokenizer.json", "tokenizer_config.json"),
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Yield a hub in place of the public one, with an empty cache."""
    constants = huggingface_hub.constants
    with hub_server(TOKEN) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def artifact(ensemble_folder: Path, tmp_path: Path) -> Path:
    """Return a finished ensemble that knows of this machine."""
    folder = shutil.copytree(ensemble_folder, tmp_path / "mine")
    manifest = json.loads((folder / "safebench.json").read_text())
    manifest |= {
        "trainer": "bert_ensemble",
        "base": ["tiny"],
        "revision": [""],
        "train_args": {"base": str(tmp_path / "bases" / "tiny"), "seed": 0},
        "commands": [["safebench", "train", "bert_ensemble", "--out", str(folder)]],
        "dataset": {"sources": [{"name": "xstest", "part": "train", "rows": 9}]},
    }
    Artifact(folder).write(manifest)
    config = folder / "member-01" / "config.json"
    content = json.loads(config.read_text()) | {"_name_or_path": str(tmp_path / "tiny")}
    config.write_text(json.dumps(content))
    (folder / "checkpoint-member-03").mkdir()
    (folder / "checkpoint-member-03" / "optimizer.pt").write_bytes(b"state")
    (folder / "predictions.jsonl").write_text('{"prompt": "secret"}\n')
    (folder / ".lock").write_bytes(b"")
    return folder


@pytest.fixture
def push(plugins: Plugins, artifact: Path) -> Callable[..., Result]:
    """Return what pushes the artifact, with flags."""

    def pushed(*flags: str, name: str = NAME) -> Result:
        words = ["push", str(artifact), name, *flags]
        return CliRunner().invoke(cli, words, obj=plugins)

    return pushed


def test_a_dry_run_lists_and_sends_nothing(
    hub: HubServer, push: Callable[..., Result]
) -> None:
    """Every file with its size, and what stays here."""
    result = push("--dry-run")

    assert 0 == result.exit_code, result.output
    assert [] == hub.requests
    listed = {
        line.split()[0] for line in result.output.splitlines() if line[:2] == "  "
    }
    assert FILES == listed
    assert "checkpoint-member-03/optimizer.pt, predictions.jsonl" in result.output


@pytest.mark.slow
def test_what_is_pushed_is_private_and_loads_by_its_name(
    hub: HubServer, push: Callable[..., Result], artifact: Path, tmp_path: Path
) -> None:
    """Nothing else is there, no path of this machine, and the members are the same."""
    result = push()

    assert 0 == result.exit_code, result.output
    repo = hub.repos[NAME]
    assert repo.private
    files = repo.files("main")
    assert files is not None
    assert FILES == files.keys() - {".gitattributes"}
    small = b"".join(data for name, data in files.items() if "tensors" not in name)
    assert str(tmp_path).encode() not in small
    location = find_ensemble(NAME, repo.heads["main"])
    assert (NAME, repo.heads["main"]) == (location.label, location.commit)
    here, there = (
        ensemble_identity(EnsembleOptions(model=name)) for name in (str(artifact), NAME)
    )
    assert f"{NAME}@{repo.heads['main']}" == there["weights"]
    assert here["record"] == there["record"]
    for member, path in zip(("member-01", "member-02"), location.members, strict=True):
        weights = (artifact / member / "model.safetensors").read_bytes()
        assert weights == (path / "model.safetensors").read_bytes()


def test_the_card_is_what_the_hub_reads(
    hub: HubServer, push: Callable[..., Result]
) -> None:
    """Its front matter parses, names the data, and says the strictest licence."""
    push()

    files = hub.repos[NAME].files("main") or {}
    card: Any = huggingface_hub.ModelCard(files["README.md"].decode())
    assert "unknown" == card.data.license  # of the base nothing is known
    assert ["walledai/XSTest"] == card.data.datasets
    assert f"--model {NAME}" in card.text
    assert "safebench train bert_ensemble --out mine" in card.text


def test_pushed_again_it_is_there_already(
    hub: HubServer, push: Callable[..., Result]
) -> None:
    """No second commit of the same content."""
    push()
    again = push()

    assert 0 == again.exit_code
    assert "it is there already" in again.output
    assert 1 == hub.requests.count("commit")


@pytest.mark.slow
def test_other_content_is_replaced_only_by_update(
    hub: HubServer, push: Callable[..., Result], artifact: Path
) -> None:
    """And then what is not of the artifact is gone."""
    push()
    head = hub.repos[NAME].heads["main"]
    files = {**(hub.repos[NAME].files(head) or {}), "member-09/config.json": b"{}"}
    hub.repos[NAME].add_commit("main", files)

    refused, updated = push(), push("--update")

    assert 2 == refused.exit_code
    assert "holds other content on the hub, such as member-09/config" in refused.output
    assert 0 == updated.exit_code, updated.output
    assert FILES == (hub.repos[NAME].files("main") or {}).keys() - {".gitattributes"}


@pytest.mark.slow
def test_an_interrupted_push_goes_on(
    hub: HubServer, push: Callable[..., Result]
) -> None:
    """What failed at the commit shows nothing; large files are not sent again."""
    hub.refuse["commit"] = 403
    failed = push()
    sent = hub.requests.count("lfs_put")
    assert [".gitattributes"] == list(hub.repos[NAME].files("main") or {})
    hub.refuse.clear()
    done = push()

    assert 2 == failed.exit_code
    assert f"the hub refused {NAME} (403): the token may not write" in failed.output
    assert sent == hub.requests.count("lfs_put") > 0
    assert 0 == done.exit_code, done.output


@pytest.mark.slow
def test_a_branch_leaves_main_as_it_was(
    hub: HubServer, push: Callable[..., Result]
) -> None:
    """And is loaded by its name."""
    result = push("--revision", "trial")

    assert 0 == result.exit_code, result.output
    repo = hub.repos[NAME]
    assert [".gitattributes"] == list(repo.files("main") or {})
    assert repo.heads["trial"] == find_ensemble(NAME, "trial").commit


@pytest.mark.parametrize("branch", ["a b", "a..b", "-a", "a/", "0" * 40])
def test_a_branch_that_is_none_is_refused(
    hub: HubServer, push: Callable[..., Result], branch: str
) -> None:
    """Before anything is sent; a commit is none either."""
    result = push("--revision", branch)

    assert 2 == result.exit_code
    assert "is no name of a branch" in result.output
    assert [] == hub.requests


@pytest.mark.parametrize(
    ("private", "flag"),
    [(False, ()), (False, ("--private",)), (True, ("--public",))],
)
def test_who_may_see_it_is_not_changed_by_a_push(
    hub: HubServer, push: Callable[..., Result], private: bool, flag: tuple[str, ...]
) -> None:
    """A public repository needs --public, and a private one does not become public."""
    push(*(() if private else ("--public",)))
    assert private is hub.repos[NAME].private

    result = push(*flag)

    assert 2 == result.exit_code
    assert ("is private" if private else "is public") in result.output


def test_without_a_token_nothing_is_tried(
    hub: HubServer, push: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says how to get one; a wrong one is told apart."""
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    wrong = push()
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    none = push()

    assert "(401): it does not know the token" in wrong.output
    assert "no token of the hub" in none.output
    assert {2} == {wrong.exit_code, none.exit_code}
    assert {} == hub.repos


@pytest.mark.parametrize(
    "name", ["guard", "a/b/c", "a/b c", "-a/b", "a/b.git", "a/..", "a/" + "b" * 96]
)
def test_names_that_are_none_are_refused(
    hub: HubServer, push: Callable[..., Result], name: str
) -> None:
    """Before anything is sent."""
    result = push("--", name=name)

    assert 2 == result.exit_code
    assert [] == hub.requests


def test_members_of_a_stranger_lie_in_its_folder(artifact: Path) -> None:
    """A manifest that names others would have them read from this machine."""
    manifest = Artifact(artifact).manifest()
    manifest["members"] = [{"path": "../mine/member-01"}]
    Artifact(artifact).write(manifest)

    with pytest.raises(ModelError, match="names members outside of its folder"):
        find_ensemble(str(artifact))


def test_an_unknown_file_stops_a_push(
    hub: HubServer, push: Callable[..., Result], artifact: Path
) -> None:
    """Whatever lies in the folder is not shared because it lies there."""
    (artifact / "notes.txt").write_text("who wrote this prompt")
    unknown = push()
    (artifact / "notes.txt").unlink()
    (artifact / "vocab.txt").symlink_to("/etc/hostname")
    link = push()

    assert "not shared unseen: notes.txt" in " ".join(unknown.output.split())
    assert "not shared unseen: vocab.txt" in " ".join(link.output.split())
    assert [] == hub.requests


@pytest.mark.parametrize(
    ("text", "why"),
    [(f"my token is {TOKEN}", "token"), ("see /home/me/data/prompts.csv", "a path")],
)
def test_a_card_gives_nothing_away(
    hub: HubServer,
    push: Callable[..., Result],
    plugins: Plugins,
    artifact: Path,
    text: str,
    why: str,
) -> None:
    """What its user wrote between the marks is read before it is sent."""
    CliRunner().invoke(cli, ["card", str(artifact)], obj=plugins)
    path = artifact / "README.md"
    mark = "<!-- yours: begin notes -->\n"
    path.write_text(path.read_text().replace(mark, f"{mark}{text}\n"))

    result = push()

    assert 2 == result.exit_code
    assert "README.md" in result.output
    assert why in result.output
    assert [] == hub.requests


def test_a_baseline_loads_by_its_name(
    hub: HubServer, plugins: Plugins, tmp_path: Path
) -> None:
    """Its arrays come along, and it is told that its words are those of the texts."""
    folder = tmp_path / "words"
    folder.mkdir()
    for name in ("vocabulary.json", "weights.npz"):
        (folder / name).write_bytes(b"[]")
    manifest = {"kind": "tfidf", "trainer": "bert_ensemble", "status": "done"}
    Artifact(folder).write(manifest)

    words = ["push", str(folder), NAME]
    result: Any = CliRunner().invoke(cli, words, obj=plugins)

    assert 0 == result.exit_code, result.output
    assert "holds words of the training texts" in result.output
    location = find_baseline(NAME, "tfidf", "tfidf")
    assert NAME == location.label
    assert (location.root / "weights.npz").read_bytes() == b"[]"
