"""The narrow protocols that the execution layer needs, and the values that cross them.

Every call may raise `Unavailable` (or `Throttled`): the answer was lost, and whether the call took effect is
unknown. `Denied` means that no retry will help. Adapters translate; nobody above them sees another library's
error.
"""
