"""Hold the result of an audit as its user sees it: numbers that print, show and save themselves."""

from dataclasses import dataclass
from pathlib import Path

from memzoo.auditing.folder import save_report
from memzoo.auditing.page import render_page
from memzoo.auditing.record import to_json
from memzoo.auditing.result import Findings
from memzoo.auditing.verdict import state_verdict, summarize


@dataclass(frozen=True)
class Audit(Findings):
    """Hold what :func:`memzoo.audit` found; it prints as a short text, and :meth:`save` writes it as a report."""

    @property
    def verdict(self) -> str:
        """Return the finding in one or two plain sentences."""
        return state_verdict(self)

    @property
    def json(self) -> str:
        """Return every number as JSON, without NaN."""
        return to_json(self)

    @property
    def html(self) -> str:
        """Return the report as one self-contained page."""
        return render_page(self)

    def save(self, folder: str | Path) -> Path:
        """Write ``report.html``, ``report.json`` and the attractors as PNG into ``folder``, all of it or nothing.

        Raises:
            AlreadyExistsError: The folder holds something that is no report; an older report is replaced.
        """
        return save_report(self, Path(folder))

    def __str__(self) -> str:
        return summarize(self)
