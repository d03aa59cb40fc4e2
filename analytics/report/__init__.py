"""The report: one self-contained HTML page, made from the study's tidy result tables and from nothing else.

`write_report(tables, meta, path)` is the whole interface. The page asks for nothing over the network, runs no script,
and carries no row of a patient.
"""

from analytics.report.meta import ReportMeta
from analytics.report.page import render_report, write_report

__all__ = ["ReportMeta", "render_report", "write_report"]
