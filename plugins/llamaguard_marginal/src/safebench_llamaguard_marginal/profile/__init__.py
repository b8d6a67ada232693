"""Profiles: how one family of guards is asked and answers, as data.

`schema` says what may stand in a profile, `resolve` picks the one of a model, `texts`
fetches prompts that this project does not hold, `answer` makes a grammar of one.
"""
