"""HTTP ingest (ASGI)."""
