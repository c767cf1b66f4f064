"""Define what a figure is: functions from checkpoints to arrays, and from arrays to a picture and to rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from memzoo.figures.engine.material import Claim, Material
from memzoo.figures.engine.reproduction import Row
from memzoo.zoo import list_models

Arrays = dict[str, Tensor]
"""Everything that is drawn, by name."""


def stack_arrays(parts: Sequence[Arrays]) -> Arrays:
    """Stack arrays of the same names and shapes along a new first axis."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Figure:
    """Describe one figure or table: how its numbers and its picture come from its checkpoints."""

    name: str
    title: str
    arrays: Callable[[Material], Arrays]
    """Measure what is drawn on the checkpoints."""
    draw: Callable[[Arrays], Any]
    """Draw the arrays, and nothing else, as a figure of matplotlib."""
    checkpoints: Callable[[], list[str]] | None = None
    """List the ids in the order in which they are shown. Left out, they are the entries that name this figure."""
    rows: Callable[[Material, Arrays], list[Row]] = field(default=lambda material, _: material.rows())
    """Compare what was measured with the paper. Left out, the rows are the facts of the checkpoints, measured again."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """What the paper claims beyond what the entry of the checkpoint requires, by name of the fact."""
    notes: tuple[str, ...] = ()
    """Where the text of the paper is ambiguous, and where this reproduction falls short and why."""
    caption: str = ""
    """How to read the picture."""

    @property
    def beyond(self) -> bool:
        """Tell whether the paper has no such figure or table."""
        return not self.name.startswith(("fig", "table"))

    def ids(self) -> list[str]:
        """List the checkpoints of the zoo from which the figure is made."""
        return list_models(figure=self.name) if self.checkpoints is None else self.checkpoints()
