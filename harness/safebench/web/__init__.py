"""The local web page: judge what one types, browse the results of runs."""
