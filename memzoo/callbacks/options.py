"""The arguments that several callbacks share, checked once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from memzoo._checks import check_batch
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter

Starts = Tensor | Callable[[Tensor], Tensor] | Literal["validation", "noise"]
"""Points, ``starts(examples)`` that makes them, or where they come from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuringOptions:
    """Hold the arguments of all measuring callbacks; :class:`memzoo.callbacks.AttractorCallback` documents each.

    Raises:
        ValueError: A number is out of its range, or the examples are no batch of finite points.
    """

    name: str
    examples: Tensor | None = None
    self_map: Adapter | None = None
    max_examples: int | None = None
    rotate: int = 1
    every_n_epochs: int | None = None
    every_n_steps: int | None = None
    budget: float = 0.05
    verbose: bool = True

    def __post_init__(self) -> None:
        if self.max_examples is not None and self.max_examples < 1:
            raise InvalidArgumentError(f"max_examples must be at least 1, got {self.max_examples}.")
        if self.rotate < 1:
            raise InvalidArgumentError(f"rotate is a number of subsets, at least 1, got {self.rotate}.")
        if self.examples is not None:
            check_batch(self.examples, "examples")


@dataclass(frozen=True, kw_only=True, eq=False)
class StartingOptions(MeasuringOptions):
    """Hold the arguments of the callbacks that also iterate from starts.

    Raises:
        ValueError: The reasons of :class:`MeasuringOptions`, or ``starts`` has none of the types that it may have.
    """

    starts: Starts | None = None
    max_starts: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_starts is not None and self.max_starts < 1:
            raise InvalidArgumentError(f"max_starts must be at least 1, got {self.max_starts}.")
        if isinstance(self.starts, Tensor):
            check_batch(self.starts, "starts")
        elif self.starts is not None and not callable(self.starts) and self.starts not in ("validation", "noise"):
            raise InvalidArgumentError(
                f"starts must be a tensor, a function, 'validation' or 'noise', got {self.starts!r}."
            )
        super().__post_init__()
