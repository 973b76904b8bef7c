"""What users write, as DuckDB SQL of exact and repeatable meaning."""
