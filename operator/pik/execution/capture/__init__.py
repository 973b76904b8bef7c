"""Capture: arrivals in, one durable answer each (design: Write protocol)."""
