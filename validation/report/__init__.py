"""The report of a run: one page, its figures and its verdicts."""

from openmm_nti.validation.report.page import write_report

__all__ = ["write_report"]
