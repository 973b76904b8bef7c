"""Events from files: CSV, NDJSON and Parquet, in bounded batches."""
