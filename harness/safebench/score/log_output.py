"""What `score FILE -o OUT` writes: shards of scores, and of what they were made.

A shard is there whole or not at all, so that whoever is killed goes on after the last
one. ``score.json`` says which file, guard and options the scores are of; other ones are
refused. Once all shards are there it has their checksums, too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safebench.checksums import file_checksum, sealed, unsealed
from safebench.errors import RunFolderError
from safebench.files import make_folder, set_aside, write_json
from safebench.provenance import differences
from safebench.results.prediction_writing import write_prediction_file
from safebench.results.score_shards import ABOUT_FILE, read_about, shard_name

from .log_file import LogSurvey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safebench.results.line_columns import LineColumns

STATE_FILE = "state.json"
_MAX_DIFFERENCES = 5


class ScoreFolder:
    """The folder of the scores of one log, whose lock the caller holds.

    Raises `RunFolderError` for a folder that holds something else.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self.folder, self.form = folder, form
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; -o names a folder")
        self.about = self._read_about()
        others = folder.iterdir() if folder.is_dir() and not self.about else ()
        if any(path.name[0] != "." for path in others):
            raise RunFolderError(
                f"{folder} holds something else than scores of a log: name another "
                "folder with -o"
            )

    def recorded(self) -> list[dict[str, Any]]:
        """Return what was recorded here before, as `settle_all` takes it."""
        identity = self.about.get("identity")
        request = identity.get("classifier") if isinstance(identity, dict) else None
        facts = self.about.get("facts")
        if not isinstance(request, dict) or not isinstance(facts, dict):
            return []
        return [{"request": request, "facts": facts, "state": self.read_state()}]

    def stored_survey(self, sha256: str) -> LogSurvey | None:
        """Return what is known of a file, None if it has not been surveyed."""
        stored = self.about.get("survey")
        if not isinstance(stored, dict) or stored.get("sha256") != sha256:
            return None
        try:
            return LogSurvey.from_json(stored)
        except (TypeError, KeyError):
            return None

    def begin(self, identity: Mapping[str, Any], survey: LogSurvey) -> None:
        """Note what the scores are of; raises `RunFolderError` for anything else."""
        identity = json.loads(json.dumps(identity, default=str))
        stored = self.about.get("identity")
        if self.about and stored != identity:
            differing = list(differences(stored or {}, identity))[:_MAX_DIFFERENCES]
            lines = "\n  ".join(differing)
            raise RunFolderError(
                f"{self.folder} holds other scores; name another folder with -o"
                f"\n  {lines}"
            )
        make_folder(self.folder)
        self.about |= {"identity": identity, "survey": survey.to_json()}
        self._write("running")

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Note on what the model runs; raises `RunFolderError` where that was other.

        Half of the scores would be of another device.
        """
        now = json.loads(json.dumps(dict(facts), default=str))
        stored = self.about.setdefault("facts", now)
        if stored != now:
            lines = "\n  ".join(differences(stored, now))
            raise RunFolderError(
                f"{self.folder} was begun under other circumstances; name another "
                f"folder with -o\n  {lines}"
            )
        self._write("running")

    def path(self, number: int) -> Path:
        """Return where a shard is kept."""
        return self.folder / shard_name(number, self.form)

    def missing(self, n_shards: int) -> list[int]:
        """Return the shards that are not there, or were changed since the end."""
        known = self.about.get("files") or {}
        missing = []
        for number in range(n_shards):
            path = self.path(number)
            checksum = known.get(path.name)
            if path.exists() and checksum and file_checksum(path) != checksum:
                set_aside(path)
            if not path.exists():
                missing.append(number)
        return missing

    def add(self, number: int, lines: LineColumns) -> None:
        """Write a shard in one step."""
        write_prediction_file(self.path(number), lines, self.form)

    def finish(self, n_shards: int, summary: Mapping[str, Any]) -> None:
        """Note that all is there, with checksums and counts."""
        paths = map(self.path, range(n_shards))
        self.about["files"] = {path.name: file_checksum(path) for path in paths}
        self.about["summary"] = dict(summary)
        self._write("done")

    def interrupted(self) -> None:
        """Note that the rest is still to be done."""
        self._write("interrupted")

    def read_state(self) -> Mapping[str, Any]:
        """Return what the classifier had learnt, nothing where it cannot be read."""
        try:
            return unsealed(json.loads((self.folder / STATE_FILE).read_text("utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Keep what the classifier has learnt, such as a smaller budget."""
        if state and state != self.read_state():
            write_json(self.folder / STATE_FILE, sealed(state))

    def _read_about(self) -> dict[str, Any]:
        path = self.folder / ABOUT_FILE
        try:
            return read_about(self.folder)
        except (OSError, ValueError, TypeError, RecursionError):
            raise RunFolderError(
                f"{path} is damaged, so that nobody knows of what the scores in "
                f"{self.folder} are: name another folder with -o"
            ) from None

    def _write(self, status: str) -> None:
        # in one order, whoever was interrupted: equal folders are equal to the byte
        names = ("identity", "survey", "facts", "files", "summary")
        about = {name: self.about[name] for name in names if name in self.about}
        write_json(self.folder / ABOUT_FILE, sealed(about | {"status": status}))
