"""The local web page: score what one types, and browse the results of runs."""
