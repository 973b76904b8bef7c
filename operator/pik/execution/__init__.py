"""The work itself, over ports only."""
