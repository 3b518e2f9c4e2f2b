"""The engine: loops, lanes, evaluation and results."""
