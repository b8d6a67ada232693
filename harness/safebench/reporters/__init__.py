"""The leaderboard and comparisons, as tables in several output formats.

`leaderboard` turns result rows into a `table.Leaderboard`, which every format draws;
formats are registered in `catalog`, and plugins add theirs beside them.
"""
