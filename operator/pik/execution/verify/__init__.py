"""Raw data against everything that was recorded of it: `pik verify`."""

from pik.execution.verify.findings import Checked, Finding, Kind, RowSpan, Verification
from pik.execution.verify.stream import verify

__all__ = ["Checked", "Finding", "Kind", "RowSpan", "Verification", "verify"]
