"""Replays and aggregates as Jobs of the cluster: what is asked of a pod, and what is made of its answer."""
