"""What operator and gateway export to Prometheus."""
