"""The application on top of moorl_jax: budgets, sweeps, tables and pictures."""
