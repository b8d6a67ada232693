"""Training of a stack: two linear costs, and their sum learnt out of fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.torch_utils import Placement
from safebench.training import ProgressBar, Trained
from safebench_cost_model.model.artifact import ENCODER_FOLDER, KIND_STACK
from safebench_cost_model.model.exchange_embedder import ExchangeEmbedder
from safebench_cost_model.model.location import find_base
from safebench_cost_model.model.platt_scaling import fit_platt
from safebench_cost_model.model.stack import StackModel
from safebench_cost_model.model.tfidf import (
    ExchangeTfidfModel,
    fit_vectorizers,
    tfidf_features,
)

from .baseline import check_labels
from .evaluation import cost_measures, pair_labels
from .fitted import (
    REGULARIZATION_GRID,
    FittedBase,
    best_penalty,
    by_pair,
    exchanges_of,
)
from .folds import assign_folds
from .linear import LinearTerms
from .pairs import read_pairs
from .singles import read_training_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.torch_utils import ModelFolder
    from safebench.training import Measure, Training
    from safebench.typing import Array
    from safebench_cost_model.model.platt_scaling import PlattScaling
    from safebench_cost_model.options import CostTrainOptions

    from .pairs import PreferencePair
    from .singles import SingleResponse

    Exchange = tuple[str, str]

MIX_FOLDS = 5
_MIX_PENALTY = 1.0  # C of the sum, whose two columns have a spread of one
PARTS = ("words", "encoder")


@dataclass(frozen=True, slots=True, eq=False)
class LearningRows:
    """Pairs and single responses to learn from."""

    pairs: Sequence[PreferencePair]
    singles: Sequence[SingleResponse]

    @property
    def exchanges(self) -> list[Exchange]:
        """Both exchanges of each pair, then those of the singles."""
        alone = [(single.prompt, single.response) for single in self.singles]
        return exchanges_of(self.pairs) + alone

    def subset(self, folds: dict[str, int], fold: int, *, inside: bool) -> LearningRows:
        """Return the rows whose prompts lie in a fold, or outside of it."""
        return LearningRows(
            [p for p in self.pairs if (folds[p.group] == fold) is inside],
            [s for s in self.singles if (folds[s.group] == fold) is inside],
        )

    def terms(self, features: Any, options: CostTrainOptions) -> LinearTerms:
        """Return the loss on features (rows, D) of `exchanges`."""
        n, m = 2 * len(self.pairs), len(self.singles)
        unsafe = [share for pair in self.pairs for share in pair.soft_labels]
        unsafe += [single.unsafe for single in self.singles]
        p_first = np.array([pair.p_first for pair in self.pairs])
        keep, move = 1 - options.smoothing, options.smoothing / 2
        gaps = np.array([pair.gap for pair in self.pairs])
        return LinearTerms(
            features=features,
            unsafe=np.array(unsafe) * keep + move,
            sign_weight=np.repeat([options.w_sign, options.w_single], [n, m]),
            pairs=np.arange(n).reshape(-1, 2),
            p_first=p_first * keep + move,
            margin=options.margin * gaps,
            rank_weight=options.w_rank,
        )


@dataclass(slots=True, eq=False)
class EmbeddedTexts:
    """Encoder features of exchanges, each embedded once, however often it is used."""

    encoder: ExchangeEmbedder
    _rows: dict[Exchange, Array] = field(default_factory=dict)

    def add(self, exchanges: Sequence[Exchange], features: Array) -> None:
        """Keep the features (n, F) of exchanges."""
        self._rows |= dict(zip(exchanges, features, strict=True))

    def features(self, exchanges: Sequence[Exchange]) -> Array:
        """Return the features (n, F) of exchanges, new ones under a progress bar."""
        new = [e for e in dict.fromkeys(exchanges) if e not in self._rows]
        if new:
            with ProgressBar("encoder", len(new), "texts") as bar:
                embedded = self.encoder.embed(new, bar.move)
            self.add(new, embedded)
        if not exchanges:
            return np.zeros((0, self.encoder.width))
        return np.array([self._rows[e] for e in exchanges], dtype=float)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderHead:
    """A linear cost on encoder features."""

    weights: Array
    bias: float

    def costs(self, features: Array) -> Array:
        """Return the costs (n,) of features (n, F)."""
        costs: Array = features @ self.weights + self.bias
        return costs


Solution = tuple["Array", float]


@dataclass(slots=True, eq=False)
class LearningFeatures:
    """What words and encoder make of learning rows, once for all penalties."""

    rows: LearningRows
    options: CostTrainOptions
    texts: EmbeddedTexts
    vectorizers: list[Any] = field(init=False)
    words: LinearTerms = field(init=False)
    encoder: LinearTerms = field(init=False)
    scale: Array = field(init=False)
    mean: Array = field(init=False)

    def __post_init__(self) -> None:
        exchanges = self.rows.exchanges
        self.vectorizers = fit_vectorizers(exchanges)
        counts = tfidf_features(self.vectorizers, exchanges)
        self.words = self.rows.terms(counts, self.options)
        features = self.texts.features(exchanges)
        self.mean = features.mean(axis=0)
        # Rows of length one on average, as word counts have: one grid serves both.
        spread = np.maximum(features.std(axis=0), 1e-6)
        self.scale = spread * np.sqrt(features.shape[1])
        scaled = ((features - self.mean) / self.scale).astype(np.float32)
        self.encoder = self.rows.terms(scaled, self.options)

    def parts(self, words: Solution, encoder: Solution) -> Parts:
        """Return the two models of solutions of `words` and `encoder`."""
        weights = encoder[0] / self.scale
        head = EncoderHead(weights, encoder[1] - float(self.mean @ weights))
        return Parts(ExchangeTfidfModel(self.vectorizers, *words), head)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The first level of a stack."""

    words: ExchangeTfidfModel
    head: EncoderHead

    def costs(self, exchanges: Sequence[Exchange], texts: EmbeddedTexts) -> Array:
        """Return the costs (n, 2) of exchanges by words and by the encoder."""
        features = texts.features(exchanges)
        return np.column_stack([self.words.costs(exchanges), self.head.costs(features)])


def _fit_mix(
    seen: Sequence[LearningRows], costs: Sequence[Array], options: CostTrainOptions
) -> tuple[Array, float]:
    """Return the weights (2,) and the bias of costs (rows, 2) of each fold's rows."""
    joined = LearningRows(
        [pair for part in seen for pair in part.pairs],
        [single for part in seen for single in part.singles],
    )
    # Each fold has its pairs before its singles, and so has all of them together.
    cuts = [2 * len(part.pairs) for part in seen]
    of_pairs = [x[:n] for x, n in zip(costs, cuts, strict=True)]
    of_singles = [x[n:] for x, n in zip(costs, cuts, strict=True)]
    columns = np.concatenate([*of_pairs, *of_singles])
    spread = np.maximum(columns.std(axis=0), 1e-6)
    weights, bias = joined.terms(columns / spread, options).fit(_MIX_PENALTY)
    return weights / spread, bias


@dataclass(slots=True, eq=False)
class StackTrainer:
    """Fits stacks on one encoder, which reads each text once for all of them."""

    texts: EmbeddedTexts
    base: ModelFolder

    @classmethod
    def of(cls, options: CostTrainOptions) -> StackTrainer:
        """Load the encoder; raises `ModelError` for one that is none."""
        base = find_base(options.encoder, options.revision)
        encoder = ExchangeEmbedder(
            base.folder,
            base.label,
            placement=Placement.choose("auto", options.dtype),
            max_length=options.max_length,
            layers=options.layers,
        )
        return cls(EmbeddedTexts(encoder), base)

    def __call__(
        self, training: Training, unseen_singles: Sequence[SingleResponse] = ()
    ) -> FittedBase:
        """Fit a stack and write it; its penalties are those that are best on val."""
        options = training.options
        rows = LearningRows(*read_training_rows(training))
        check_labels(rows.pairs, rows.singles)
        pairs = {
            "val": read_pairs(training.val, options.conflicts, training.say),
            "test": read_pairs(training.test, options.conflicts, training.say),
        }
        parts, penalties = self._best_parts(rows, options, pairs["val"])
        mix, bias = self._mix(rows, options, penalties, training.seed)
        training.say(
            f"stack: C={penalties[0]} for words and {penalties[1]} for the encoder are "
            f"best on val; cost = {mix[0]:.2f} words {mix[1]:+.2f} encoder {bias:+.2f}"
        )
        model = StackModel(
            words=parts.words,
            encoder_weights=parts.head.weights,
            encoder_bias=parts.head.bias,
            mix=mix,
            bias=bias,
        )
        return self._finish(model, training, pairs, penalties, unseen_singles)

    def _best_parts(
        self,
        rows: LearningRows,
        options: CostTrainOptions,
        val: Sequence[PreferencePair],
    ) -> tuple[Parts, tuple[float, float]]:
        """Return both parts at the penalties that are best on val, and those."""
        features = LearningFeatures(rows, options, self.texts)
        words = features.words.fit_path(REGULARIZATION_GRID)
        encoder = features.encoder.fit_path(REGULARIZATION_GRID)
        by_penalty = {
            c: features.parts(words[c], encoder[c]).costs(exchanges_of(val), self.texts)
            for c in REGULARIZATION_GRID
        }
        best = [
            best_penalty({c: by_pair(x[:, i]) for c, x in by_penalty.items()}, val)
            for i in range(len(PARTS))
        ]
        parts = features.parts(words[best[0]], encoder[best[1]])
        return parts, (best[0], best[1])

    def _mix(
        self,
        rows: LearningRows,
        options: CostTrainOptions,
        penalties: Sequence[float],
        seed: int,
    ) -> tuple[Array, float]:
        """Return the weights (2,) of both costs and the bias, learnt out of fold."""
        folds = assign_folds(
            (pair.group for pair in rows.pairs),
            (single.group for single in rows.singles),
            MIX_FOLDS,
            seed,
        )
        costs: list[Array] = []
        seen: list[LearningRows] = []
        for fold in range(MIX_FOLDS):
            held_out = rows.subset(folds, fold, inside=True)
            if not held_out.exchanges:
                continue  # fewer prompts than folds
            learnt = rows.subset(folds, fold, inside=False)
            features = LearningFeatures(learnt, options, self.texts)
            parts = features.parts(
                features.words.fit(penalties[0]), features.encoder.fit(penalties[1])
            )
            costs.append(parts.costs(held_out.exchanges, self.texts))
            seen.append(held_out)
        return _fit_mix(seen, costs, options)

    def _finish(
        self,
        model: StackModel,
        training: Training,
        pairs: dict[str, list[PreferencePair]],
        penalties: tuple[float, float],
        unseen_singles: Sequence[SingleResponse],
    ) -> FittedBase:
        """Calibrate a stack; measured and written it is at the end."""
        costs = {
            name: by_pair(self._costs(model, exchanges_of(split)))
            for name, split in pairs.items()
        }
        labels = {name: pair_labels(split) for name, split in pairs.items()}
        platt = fit_platt(costs["val"].reshape(-1), labels["val"].unsafe.reshape(-1))
        alone = [(single.prompt, single.response) for single in unseen_singles]

        def finish() -> Trained:
            measures = [
                measure
                for name, values in costs.items()
                for measure in cost_measures(
                    labels[name], values, who=KIND_STACK, split=name, platt=platt
                )
            ]
            return self._trained(model, training, penalties, measures, platt)

        return FittedBase(
            finish=finish,
            pairs=pairs["test"],
            costs=costs["test"],
            single_costs=self._costs(model, alone),
            platt=platt,
        )

    def _trained(
        self,
        model: StackModel,
        training: Training,
        penalties: tuple[float, float],
        measures: list[Measure],
        platt: PlattScaling | None,
    ) -> Trained:
        """Write the artifact, and return what the manifest says of it."""
        words_sha256 = model.save(training.out)
        self.texts.encoder.save(training.out / ENCODER_FOLDER)
        manifest = {
            "base": self.base.base_record(),
            "words_sha256": words_sha256,
            "penalties": dict(zip(PARTS, penalties, strict=True)),
            "mix": dict(zip(PARTS, model.mix.tolist(), strict=True)),
            "max_length": self.texts.encoder.encoder.max_length,
            "calibration": platt.as_json() if platt else None,
        }
        return Trained(
            classifier=KIND_STACK,
            manifest=manifest,
            measures=measures,
            notes=[] if platt else ["costs on val allow no calibration: no cost_platt"],
        )

    def _costs(self, model: StackModel, exchanges: Sequence[Exchange]) -> Array:
        return model.costs(exchanges, self.texts.features(exchanges))
