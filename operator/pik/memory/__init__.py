"""Adapters that live in memory, for tests and simulation."""
