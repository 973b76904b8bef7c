"""How anything is measured here: in turns, within one run, as ratios."""
