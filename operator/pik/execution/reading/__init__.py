"""Reading a stream whole: snapshots, and its arrivals and events as relations."""
