"""Find the rows of a batch at which an evaluation fails, so that the others can be measured."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory

SHOWN = 3
"""Rows whose reasons are named in a message."""


def has_finite_weights(module: nn.Module) -> bool:
    """Tell whether all parameters and buffers are finite: where they are not, no row can be measured."""
    tensors = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def find_bad_rows(work: Callable[[Tensor], Any], rows: Tensor) -> dict[int, str]:
    """Find the rows at which ``work`` raises an error, by halving.

    Args:
        work: Function of some of the rows, which treats each row for itself.
        rows: Indices of the rows.

    Returns:
        The reason for each bad row, by its index. Cost: about three times that of all rows where one is bad, at most
        two evaluations a row where all are.
    """
    try:
        if len(rows):
            work(rows)
        return {}
    except Exception as error:
        if is_out_of_memory(error):  # this says nothing about the rows
            raise
        if len(rows) == 1:
            return {int(rows): f"{type(error).__name__}: {error}"}
    half = len(rows) // 2
    return find_bad_rows(work, rows[:half]) | find_bad_rows(work, rows[half:])


def describe_bad_rows(bad: dict[int, str], count: int, what: str) -> str:
    """Say how many of ``count`` rows are bad, and why the first of them are."""
    named = [f"{row} ({reason})" for row, reason in sorted(bad.items())[:SHOWN]]
    more = ", ..." if len(bad) > SHOWN else ""
    return f"{len(bad)} of {count} {what} could not be measured: {', '.join(named)}{more}"
