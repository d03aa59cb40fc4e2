"""Nightly increments: what a change touches is recomputed, everything else stays as it is.

The same transform runs over the resources that a change can alter and over those that they read; what comes out takes
the place of their old rows. The result equals a build of everything received so far (tests/increment).
"""

from etl.increment.basis import ENGINE, KEY_MARK, Basis, key_mark, why_not
from etl.increment.compute import Computed, Inputs, compute_changes

__all__ = ["ENGINE", "KEY_MARK", "Basis", "Computed", "Inputs", "compute_changes", "key_mark", "why_not"]
