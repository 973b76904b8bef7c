"""pik in a Kubernetes cluster: operator, gateway and workers, over the same reconcilers as local mode."""
