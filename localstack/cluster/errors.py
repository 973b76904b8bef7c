"""What can go wrong with the cluster, one type a meaning."""

from __future__ import annotations


class ClusterError(Exception):
    """Something about the throw-away cluster; the text is for people."""


class ClusterImpossible(ClusterError):
    """It cannot run on this machine; the text says what is missing and how to get it."""


class ClusterFailed(ClusterError):
    """It did not start, or broke; the text has what the program printed last."""


class NotOurs(ClusterError):
    """The cluster was given to us, and this is its giver's: its audit log, its nodes, its end."""


class CommandFailed(ClusterError):
    """A command (kubectl, helm, …) did not succeed; the text has what it printed to stderr."""
