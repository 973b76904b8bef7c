"""Pipeline Investigation Kit: capture, inspect, replay and aggregate events without changing the truth."""
