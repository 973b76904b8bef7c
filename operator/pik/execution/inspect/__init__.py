"""What is odd about what arrived: late, missing, repeated, contradictory, disordered, or at odd times."""
