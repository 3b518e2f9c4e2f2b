"""Sweeps over tasks and agents: what they spend, what they are made of, where they run."""
