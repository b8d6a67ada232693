"""Cross the three axes: record evidence once, read it by every strategy, write rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import IncompatibleError
from safebench.files import write_lines
from safebench.plan import told

from .grid import Grid, build_grid
from .judging import judge
from .manifest import Manifest, default_folder, identity_of, locked, open_folder
from .parts import DEFAULT_DATASET, Part, read_parts
from .predictions import prediction_lines, prediction_path, write_predictions
from .recorder import Recorder
from .scoring import score
from .table import rows_of
from .tuning import tuned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.plugins import Plugins
    from safebench.policies import Policy
    from safebench.results import Row

    from .config import RunConfig
    from .grid import ChosenClassifier, ChosenStrategy
    from .recorder import Evidenced


@dataclass(slots=True)
class Report:
    """What a run did: its folder, rows, failed samples, and things to say."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    short: bool = False


class Runner:
    """One run: resolved before anything heavy loads, resumable at every shard."""

    def __init__(
        self, config: RunConfig, plugins: Plugins, say: Callable[[str], None]
    ) -> None:
        self.config = config
        self.plugins = plugins
        self.say = say
        self.grid: Grid = build_grid(config, plugins)
        self.parts = read_parts(config, plugins)
        self.cells = self._cells()
        names = [part.dataset.label for part in self.parts]
        short = [part.short for part in self.parts]
        self.folder = Path(config.out or default_folder(self.grid.classifiers, short))
        self.identity = identity_of(self.grid.classifiers, names)
        open_folder(self.folder, self.identity)

    def run(self) -> Report:
        """Run every cell of the grid; raises KeyboardInterrupt if interrupted."""
        skipped = [f"skipped {line}" for line in told(self.grid.skipped)]
        report = Report(self.folder, notes=[*self.grid.notes, *skipped])
        with locked(self.folder):
            manifest = Manifest(self.folder, self.identity)
            self._write_config()
            try:
                for chosen, parts in self.cells:
                    self._run_classifier(chosen, parts, report, manifest)
            except KeyboardInterrupt:
                manifest.save("interrupted")
                raise
            except BaseException:
                manifest.save("failed")
                raise
            manifest.content["notes"] = report.notes
            manifest.save("done")
        return report

    def _cells(self) -> list[tuple[ChosenClassifier, list[Part]]]:
        """Give each classifier the datasets whose task it answers."""
        cells = [
            (c, [p for p in self.parts if p.dataset.task in c.spec.tasks])
            for c in self.grid.classifiers
        ]
        if not any(parts for _, parts in cells):
            tasks = sorted({p.dataset.task for p in self.parts})
            answers = "\n  ".join(
                f"{c.label} answers {', '.join(sorted(c.spec.tasks))}"
                for c in self.grid.classifiers
            )
            raise IncompatibleError(
                f"no classifier answers the task {', '.join(tasks)}\n  {answers}"
            )
        return [(c, parts) for c, parts in cells if parts]

    def _run_classifier(
        self,
        chosen: ChosenClassifier,
        parts: Sequence[Part],
        report: Report,
        manifest: Manifest,
    ) -> None:
        recorder = Recorder(chosen, self.folder / "evidence", self.config.shard_size)
        manifest.save("running")
        for part in self.parts:
            if part not in parts:
                report.notes.append(
                    f"skipped {chosen.label} x {part.dataset.label}: "
                    f"it does not answer {part.dataset.task}"
                )
        try:
            recorder.prepare([part.dataset for part in parts])
            for part in parts:
                self._announce(chosen, part)
                evidenced = recorder.evidence(part.dataset)
                self._judge_all(chosen, part, evidenced, report)
        finally:
            recorder.close()
        manifest.content["models"][chosen.label] = {
            "model": chosen.model,
            "evidence_key": evidenced.key,
            "facts": evidenced.facts,
        }

    def _judge_all(
        self, chosen: ChosenClassifier, part: Part, evidenced: Evidenced, report: Report
    ) -> None:
        """Read a dataset's evidence by each strategy; write all rows at the end."""
        from safebench.results import merge_rows

        policy = _policy(chosen)
        rows: list[Row] = []
        try:
            for strategy in chosen.strategies:
                own = evidenced.read_by(chosen.spec, strategy)
                read = tuned(strategy, part, own, policy)
                try:
                    rows += self._judge(chosen, read, part, own, policy, report)
                except IncompatibleError as error:  # others may read this model
                    if len(chosen.strategies) == 1:
                        raise
                    note = f"skipped {chosen.label} x {strategy.label}: {error}"
                    report.notes += [note] if note not in report.notes else []
        finally:  # what is known is kept, also if the next strategy fails
            merge_rows(self.folder / "results.jsonl", rows)
            report.rows += rows

    def _judge(
        self,
        chosen: ChosenClassifier,
        strategy: ChosenStrategy,
        part: Part,
        evidenced: Evidenced,
        policy: Policy | None,
        report: Report,
    ) -> list[Row]:
        """Judge by one strategy, write the predictions and return the rows."""
        dataset = part.dataset
        judged = judge(strategy, dataset, evidenced, policy)
        scored = score(strategy, dataset, judged, part.calibration, policy)
        lines = prediction_lines(
            chosen, strategy, dataset, judged, evidenced.traces, part.calibration
        )
        path = prediction_path(self.folder, chosen.label, dataset, strategy.label)
        write_predictions(path, lines, self.config.predictions)
        report.notes += [n for n in strategy.notes if n not in report.notes]
        self._count_failures(chosen, strategy.label, part, judged, report)
        return rows_of(
            self.folder.name,
            chosen,
            strategy,
            part,
            evidenced,
            judged,
            scored,
            self.plugins,
        )

    def _count_failures(
        self,
        chosen: ChosenClassifier,
        strategy: str,
        part: Part,
        judged: Any,
        report: Report,
    ) -> None:
        failed = int(judged.failed.sum())
        if not failed:
            return
        errors = judged.judgements.errors
        listed = [
            f"{sample.id}: {error}"
            for sample, error in zip(part.dataset.samples, errors, strict=True)
            if error is not None
        ]
        head = f"{chosen.label} x {strategy} x {part.dataset.label}"
        report.failures.append(
            f"{head}: {failed} of {len(part.dataset)} samples failed\n  "
            + "\n  ".join(listed[:5])
            + (f"\n  ... and {failed - 5} more" if failed > 5 else "")  # noqa: PLR2004
        )
        if failed > self.config.allowed_failures(len(part.dataset)):
            report.short = True

    def _announce(self, chosen: ChosenClassifier, part: Part) -> None:
        dataset = part.dataset
        held = sum(sample.id in part.calibration for sample in dataset.samples)
        counted = ", ".join(f"{n} {what}" for what, n in dataset.counts.items() if n)
        self.say(
            f"{chosen.label} [{chosen.model}] on {dataset.label}: "
            f"{len(dataset)} {'sample' if len(dataset) == 1 else 'samples'}, "
            f"{len(dataset) - held} test, {held} calibration"
            + (f" ({counted})" if counted else "")
        )

    def _write_config(self) -> None:
        import yaml

        from .manifest import redacted

        shown = redacted(_plain_config(self.config))
        write_lines(
            self.folder / "config.yaml",
            yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).splitlines(),
        )


def _policy(chosen: ChosenClassifier) -> Policy | None:
    from safebench.policies import load_policy

    return load_policy(chosen.policy) if chosen.policy else None


def _plain_config(config: RunConfig) -> dict[str, Any]:
    """Return the configuration in the form that `--config` reads back."""
    from dataclasses import asdict

    plain = {k: v for k, v in asdict(config).items() if v not in (None, (), {})}
    for name in ("classifiers", "strategies"):
        plain[name] = [
            {"name": t["name"], "label": t["label"], **t["options"]}
            for t in plain.get(name, ())
        ]
    plain["datasets"] = list(plain.get("datasets", (DEFAULT_DATASET,)))
    return plain
