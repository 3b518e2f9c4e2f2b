"""The papers' claims: which cells speak to them, in which order they are trained, and what they have shown so far."""
