"""Adapters to the real services."""
