"""`feedback train`: parts, examples, LoRA, gate; an adapter only if the gate opens.

What a folder holds when it is done: ``safebench.json``, all facts; ``trained/``, the
LoRA as it was learnt; ``promise.json``, what was promised before calib was opened; and,
if the gate opened, ``adapter_model.safetensors`` and ``adapter_config.json`` in the
chosen scale, which `safebench run -c llamaguard --adapter FOLDER` loads.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safebench.differences import differences
from safebench.errors import DataError, RunFolderError
from safebench.files import write_json
from safebench.run.manifest import locked, versions
from safebench.training.artifact import ARTIFACT, SCHEMA_VERSION

from .adapters import write_scaled
from .asked import Asked
from .gate import fewest_harmful
from .gating import (
    calibration,
    promise,
    put_to_the_test,
    validation,
)
from .guards import guard_identity, open_guard
from .labelled import read_labelled
from .parts import cut, judged, parse_shares
from .prompts import prompts_of
from .records import read_collected
from .report import parts_text, run_command, verdict_text
from .teach import taught, terms_of
from .trained import (
    PROMISE,
    TRAINED,
    TRAINER,
    begun,
    collection_manifest,
    hash_of,
    read_manifest,
    read_promise,
    refuse_other_guard,
    write_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins

    from .gate import Certificate
    from .gating import Promise, Validation
    from .parts import Parts
    from .train_options import TrainOptions

    Say = Callable[[str], None]

# Options that do not change what comes out.
_ASIDE = ("collected", "out", "strict", "device", "data_root", "guard", "label_map")


def run(options: TrainOptions, plugins: Plugins, say: Say) -> int:
    """Train into a folder, put the result to the test, and return the exit code."""
    work = Work(options, plugins, say)
    found = work.done()
    if not found:
        with locked(work.out):  # what another process finished meanwhile is there now
            found = work.done() or work.all()
    click.echo(verdict_text(found, run_command(options, found)))
    click.echo(f"trained: {work.out}")
    rejected = found["gate"]["status"] != "passed"
    return int(rejected and options.strict)


class Work:
    """One training on its way; each step finds what an earlier run left."""

    def __init__(self, options: TrainOptions, plugins: Plugins, say: Say) -> None:
        self.options, self.say = options, say
        self.out = Path(options.out).expanduser()
        collected = Path(options.collected).expanduser()
        self.manifest = collection_manifest(collected)
        self.threshold = float(self.manifest["identity"]["threshold"])
        refuse_other_guard(self.manifest["identity"]["guard"], guard_identity(options))
        self.prompts = prompts_of(read_collected(collected))
        self.benign = read_labelled(
            options.benign,
            plugins,
            say,
            training=True,
            data_root=options.data_root,
            label_map=options.label_map,
        )
        self.identity = self._identity()

    def _identity(self) -> dict[str, Any]:
        names = [one.name for one in fields(self.options) if one.name not in _ASIDE]
        ids = sorted(f"{p.id} {p.p_in} {p.p_out}" for p in self.prompts)
        found = {
            "options": {name: getattr(self.options, name) for name in names},
            "guard": self.manifest["identity"]["guard"],
            "collected": hash_of(ids),
            "benign": hash_of(p.id for one in self.benign for p in one.prompts),
        }
        return dict(json.loads(json.dumps(found)))

    def done(self) -> dict[str, Any] | None:
        """Return the manifest of a finished training, None if there is none.

        Raises RunFolderError if the folder holds something else.
        """
        stored = read_manifest(self.out)
        if stored is None or not begun(self.out):
            return None
        differing = list(differences(stored.get("identity"), self.identity))
        if differing:
            lines = "\n  ".join(differing[:8])
            raise RunFolderError(
                f"{self.out} holds another training; name another folder with --out\n"
                f"  {lines}"
            )
        return stored if stored.get("status") == "done" else None

    def all(self) -> dict[str, Any]:
        """Do what is left to do, and return the manifest."""
        options = self.options
        self._write("training")
        benign = [p for one in self.benign for p in one.prompts if p.label is False]
        parts = cut(
            self.prompts,
            benign,
            parse_shares(options.split),
            benign_val=options.benign_val,
            benign_train=options.benign_train,
            seed=options.seed if options.split_seed is None else options.split_seed,
        )
        if not parts.benign_of("calib"):
            raise DataError(
                "--benign leaves no harmless prompt for the gate; name a larger set"
            )
        self.say(parts_text(parts))
        scorer = open_guard(options)
        parts = judged(parts, scorer)
        write_parts(self.out, parts)
        self._warn(parts)
        val = validation(parts, threshold=self.threshold, agreement=options.agreement)
        base = Asked(scorer, lora=False)
        base.scores(0.0, val.prompts)
        learned = taught(
            options, parts, val, base, self.threshold, self.out / TRAINED, self.say
        )
        asked = Asked(scorer, after=base)
        certificate, made, warned = self._gated(parts, val, asked)
        chosen = certificate.candidate
        if certificate.passed and chosen is not None and chosen.alpha > 0:
            write_scaled(self.out / TRAINED, chosen.alpha, self.out)
        return self._write(
            "done",
            parts=parts.counts(),
            parts_hash=parts.digest(),
            benign=[one.facts() for one in self.benign],
            base_guard=scorer.label,
            learned=learned,
            promise=made.to_json(),
            gate=certificate.to_json(),
            alarms=warned,
            versions=versions(),
        )

    def _warn(self, parts: Parts) -> None:
        """Say before anything is learnt that the gate will hardly let it through."""
        options = self.options
        found = calibration(
            parts, threshold=self.threshold, agreement=options.agreement
        )
        fewest = fewest_harmful(options.recall_loss, options.delta)
        if len(found.harmful) < fewest:
            self.say(
                f"warning: calib has {len(found.harmful)} harmful prompts; below "
                f"{fewest} the gate passes only what clearly gains recall: collect "
                "more, or name a higher --recall-loss"
            )

    def _gated(
        self, parts: Parts, val: Validation, asked: Asked
    ) -> tuple[Certificate, Promise, list[str]]:
        """Choose on val, write the promise down, and only then open calib."""
        options = self.options
        calib = calibration(
            parts, threshold=self.threshold, agreement=options.agreement
        )
        path = self.out / PROMISE
        if path.is_file():
            made = read_promise(path)
        else:
            terms, rate = terms_of(options, val, asked, self.threshold)
            alphas = sorted({0.0, *options.alphas})
            scores = {alpha: asked.scores(alpha, val.prompts) for alpha in alphas}
            made = promise(val, scores, terms, rate, len(calib.benign), self.threshold)
            write_json(path, made.to_json())
        certificate, warned = put_to_the_test(made, calib, asked.scores, self.threshold)
        return certificate, made, warned

    def _write(self, status: str, **facts: Any) -> dict[str, Any]:
        found = {
            "schema_version": SCHEMA_VERSION,
            "kind": "llamaguard",
            "trainer": TRAINER,
            "status": status,
            "identity": self.identity,
            "threshold": self.threshold,
            "collected": {
                key: self.manifest.get(key) for key in ("identity", "sources", "counts")
            },
            **facts,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / ARTIFACT, found)
        return dict(json.loads(json.dumps(found, default=str)))
