"""A Hugging Face hub of one process, for tests: what the client calls, and no more.

Repositories of models with branches and commits, large files by their SHA-256, and
downloads. Routes and answers are those that huggingface_hub asks for and reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_LARGE = (".safetensors", ".npz", ".bin")
_ROUTES = (
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("GET", rf"/api/models/{_REPO}(/revision/(?P<rev>[^/]+))?", "info"),
    ("GET", rf"/api/models/{_REPO}/tree/(?P<rev>[^/]+)", "tree"),
    ("POST", rf"/api/models/{_REPO}/branch/(?P<rev>[^/]+)", "branch"),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<rev>[^/]+)", "preupload"),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<rev>[^/]+)", "commit"),
    ("HEAD", rf"/{_REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
    ("GET", rf"/{_REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
)


@dataclass(slots=True)
class StoredRepo:
    """A repository: the head of each branch, and the files of each commit."""

    private: bool
    heads: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def files(self, revision: str) -> dict[str, bytes] | None:
        """Return the files of a branch or commit, None if there is no such one."""
        return self.commits.get(self.heads.get(revision, revision))

    def add_commit(self, branch: str, files: dict[str, bytes]) -> str:
        """Let a branch have these files; returns the commit."""
        content = [(name, _sha256(data)) for name, data in sorted(files.items())]
        text = json.dumps([len(self.commits), branch, content])
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        self.heads[branch] = commit
        return commit


@dataclass(slots=True)
class HubServer:
    """The hub's state: repositories, large files, requests so far, and its address.

    `refuse` maps the name of a route to the status with which it answers.
    """

    token: str
    address: str = ""
    repos: dict[str, StoredRepo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)


@contextmanager
def hub_server(token: str) -> Iterator[HubServer]:
    """Yield a hub that lets the bearer of `token` do everything, and nobody else."""
    hub = HubServer(token)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        for method, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                self.hub.requests.append(name)
                self._route(name, found.groupdict(), body)
                return
        self._send(404, {"error": f"no route {self.command} {path}"})

    def _route(self, name: str, parts: dict[str, str], body: bytes) -> None:
        if name in self.hub.refuse:
            self._send(self.hub.refuse[name], {"error": "refused"})
            return
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if not known and name not in ("lfs_put", "validate"):  # which need no token
            self._send(401, {"error": "Invalid username or password."})
            return
        route: Callable[[dict[str, str], bytes], None] = getattr(self, f"_{name}")
        repo = parts.get("repo")
        if repo is not None and repo not in self.hub.repos:
            self._send(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
            return
        route(parts, body)

    def _send(
        self, status: int, content: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _create(self, _: dict[str, str], body: bytes) -> None:
        asked = json.loads(body)
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        if name in self.hub.repos:
            self._send(409, {"error": "You already created this model repo"})
            return
        repo = StoredRepo(private=asked.get("visibility") == "private")
        repo.add_commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.hub.repos[name] = repo
        self._send(200, {"url": f"{self.hub.address}/{name}", "name": name})

    def _validate(self, _: dict[str, str], body: bytes) -> None:
        content = json.loads(body)["content"]
        valid = content.startswith("---\n")
        problem = [] if valid else [{"message": "no front matter"}]
        self._send(200 if valid else 400, {"errors": problem, "warnings": []})

    def _info(self, parts: dict[str, str], _: bytes) -> None:
        repo = self.hub.repos[parts["repo"]]
        revision = parts.get("rev") or "main"
        files = repo.files(revision)
        if files is None:
            self._no_revision()
            return
        self._send(
            200,
            {
                "id": parts["repo"],
                "modelId": parts["repo"],
                "sha": repo.heads.get(revision, revision),
                "private": repo.private,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in sorted(files)],
            },
        )

    def _tree(self, parts: dict[str, str], _: bytes) -> None:
        files = self.hub.repos[parts["repo"]].files(parts["rev"])
        if files is None:
            self._no_revision()
            return
        self._send(200, [_tree_entry(*file) for file in sorted(files.items())])

    def _no_revision(self) -> None:
        self._send(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})

    def _branch(self, parts: dict[str, str], _: bytes) -> None:
        repo = self.hub.repos[parts["repo"]]
        if parts["rev"] in repo.heads:
            self._send(409, {"error": "Reference already exists"})
            return
        repo.heads[parts["rev"]] = repo.heads["main"]
        self._send(200, {})

    def _preupload(self, parts: dict[str, str], body: bytes) -> None:
        there = self.hub.repos[parts["repo"]].files(parts["rev"])
        if there is None:
            self._no_revision()
            return
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._send(200, {"files": modes})

    def _lfs_batch(self, _: dict[str, str], body: bytes) -> None:
        objects = []
        for asked in json.loads(body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.large:
                href = f"{self.hub.address}/lfs/{asked['oid']}"
                entry["actions"] = {"upload": {"href": href}}
            objects.append(entry)
        self._send(200, {"transfer": "basic", "objects": objects})

    def _lfs_put(self, parts: dict[str, str], body: bytes) -> None:
        if _sha256(body) != parts["oid"]:
            self._send(400, {"error": "another content"})
            return
        self.hub.large[parts["oid"]] = body
        self._send(200, {})

    def _commit(self, parts: dict[str, str], body: bytes) -> None:
        repo = self.hub.repos[parts["repo"]]
        files = dict(repo.files(parts["rev"]) or {})
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = repo.add_commit(parts["rev"], files)
        url = f"{self.hub.address}/{parts['repo']}/commit/{commit}"
        self._send(200, {"success": True, "commitUrl": url, "commitOid": commit})

    def _resolve(self, parts: dict[str, str], _: bytes) -> None:
        repo = self.hub.repos[parts["repo"]]
        commit = repo.heads.get(parts["rev"], parts["rev"])
        data = (repo.commits.get(commit) or {}).get(parts["path"])
        if data is None:
            self._send(404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})
            return
        large = parts["path"].endswith(_LARGE)
        etag = _sha256(data) if large else _git_sha1(data)
        self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})


def _tree_entry(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(data)}
    if not name.endswith(_LARGE):
        return entry
    return {
        **entry,
        "lfs": {"oid": _sha256(data), "size": len(data), "pointerSize": 130},
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha1(data: bytes) -> str:
    """Return the hash under which git stores a file."""
    header = f"blob {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()
