"""What the unruly components do."""

import os
import sys

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores
from safebench.strategies import Judgements


class Nasty(BaseException):
    """Neither an Exception nor anything that says what it is."""

    def __str__(self):
        """Raise, too."""
        raise ValueError("no words")


def scores(*values):
    """Return a recording of scores."""
    meta = {"labels": ["unsafe"], "scale": "probability"}
    evidence = {Scores: Scores({"values": [[v] for v in values]}, meta=meta)}
    return Recording(evidence=evidence, traces=[Trace() for _ in values])


class Guard(Classifier):
    """A guard that gives every text .9."""

    def record(self, samples, kinds, on_progress):
        """Return .9 for each."""
        self.misbehave()
        return scores(*[0.9] * len(samples))

    def misbehave(self):
        """Do nothing."""


class LoadRaises(Guard):
    """Cannot be made."""

    def __init__(self, options):
        raise KeyError("secret-word")


class LoadExits(Guard):
    """Ends the program when it is made."""

    def __init__(self, options):
        sys.exit(0)


class LoadNothing:
    """Is no classifier."""

    def __init__(self, options):
        pass


class Raises(Guard):
    """Divides by nothing."""

    def misbehave(self):
        """Raise."""
        raise ZeroDivisionError("secret-word")


class Exits(Guard):
    """Ends the program, as if all were well."""

    def misbehave(self):
        """Exit."""
        sys.exit(0)


class Dies(Guard):
    """Raises what is no Exception."""

    def misbehave(self):
        """Raise."""
        raise Nasty


class Nothing(Guard):
    """Returns nothing."""

    def record(self, samples, kinds, on_progress):
        """Return nothing."""


class NotANumber(Guard):
    """Is not sure."""

    def record(self, samples, kinds, on_progress):
        """Return NaN."""
        return scores(*[float("nan")] * len(samples))


class TooSure(Guard):
    """Is more than sure."""

    def record(self, samples, kinds, on_progress):
        """Return a probability of two."""
        return scores(*[2.0] * len(samples))


class Chatty(Guard):
    """Prints, in three ways."""

    def misbehave(self):
        """Print."""
        print("chatter")  # noqa: T201
        os.write(1, b"chatter\n")
        sys.stdout.write("chatter\n")


class Picky(Guard):
    """Fails on one text."""

    def record(self, samples, kinds, on_progress):
        """Raise for the word."""
        if any("bad" in s.judged.text for s in samples):
            raise LookupError("secret-word")
        return scores(*[0.9] * len(samples))


def raises(evidence, context):
    """Raise."""
    raise ZeroDivisionError("secret-word")


def exits(evidence, context):
    """Exit as if all were well."""
    sys.exit(0)


def dies(evidence, context):
    """Raise what is no Exception."""
    raise Nasty


def nothing(evidence, context):
    """Return nothing."""


def too_few(evidence, context):
    """Return no judgement at all."""
    return Judgements(size=0, score=np.array([]))


def too_sure(evidence, context):
    """Return a probability of two."""
    return Judgements(size=1, score=np.array([2.0]))


def endless(evidence, context):
    """Return an infinite score."""
    return Judgements(size=1, score=np.array([np.inf]))


def greedy(evidence, context):
    """Change what the next one reads."""
    values = evidence[Scores]["values"]
    values *= 0
    return Judgements(size=1, score=values[:, 0])


def chatty(evidence, context):
    """Print, and judge."""
    print("chatter")  # noqa: T201
    os.write(1, b"chatter\n")
    return Judgements(size=1, score=np.array([0.25]))
