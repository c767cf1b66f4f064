"""What a figure is: checkpoints in, arrays, a picture and rows of numbers out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from memzoo.figures.engine.material import Claim, Material
from memzoo.figures.engine.reproduction import Row
from memzoo.zoo import list_models

Arrays = dict[str, Tensor]
"""Everything that is drawn, by name."""


@dataclass(frozen=True)
class Figure:
    """One figure or table: how its numbers and its picture come from its checkpoints."""

    name: str
    title: str
    arrays: Callable[[Material], Arrays]
    """What the checkpoints give, measured."""
    draw: Callable[[Arrays], Any]
    """A matplotlib figure of the arrays alone."""
    checkpoints: Callable[[], list[str]] | None = None
    """Ids, in the order in which they are shown; of the entries that name this figure when left out."""
    rows: Callable[[Material, Arrays], list[Row]] = field(default=lambda material, _: material.rows())
    """The facts of the checkpoints, measured again, when left out."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """What the paper claims beyond what its entry requires, by name of the fact."""
    notes: tuple[str, ...] = ()
    """Where the paper's text is ambiguous, and where we fall short and why."""
    caption: str = ""
    """How to read the picture."""

    @property
    def beyond(self) -> bool:
        """Not a figure or table of the paper."""
        return not self.name.startswith(("fig", "table"))

    def ids(self) -> list[str]:
        """Checkpoints of the zoo that it is made from."""
        return list_models(figure=self.name) if self.checkpoints is None else self.checkpoints()
