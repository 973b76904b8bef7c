"""Targets of replays that need no AWS."""
