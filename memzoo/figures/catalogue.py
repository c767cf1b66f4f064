"""Every figure and table that can be reproduced, by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from memzoo.errors import UnknownCheckpointError
from memzoo.figures import fig3b, fig7, tables
from memzoo.figures.reproduction import Reproduction
from memzoo.models import Autoencoder
from memzoo.zoo import info, list_models, load
from memzoo.zoo.registry import did_you_mean


class Figure(NamedTuple):
    """How one is made."""

    checkpoints: Callable[[], list[str]]
    """Ids, in the order of the figure's rows."""
    make: Callable[[list[Autoencoder], list[str]], Reproduction]


def _of_one(checkpoint: str, make: Callable[[Autoencoder, str], Reproduction]) -> Figure:
    return Figure(lambda: [checkpoint], lambda models, names: make(models[0], names[0]))


def _of_table(table: str) -> Figure:
    return Figure(partial(_rows_of, table), partial(tables.reproduce, table))


def _rows_of(table: str) -> list[str]:
    """Ids of a table's rows, in the order of their aliases ``table2-1``, ``table2-2``, ..."""
    prefix = f"{table}-"
    rows = {alias: id for id in list_models(figure=table) for alias in info(id).aliases if alias.startswith(prefix)}
    return [rows[alias] for alias in sorted(rows, key=lambda alias: int(alias.removeprefix(prefix)))]


FIGURES: dict[str, Figure] = {
    "fig3b": _of_one(fig3b.CHECKPOINT, fig3b.reproduce),
    "fig7": _of_one(fig7.CHECKPOINT, fig7.reproduce),
    "table1": _of_table("table1"),
    "table2": _of_table("table2"),
}


def reproduce(figure: str, out: str | Path = "reproduced", *, checkpoint: str | None = None) -> Reproduction:
    """Reproduce a figure or table of the paper from its checkpoints: ``FIGURE.png`` and ``FIGURE.json`` in ``out``.

    Args:
        figure: ``"fig3b"``, ``"fig7"``, ``"table1"`` or ``"table2"``.
        out: Folder that receives both files.
        checkpoint: Another checkpoint of the same kind, e.g. ``"local-dir:runs/mnist20-fc14x128"``; for figures that
            are made from a single one.

    Raises:
        UnknownCheckpointError: No such figure; the message names the nearest.
    """
    if figure not in FIGURES:
        raise UnknownCheckpointError(f"no figure {figure!r}. {did_you_mean(figure, FIGURES)}")
    standard = FIGURES[figure].checkpoints()
    if checkpoint is not None and len(standard) > 1:
        raise UnknownCheckpointError(
            f"{figure} is made from {len(standard)} checkpoints, so that {checkpoint} cannot take their place; measure "
            "it with memzoo.dynamics.spectrum or, an ensemble, with its eigenvalues()."
        )
    names = standard if checkpoint is None else [checkpoint]
    models = [load(name) for name in names]
    wanted = info(standard[0]).architecture
    for name, model in zip(names, models, strict=True):
        if type(model).__name__ != wanted:
            raise UnknownCheckpointError(f"{figure} is drawn from a {wanted}, and {name} is a {type(model).__name__}.")
    result = FIGURES[figure].make(models, names)
    result.save(out)
    return result
