"""Upload of an artifact to the Hugging Face hub, in one commit or not at all.

Files that an interrupted upload left there are not sent again, and no commit shows half
an artifact.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .sharing import SharedFile

MAIN = "main"
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_BRANCH = re.compile(r"[\w.][\w.-]*(/[\w.][\w.-]*)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_NAME = 96
_MADE_BY_HUB = (".gitattributes", ".gitignore")
_GIT_DIGITS = 40  # of SHA-1, against 64 of the SHA-256 that large files have
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_REASONS = {
    401: "it does not know the token",
    403: "the token may not write there",
    404: "there is no such place, or the token may not see it",
    409: "something of that name is there",
    413: "a file is too large",
    429: "too many requests; wait some minutes and push again",
}


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where an artifact is now: address and commit; `changed` False: it was there."""

    url: str
    commit: str
    changed: bool


def check_repo_name(name: str) -> None:
    """Raise `OptionError` for what is no ORG/NAME of the hub."""
    org, _, short = name.partition("/")
    valid = _NAME.fullmatch(name) and len(name) <= _MAX_NAME
    # The hub takes neither, since git and addresses read them in their own ways.
    clean = all(
        not part.startswith((".", "-"))
        and not part.endswith((".", "-", ".git"))
        and "--" not in part
        and ".." not in part
        for part in (org, short)
    )
    if not valid or not clean:
        raise OptionError(
            f"{name!r} is no name on the hub: ORG/NAME, of letters, digits, '-', '_' "
            f"and '.', at most {_MAX_NAME} of them"
        )


def check_branch(name: str) -> None:
    """Raise `OptionError` for what no branch can be called, and for a commit."""
    if not _BRANCH.fullmatch(name) or ".." in name or _COMMIT.fullmatch(name):
        raise OptionError(
            f"--revision {name!r} is no name of a branch: letters, digits, '-', '_', "
            "'.' and '/'; a commit is made by the push"
        )


class HubUpload:
    """A repository of models on the hub that an artifact is pushed to.

    Raises `ModelError` in one line without a token, and where the hub refuses.
    """

    def __init__(self, name: str, revision: str, say: Callable[[str], None]) -> None:
        import huggingface_hub

        check_repo_name(name)
        self.name, self.revision, self.say = name, revision or MAIN, say
        if off := next(filter(os.environ.get, _OFFLINE), None):
            raise ModelError(f"{off} is set: nothing can be pushed; unset it")
        if not huggingface_hub.get_token():
            raise ModelError(
                "no token of the hub: `hf auth login` stores one, or HF_TOKEN holds "
                "one; it needs the right to write"
            )
        self.api: Any = huggingface_hub.HfApi()

    def push(
        self, files: Sequence[SharedFile], *, public: bool, update: bool
    ) -> Pushed:
        """Make the repository if need be, and leave it with exactly these files.

        Raises `OptionError` for one with other content (unless `update`), and for one
        that is public where `public` was not said, or private where it was.
        """
        with _refusals(self.name):
            info = self._repository()
            if info is None:
                self.api.create_repo(self.name, private=not public)
                there: dict[str, str] = {}
            else:
                self._check_visibility(info, public=public)
                there = self._files_there()
            return self._commit(files, there, update=update)

    def _repository(self) -> Any:
        """Return what the hub says of the repository, None if there is none."""
        import huggingface_hub.errors

        try:
            return self.api.model_info(self.name)
        except huggingface_hub.errors.RepositoryNotFoundError:
            return None

    def _check_visibility(self, info: Any, *, public: bool) -> None:
        if not info.private and not public:
            raise OptionError(
                f"{self.name} is public on the hub: --public says that this may be, "
                "too; or name another"
            )
        if info.private and public:
            raise OptionError(
                f"{self.name} is private on the hub, and a push does not change that: "
                "leave --public out, and open it in its settings there"
            )

    def _files_there(self) -> dict[str, str]:
        """Return the hash of each file of the branch, empty for a new branch."""
        import huggingface_hub
        import huggingface_hub.errors

        try:
            tree = list(
                self.api.list_repo_tree(
                    self.name, recursive=True, revision=self.revision
                )
            )
        except huggingface_hub.errors.RevisionNotFoundError:
            return {}
        return {
            entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in tree
            if isinstance(entry, huggingface_hub.RepoFile)
            and entry.path not in _MADE_BY_HUB
        }

    def _commit(
        self, files: Sequence[SharedFile], there: dict[str, str], *, update: bool
    ) -> Pushed:
        import huggingface_hub

        url = f"{self.api.endpoint}/{self.name}"
        differing = [f for f in files if not _is_there(f, there.get(f.name))]
        surplus = sorted(there.keys() - {file.name for file in files})
        if not differing and not surplus:
            commit = self.api.model_info(self.name, revision=self.revision).sha
            return Pushed(url, commit, changed=False)
        if there and not update:
            other = (surplus or [file.name for file in differing])[0]
            raise OptionError(
                f"{self.name} holds other content on the hub, such as {other}: "
                "--update replaces it, or name another"
            )
        if self.revision != MAIN:
            self.api.create_branch(self.name, branch=self.revision, exist_ok=True)
        operations: list[Any] = [
            huggingface_hub.CommitOperationAdd(file.name, file.source)
            for file in differing
        ]
        operations += [huggingface_hub.CommitOperationDelete(n) for n in surplus]
        self.say(f"{len(differing)} files to send, {len(surplus)} to remove there")
        done = self.api.create_commit(
            self.name,
            operations,
            commit_message="Artifact of safebench",
            revision=self.revision,
        )
        return Pushed(url, done.oid, changed=True)


def _is_there(file: SharedFile, stored: str | None) -> bool:
    """Tell whether the hub has a file: by its SHA-256, or by git's hash of a blob."""
    if stored is None:
        return False
    if isinstance(file.source, bytes):
        data = file.source
    else:
        data = file.source.read_bytes() if len(stored) == _GIT_DIGITS else b""
    if len(stored) == _GIT_DIGITS:
        header = f"blob {len(data)}\0".encode()
        return hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == stored
    if isinstance(file.source, bytes):
        return hashlib.sha256(data).hexdigest() == stored
    with file.source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == stored


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn what the client raises into one line."""
    import huggingface_hub.errors

    errors: Any = huggingface_hub.errors
    try:
        yield
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        reason = _REASONS.get(code) or " ".join(str(error).split())[:200]
        raise ModelError(f"the hub refused {name} ({code}): {reason}") from error
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ModelError(
            f"{name} was not pushed: {reason}; the same command goes on"
        ) from error
