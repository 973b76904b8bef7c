"""`python localstack/cluster.py up|down|status`: a throw-away Kubernetes cluster, for use by hand."""

from cluster.command import main

if __name__ == "__main__":
    main()
