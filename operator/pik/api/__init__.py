"""The three resources as models, their schema, rules and status vocabulary."""
