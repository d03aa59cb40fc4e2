"""Invented children for single rules, under the name that the tests import them by."""

from analytics.invented import READ as TABLES
from analytics.invented import START, ZERO, CdmBuilder, Child, Children

__all__ = ["START", "TABLES", "ZERO", "CdmBuilder", "Child", "Children"]
