"""Landing: files, the strict gate, validation; NDJSON per resource type out, everything counted."""

from etl.landing.answer import Landed
from etl.landing.files import Source
from etl.landing.gate import Limits
from etl.landing.land import land
from etl.landing.reasons import REASONS
from etl.landing.rejects import Reject, RejectWriter
from etl.landing.workers import Workers

__all__ = ["REASONS", "Landed", "Limits", "Reject", "RejectWriter", "Source", "Workers", "land"]
