"""Local mode: manifests from a folder in place of a Kubernetes API."""
