"""The documentation site: pages made of code and results, and the tables that hand-written pages ask for.

`make docs` builds it. A line `{{ settings }}` of a page in docs/ is replaced by what `hooks.PARTS` makes of that word.
"""
