"""The `pik` command: arguments in, text, table or JSON out."""
