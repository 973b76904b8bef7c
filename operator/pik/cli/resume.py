"""`pik resume`"""

from pik.cli.suspend import resume as command

__all__ = ["command"]
