"""A throw-away Kubernetes cluster for tests and demos: real programs, no Docker, nothing of it
left afterwards.

`programs` finds or builds the programs, `control_plane` runs them, `keeper` is the process that owns them all
and ends with whoever wanted the cluster, `handle` is what that one holds.
"""
