"""Aggregates in the SQL of Trino, which Athena runs (engine version 3)."""
