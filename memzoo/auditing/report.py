"""The result of an audit as its user holds it: numbers that say, show and save themselves."""

from dataclasses import dataclass
from pathlib import Path

from memzoo.auditing import folder as report_folder
from memzoo.auditing.page import page
from memzoo.auditing.record import to_json
from memzoo.auditing.result import Findings
from memzoo.auditing.verdict import summary, verdict


@dataclass(frozen=True)
class Audit(Findings):
    """What :func:`memzoo.audit` found; prints as a short text, and :meth:`save` writes it as a report."""

    @property
    def verdict(self) -> str:
        """The finding in one or two plain sentences."""
        return verdict(self)

    @property
    def json(self) -> str:
        """Every number as JSON, without NaN."""
        return to_json(self)

    @property
    def html(self) -> str:
        """The report as one self-contained page."""
        return page(self)

    def save(self, folder: str | Path) -> Path:
        """Write ``report.html``, ``report.json`` and the attractors as PNG into ``folder``, all of it or nothing.

        Raises:
            FileExistsError: The folder holds something that is no report; an older report is replaced.
        """
        return report_folder.save(self, Path(folder))

    def __str__(self) -> str:
        return summary(self)
