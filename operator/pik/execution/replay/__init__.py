"""Replays at work: the dry run, the run's record, its shards, their ledger."""
