"""Replays as decisions: what a job selects, what its plan is, what it may do, and how it is sent."""
