"""Say what became of one measurement, in one word."""

import math
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from memzoo.dynamics import Spectrum
from memzoo.errors import MemzooError

Word = Literal["right", "undecided", "unsure", "refused", "missed", "wrong", "raw", "changed"]
"""*Right*: equal to what is known. *Undecided*: memzoo says that it does not know. *Unsure*: the oracle does not know.
*Refused*: a clear error of memzoo. *Missed*: an attractor that was not certified. *Wrong*: a number or a verdict that
the truth contradicts. *Raw*: an error that memzoo did not raise on purpose. *Changed*: a module that is not as before.
"""
WORDS: tuple[Word, ...] = ("right", "undecided", "unsure", "refused", "missed", "wrong", "raw", "changed")
FAULTS: frozenset[Word] = frozenset({"wrong", "raw", "changed"})


@dataclass(frozen=True)
class Outcome:
    """Hold what became of one measurement."""

    kind: str
    """What was measured: a kind of map or of network, the name of a module."""
    measure: str
    """How it was measured."""
    word: Word
    detail: str = ""
    """What came and what was expected, where the word is not enough."""


Case = tuple[str, Callable[[], Sequence[Outcome]]]
"""A name that finds the case again, and a function that measures it."""
Part = Callable[[int, int], Iterator[Case]]
"""A part of this tool: ``part(seed, count)`` draws its cases."""


def attempt(call: Callable[[], Any]) -> tuple[Any, Word | None, str]:
    """Call a function of memzoo, and tell a clear refusal from an error that was not raised on purpose.

    Returns:
        ``(value, None, "")``, or ``(None, word, text)`` with the word ``refused`` or ``raw`` and the error as a text.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(), None, ""
        except MemzooError as error:
            return None, "refused", _describe_error(error)
        except Exception as error:  # whatever it is, memzoo should have raised its own
            return None, "raw", _describe_error(error)


def _describe_error(error: Exception) -> str:
    """Describe an error by its type, the place that raised it and the beginning of its text."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    place = f"{frame.f_globals.get('__name__', '?')}:{line}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__} in {place}: {text[:160]}"


@dataclass(frozen=True)
class Truth:
    """Hold what is known of a radius without memzoo: the true one is within ``slack`` of ``radius``."""

    radius: float
    slack: float

    def judge(self, radius: float, error: float, verdict: str) -> tuple[Word, str]:
        """Judge a radius with its bound and its verdict."""
        text = f"{radius:.9g} +- {error:.2g} ({verdict}), true {self.radius:.9g} +- {self.slack:.1g}"
        if math.isnan(radius) or not error < math.inf:
            return ("undecided", "") if verdict == "undecided" else ("wrong", f"no number, and a verdict: {text}")
        if verdict == "undecided" and self.radius - self.slack <= 1 <= self.radius + self.slack:
            return self._judge_bound(radius, error, "right", text)
        if self._contradicts(verdict):
            return "wrong", f"verdict: {text}"
        return self._judge_bound(radius, error, "undecided" if verdict == "undecided" else "right", text)

    def judge_row(self, found: Spectrum, row: int) -> tuple[Word, str]:
        """Judge one row of a spectrum.

        A derivative that memzoo itself marks as doubtful makes no claim, since its verdict is undecided.
        """
        radius = found.radius[row].item()
        error = found.radius_error[row].item()
        verdict = found.verdict[row]
        doubt = getattr(found, "derivative", ["verified"] * len(found.radius))[row]
        if doubt not in ("verified", "one-sided"):
            text = f"derivative {doubt}, {radius:.6g} ({verdict})"
            return ("undecided", text) if verdict == "undecided" else ("wrong", f"a verdict although {text}")
        return self.judge(radius, error, verdict)

    def _judge_bound(self, radius: float, error: float, word: Word, text: str) -> tuple[Word, str]:
        if abs(radius - self.radius) > error + self.slack:
            return "wrong", f"bound: {text}"
        return word, text if word == "undecided" else ""

    def _contradicts(self, verdict: str) -> bool:
        if verdict == "contracting":
            return self.radius - self.slack >= 1
        return verdict == "expanding" and self.radius + self.slack <= 1
