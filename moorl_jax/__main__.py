"""The command `moorl-jax`, also `python -m moorl_jax`."""

from moorl_jax.processes import heed_signals


def main() -> None:
    """Run the command line."""
    heed_signals()
    from moorl_jax.cli import app  # takes seconds

    app()


if __name__ == "__main__":
    main()
