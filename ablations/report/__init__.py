"""Reports: one JSON object made from the ledger, and the texts made from that object alone."""

from ablations.report.document import document
from ablations.report.formats import FORMATS, HTML, TEXTS, render

__all__ = ["FORMATS", "HTML", "TEXTS", "document", "render"]
