import io

import pandas as pd
from rich.console import Console
from rich.table import Table

from moorl_jax import progress
from moorl_jax.divergence import OverSeeds
from moorl_jax.progress import Report


def test_brackets_in_names_are_shown_as_they_are(capsys):
    console = progress.terminal()
    console.print("written: runs/[/red]")
    table = Table("[/a]", title="[/b]")
    table.add_row("[/c]")
    console.print(table)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[/red]", "[/a]", "[/b]", "[/c]"))


def test_brackets_in_the_name_of_a_bar_are_shown_as_they_are():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200, markup=False)
    with progress.Display(console) as display:
        display.training("[/red].py:A")(Report("offline", 1, 2, "updates", 1, 1.0, OverSeeds.of([1.0]), pd.DataFrame()))
        display.data("[/blue]")(1, 2)
    assert "offline: [/red].py:A" in shown.getvalue()
    assert "[/blue]" in shown.getvalue()
