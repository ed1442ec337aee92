"""Looking at data before it trains anything: counts, copies, unreadable rows, leaks."""

from headstock.data.checking.check import Question, check_data
from headstock.data.checking.report import Finding, Report

__all__ = ["Finding", "Question", "Report", "check_data"]
