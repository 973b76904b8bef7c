"""Pure decisions: what is asked and what was observed in, what to do out."""
