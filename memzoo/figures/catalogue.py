"""List every figure and table that can be reproduced, and reproduce them.

To add a figure, write its file in ``paper`` or ``beyond`` and add it to ``FIGURES``.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from memzoo.errors import ARGUMENT_ERRORS, MemzooError, UnknownCheckpointError
from memzoo.figures.beyond import (
    activations,
    along_training,
    basins,
    capacity,
    cycles,
    memories,
    recall,
    superattractors,
    timm_backbones,
)
from memzoo.figures.engine import Figure, Material, Reproduction
from memzoo.figures.paper import (
    fig1a,
    fig1b,
    fig2,
    fig3a,
    fig3b,
    fig4,
    fig5a,
    fig5b,
    fig6,
    fig7,
    fig8,
    fig9,
    fig10,
    fig11,
    fig12,
    tables,
)
from memzoo.zoo.registry import did_you_mean

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        fig1a.FIGURE,
        fig1b.FIGURE,
        fig2.FIGURE,
        fig3a.FIGURE,
        fig3b.FIGURE,
        fig4.FIG4A,
        fig4.FIG4B,
        fig5a.FIGURE,
        fig5b.FIGURE,
        fig6.FIGURE,
        fig7.FIGURE,
        fig8.FIGURE,
        fig9.FIGURE,
        fig10.FIGURE,
        fig11.FIGURE,
        fig12.FIGURE,
        tables.TABLE1,
        tables.TABLE2,
        along_training.FIGURE,
        basins.FIGURE,
        recall.FIGURE,
        capacity.FIGURE,
        memories.FIGURE,
        cycles.FIGURE,
        activations.FIGURE,
        superattractors.FIGURE,
        timm_backbones.FIGURE,
    )
}
"""Figures and tables of the paper in its order, then those beyond it."""


def reproduce(figure: str, out: str | Path = "reproduced", *, checkpoint: str | None = None) -> Reproduction:
    """Reproduce a figure or table of the paper from its checkpoints, and write picture and numbers to ``out``.

    Args:
        figure: A name in :data:`memzoo.figures.FIGURES`, such as ``"fig3b"`` or ``"table2"``.
        out: Folder that receives ``FIGURE.png``, ``FIGURE.pdf`` and ``FIGURE.json``.
        checkpoint: Another checkpoint of the same architecture, e.g. ``"local-dir:runs/mnist20-fc14x128"``; for figures
            that are made from a single one.

    Raises:
        UnknownCheckpointError: There is no such figure, and the message names the nearest; or the checkpoint cannot
            take the place of that of the zoo.
        CheckpointMissingError: The files of a checkpoint are neither in this installation nor on the Hub.
        CorruptCheckpointError: The files of a checkpoint are not those of its entry.
    """
    if figure not in FIGURES:
        nearest = did_you_mean(figure, FIGURES, listed_by="memzoo reproduce --list")
        raise UnknownCheckpointError(f"no figure {figure!r}. {nearest}")
    result = _make(FIGURES[figure], checkpoint)
    result.save(out)
    return result


def reproduce_all(
    out: str | Path = "reproduced", figures: Iterable[str] | None = None, *, begins: Callable[[str], None] | None = None
) -> Iterator[Reproduction]:
    """Reproduce one figure after the other.

    A figure whose checkpoint is missing or was altered says so in ``failed``, and the others are still made.

    Args:
        out: Folder that receives the files of each figure, as of :func:`reproduce`.
        figures: Names of the figures; all when left out.
        begins: Called with the name of each figure before it is made.

    Yields:
        Each figure as soon as it is made.
    """
    for name in FIGURES if figures is None else figures:
        if begins is not None:
            begins(name)
        try:
            yield reproduce(name, out)
        except Exception as error:
            if name not in FIGURES or _stops_all(error):
                raise
            yield _record_failure(name, error, out)


def _stops_all(error: Exception) -> bool:
    """Tell whether the folder cannot be written, so that every other figure would fail in the same way."""
    return isinstance(error, OSError) and not isinstance(error, MemzooError)


def _record_failure(name: str, error: Exception, out: str | Path) -> Reproduction:
    """Save the reason in the place of the figure."""
    figure = FIGURES[name]
    reason = str(error) if isinstance(error, MemzooError) else f"{type(error).__name__}: {error}"
    try:
        ids = tuple(figure.ids())
    except (MemzooError, LookupError):  # the checkpoints themselves may be what cannot be named
        return Reproduction(name, figure.title, (), notes=figure.notes, failed=reason)
    result = Reproduction(name, figure.title, ids, notes=figure.notes, failed=reason)
    result.save(out)
    return result


def _make(figure: Figure, checkpoint: str | None) -> Reproduction:
    """Measure what a figure shows, and compare it with the paper; the picture is drawn when the result is saved."""
    begun = time.monotonic()
    standard = figure.ids()
    if not standard:
        raise UnknownCheckpointError(f"no checkpoint of the registry is one of {figure.name}.")
    if checkpoint is not None and len(standard) > 1:
        raise UnknownCheckpointError(
            f"{figure.name} is made from {len(standard)} checkpoints, so that {checkpoint} cannot take their place; "
            "measure it with memzoo.dynamics or, an ensemble, with its eigenvalues()."
        )
    # facts and claims stay those of the zoo's checkpoint, whichever network is measured
    material = Material(standard, standard if checkpoint is None else [checkpoint], figure.claims)
    try:
        arrays = figure.arrays(material)
        rows = figure.rows(material, arrays)
    except (ValueError, LookupError, AttributeError) as error:
        # a file that is missing, for example, is no statement on whether the checkpoint fits the figure
        speaks_for_itself = isinstance(error, MemzooError) and not isinstance(error, ARGUMENT_ERRORS)
        if checkpoint is None or speaks_for_itself:
            raise
        raise UnknownCheckpointError(f"{checkpoint} cannot take the place of {standard[0]}: {error}") from error
    return Reproduction(
        figure.name,
        figure.title,
        tuple(material.names),
        tuple(rows),
        arrays,
        partial(figure.draw, arrays),
        figure.notes if checkpoint is None else (),  # the notes are about the checkpoint of the zoo
        figure.caption,
        seconds=time.monotonic() - begun,
    )
