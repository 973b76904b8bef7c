"""Aggregates as versions: computed, kept for good, and compared event by event."""
