"""Reconcilers: observe, plan, act, and one outcome."""
