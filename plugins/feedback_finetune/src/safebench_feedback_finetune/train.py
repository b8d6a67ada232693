"""`feedback train`: parts, examples, LoRA, gate; an adapter only if the gate opens.

What a folder holds when it is done: ``safebench.json``, all facts; ``trained/``, the
LoRA as it was learnt; ``promise.json``, what was promised before calib was opened; and,
if the gate opened, ``adapter_model.safetensors`` and ``adapter_config.json`` in the
chosen scale, which `safebench run -c llamaguard --adapter FOLDER` loads.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safebench.errors import DataError, RunFolderError
from safebench.files import write_json
from safebench.run.manifest import versions
from safebench.training.artifact import ARTIFACT, SCHEMA_VERSION

from .adapters import write_scaled
from .asked import Asked
from .augment import varied
from .batches import Examples
from .examples import Choice, draw
from .folder import differences
from .gating import (
    calibration,
    numbers,
    promise,
    put_to_the_test,
    terms_for,
    validation,
)
from .guards import guard_identity, open_guard
from .labelled import read_labelled
from .learn import learn, with_lora
from .loading import put_adapter
from .parts import cut, judged, parse_shares
from .prompts import prompts_of
from .records import read_collected
from .report import parts_text, verdict_text
from .trained import (
    PROMISE,
    TRAINED,
    TRAINER,
    collection_manifest,
    hash_of,
    read_manifest,
    read_promise,
    refuse_other_guard,
    write_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safebench.plugins import Plugins

    from .gate import Certificate, Terms
    from .gating import Promise, Validation
    from .parts import Parts
    from .scorer import VerdictScorer
    from .train_options import TrainOptions

    Say = Callable[[str], None]

# Options that do not change what comes out.
_ASIDE = ("collected", "out", "strict", "device", "data_root", "guard", "label_map")


def run(options: TrainOptions, plugins: Plugins, say: Say) -> int:
    """Train into a folder, put the result to the test, and return the exit code."""
    work = Work(options, plugins, say)
    found = work.done() or work.all()
    click.echo(verdict_text(found))
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
        if stored is None:
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
            seed=options.seed,
        )
        if not parts.benign_of("calib"):
            raise DataError(
                "--benign leaves no harmless prompt for the gate; name a larger set"
            )
        self.say(parts_text(parts))
        scorer = open_guard(options)
        parts = judged(parts, scorer)
        write_parts(self.out, parts)
        val = validation(parts, threshold=self.threshold, agreement=options.agreement)
        base = Asked(scorer, lora=False)
        base.scores(0.0, val.prompts)
        learned = self._learnt(parts, val, scorer, base)
        asked = Asked(scorer)
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

    def _learnt(
        self, parts: Parts, val: Validation, scorer: VerdictScorer, base: Asked
    ) -> dict[str, Any]:
        """Leave the LoRA in the scorer's network and in `trained`."""
        folder = self.out / TRAINED
        facts = folder / "learned.json"
        if facts.is_file():
            put_adapter(scorer.network, folder, scorer.label)
            return dict(json.loads(facts.read_text(encoding="utf-8")))
        drawn = draw(parts.collected["train"], choice_of(self.options, self.threshold))
        kinds: dict[str, int] = {}
        for one in drawn:
            kinds[one.kind] = kinds.get(one.kind, 0) + 1
        self.say("examples: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
        prompts = [scorer.encode(one.prompt.turns) for one in drawn]
        copies = varied(drawn, scorer, self.options.augment, self.options.seed)
        examples = Examples(
            [*drawn, *(one for one, _ in copies)],
            [*prompts, *(ids for _, ids in copies)],
        )
        terms, _ = self._terms(val, base)
        before = numbers(val, base.scores(0.0, val.prompts), terms.cap)
        self.say("base guard: " + ", ".join(f"{k} {v:.3f}" for k, v in before.items()))
        wrapped = with_lora(scorer, self.options)
        trained = Asked(scorer)

        def validate() -> Mapping[str, float]:
            return numbers(val, trained.now(1.0, val.prompts), terms.cap)

        learned = learn(
            scorer, wrapped, examples, validate, self.options, folder, self.say
        )
        found = asdict(learned) | {
            "examples": kinds,
            "copies": len(copies),
            "base": before,
        }
        write_json(facts, found)
        return found

    def _terms(self, val: Validation, base: Asked) -> tuple[Terms, float]:
        options = self.options
        _, benign = val.split(base.scores(0.0, val.prompts))
        return terms_for(
            benign >= self.threshold,
            cap=options.cap,
            margin=options.cap_margin,
            recall_loss=options.recall_loss,
            delta=options.delta,
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
            terms, rate = self._terms(val, asked)
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


def choice_of(options: TrainOptions, threshold: float) -> Choice:
    """Return how examples are chosen."""
    names = (
        "seed",
        "replay",
        "recipe",
        "agreement",
        "soft",
        "negatives",
        "hard",
        "hard_weight",
    )
    return Choice(threshold=threshold, **{n: getattr(options, n) for n in names})
