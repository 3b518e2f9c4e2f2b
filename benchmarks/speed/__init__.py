"""How fast the agents train here."""
