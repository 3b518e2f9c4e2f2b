"""moorl_jax: a JAX benchmark suite for offline, hybrid and offline-to-online reinforcement learning."""
