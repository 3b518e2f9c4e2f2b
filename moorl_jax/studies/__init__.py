"""Studies: questions that papers leave open, each a set of variants compared at equal cost in env steps.

`make study NAME=...` runs one and writes its table and picture to results/studies/. To add one, write it in a file here
and list it in `catalogue.py`.
"""
