"""The statistics of the study: derived frames in, tidy result tables out. Nothing here sees an OMOP table or a file."""

from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.run import run_analyses

__all__ = ["StatisticsParameters", "run_analyses"]
