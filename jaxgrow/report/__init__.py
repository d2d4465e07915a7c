"""One HTML file that tells a run: panels, curves, tables, versions, command."""

from jaxgrow.report.page import write_report as write_report
