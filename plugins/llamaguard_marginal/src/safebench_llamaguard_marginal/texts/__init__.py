"""Verdicts as texts: what a server gives that says nothing of probabilities.

`evidence` is what is stored, `reading` turns a text into a verdict, `server` asks for
texts, and `guard` is the classifier that records them.
"""
