"""Every figure and table that can be reproduced, by name."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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
        timm_backbones.FIGURE,
    )
}
"""Those of the paper in its order, then those beyond it."""


def reproduce(figure: str, out: str | Path = "reproduced", *, checkpoint: str | None = None) -> Reproduction:
    """Reproduce a figure or table of the paper from its checkpoints: picture and numbers in ``out``.

    Args:
        figure: A name in :data:`memzoo.figures.FIGURES`, such as ``"fig3b"`` or ``"table2"``.
        out: Folder that receives ``FIGURE.png``, ``FIGURE.pdf`` and ``FIGURE.json``.
        checkpoint: Another checkpoint of the same architecture, e.g. ``"local-dir:runs/mnist20-fc14x128"``; for figures
            that are made from a single one.

    Raises:
        UnknownCheckpointError: No such figure, the message names the nearest; or the checkpoint cannot take that place.
        CheckpointMissingError: The files of a checkpoint are not in this installation, and not on the Hub.
        CorruptCheckpointError: They are not those of its entry.
    """
    if figure not in FIGURES:
        raise UnknownCheckpointError(
            f"no figure {figure!r}. {did_you_mean(figure, FIGURES, listed_by='memzoo reproduce --list')}"
        )
    result = _made(FIGURES[figure], checkpoint)
    result.save(out)
    return result


def reproduce_all(
    out: str | Path = "reproduced", figures: Iterable[str] | None = None, *, begins: Callable[[str], None] | None = None
) -> Iterator[Reproduction]:
    """Reproduce one figure after the other, all when none are named.

    One whose checkpoint is missing or was altered says so in ``failed``, and the others go on.

    Args:
        out: Folder that receives the files of each, as of :func:`reproduce`.
        figures: Names.
        begins: Is told each name before it is made.

    Yields:
        Each, when it is made.
    """
    for name in FIGURES if figures is None else figures:
        if begins is not None:
            begins(name)
        try:
            yield reproduce(name, out)
        except OSError as error:
            if not isinstance(error, MemzooError):  # the folder cannot be written: so it will be for the others
                raise
            yield _failed(name, error, out)
        except Exception as error:  # whatever is wrong with this one, the others go on
            if name not in FIGURES:
                raise
            yield _failed(name, error, out)


def _failed(name: str, error: Exception, out: str | Path) -> Reproduction:
    """The reason in place of the figure."""
    figure = FIGURES[name]
    reason = str(error) if isinstance(error, MemzooError) else f"{type(error).__name__}: {error}"
    with suppress(MemzooError, LookupError):
        result = Reproduction(name, figure.title, tuple(figure.ids()), notes=figure.notes, failed=reason)
        result.save(out)
        return result
    return Reproduction(name, figure.title, (), notes=figure.notes, failed=reason)


def _made(figure: Figure, checkpoint: str | None) -> Reproduction:
    begun = time.monotonic()
    standard = figure.ids()
    if not standard:
        raise UnknownCheckpointError(f"no checkpoint of the registry is one of {figure.name}.")
    if checkpoint is not None and len(standard) > 1:
        raise UnknownCheckpointError(
            f"{figure.name} is made from {len(standard)} checkpoints, so that {checkpoint} cannot take their place; "
            "measure it with memzoo.dynamics or, an ensemble, with its eigenvalues()."
        )
    material = Material(standard, standard if checkpoint is None else [checkpoint], figure.claims)
    try:
        arrays = figure.arrays(material)
        rows = figure.rows(material, arrays)
    except (ValueError, LookupError, AttributeError) as error:
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
        figure.notes if checkpoint is None else (),  # they are about ours
        figure.caption,
        seconds=time.monotonic() - begun,
    )
