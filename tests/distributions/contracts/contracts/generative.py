"""Generative guards whose language model is a table chosen by the judged text."""

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import VerdictTree
from safebench.testing.grammars import TaskAnswer, composite, graded, yes_no
from safebench.testing.table_model import TableModel
from safebench.verdict_tree import TreeExplorer
from safebench.verdict_tree.grammar import Level

YES_OR_NO = {"yes": True, "no": False}


class TableGuard(Classifier):
    """Reads table 1 for texts that say "bad", table 0 for others."""

    token_texts = ()
    grammar = None
    tables = ()

    def __init__(self, options=None):
        super().__init__(options)
        ids = {text: i for i, text in enumerate(self.token_texts)}
        width = len(self.token_texts)

        def row(chances):
            return [chances.get(text, 0.0) for text in self.token_texts]

        tables = [
            {
                tuple(ids[text] for text in prefix): row(chances)
                for prefix, chances in t.items()
            }
            for t in self.tables
        ]
        token_bytes = [text.encode() for text in self.token_texts[: width - 1]]
        model = TableModel([*token_bytes, b""], width - 1, tables)
        self.explorer = TreeExplorer(model, self.grammar)

    def record(self, samples, kinds, on_progress):
        """Return the verdict tree of every sample."""
        texts = [" ".join(turn.text for turn in s.turns) for s in samples]
        exploration = self.explorer.explore([[int("bad" in text)] for text in texts])
        on_progress(len(samples))
        traces = [
            Trace(raw=stats.raw, error=stats.error) for stats in exploration.stats
        ]
        return Recording(evidence={VerdictTree: exploration.tree}, traces=traces)


class Graded(TableGuard):
    """Three ordered levels; two of them name categories."""

    token_texts = ("safe", "controversial", "unsafe", "\n", "S1", "S2", ",", "EOS")
    grammar = graded(
        [
            Level(name="safe"),
            Level(name="controversial", takes_labels=True),
            Level(name="unsafe", takes_labels=True, positive=True),
        ],
        labels=("S1", "S2"),
        cont="0123456789",
    )
    _S1 = {"S1": 1.0}
    tables = (
        {(): {"safe": 1.0}, ("safe",): {"EOS": 1.0}},
        {
            (): {"safe": 0.1, "controversial": 0.6, "unsafe": 0.3},
            ("safe",): {"EOS": 1.0},
            ("controversial",): {"\n": 1.0},
            ("unsafe",): {"\n": 1.0},
            ("controversial", "\n"): _S1,
            ("unsafe", "\n"): _S1,
            ("controversial", "\n", "S1"): {"EOS": 1.0},
            ("unsafe", "\n", "S1"): {"EOS": 0.75, ",": 0.25},
            ("unsafe", "\n", "S1", ","): {"S2": 1.0},
            ("unsafe", "\n", "S1", ",", "S2"): {"EOS": 1.0},
        },
    )


class YesNo(TableGuard):
    """One word; no categories."""

    token_texts = ("Yes", "No", "EOS")
    grammar = yes_no()
    tables = (
        {(): {"Yes": 0.2, "No": 0.8}, ("Yes",): {"EOS": 1.0}, ("No",): {"EOS": 1.0}},
        {(): {"Yes": 0.7, "No": 0.3}, ("Yes",): {"EOS": 1.0}, ("No",): {"EOS": 1.0}},
    )


class ThreeTasks(TableGuard):
    """One text that answers three questions, one after another."""

    token_texts = ("harm: ", "refusal: ", "answer: ", "yes", "no", "\n", "EOS")
    grammar = composite(
        [
            TaskAnswer(task="prompt_harm", prefix="harm: ", values=YES_OR_NO),
            TaskAnswer(task="refusal", prefix="refusal: ", values=YES_OR_NO),
            TaskAnswer(task="response_harm", prefix="answer: ", values=YES_OR_NO),
        ]
    )

    @staticmethod
    def _table(harm, refusal, answer):
        """Independent answers, the second depending on the first."""
        table = {(): {"harm: ": 1.0}, ("harm: ",): {"yes": harm, "no": 1 - harm}}
        for first in ("yes", "no"):
            one = ("harm: ", first)
            refused = refusal[first]
            table |= {one: {"\n": 1.0}, (*one, "\n"): {"refusal: ": 1.0}}
            table[*one, "\n", "refusal: "] = {"yes": refused, "no": 1 - refused}
            for second in ("yes", "no"):
                two = (*one, "\n", "refusal: ", second)
                table |= {two: {"\n": 1.0}, (*two, "\n"): {"answer: ": 1.0}}
                table[*two, "\n", "answer: "] = {"yes": answer, "no": 1 - answer}
                for third in ("yes", "no"):
                    table[*two, "\n", "answer: ", third] = {"EOS": 1.0}
        return table

    tables = (
        _table(0.1, {"yes": 0.5, "no": 0.2}, 0.25),
        _table(0.8, {"yes": 0.9, "no": 0.4}, 0.75),
    )
