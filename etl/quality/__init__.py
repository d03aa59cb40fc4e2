"""Is this CDM fit for the study? SQL counts, Great Expectations judges, a gate refuses, a page explains.

`assure` does all of it. `check` counts into one long result table; `judge` applies thresholds to that table without
asking the database again; `write_reports` makes quality.json and the HTML page.
"""

from etl.quality.assure import assure, check, judge
from etl.quality.reports import write_reports
from etl.quality.status import RESULT_SCHEMA, Score, evaluate
from etl.quality.verdict import Verdict

__all__ = ["RESULT_SCHEMA", "Score", "Verdict", "assure", "check", "evaluate", "judge", "write_reports"]
