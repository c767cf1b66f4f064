"""Every figure that can be reproduced, by name."""

from collections.abc import Callable
from pathlib import Path

from memzoo.errors import UnknownCheckpointError
from memzoo.figures import fig3b, fig7
from memzoo.figures.reproduction import Reproduction
from memzoo.models import Autoencoder
from memzoo.zoo import info, load
from memzoo.zoo.registry import did_you_mean

FIGURES: dict[str, tuple[str, Callable[[Autoencoder, str], Reproduction]]] = {
    "fig3b": (fig3b.CHECKPOINT, fig3b.reproduce),
    "fig7": (fig7.CHECKPOINT, fig7.reproduce),
}


def reproduce(figure: str, out: str | Path = "reproduced", *, checkpoint: str | None = None) -> Reproduction:
    """Reproduce a figure of the paper from its checkpoint: ``FIGURE.png`` and ``FIGURE.json`` in ``out``.

    Args:
        figure: ``"fig3b"`` or ``"fig7"``.
        out: Folder that receives both files.
        checkpoint: Another checkpoint of the same kind, e.g. ``"local-dir:runs/mnist20-fc14x128"``.

    Raises:
        UnknownCheckpointError: No such figure; the message names the nearest.
    """
    if figure not in FIGURES:
        raise UnknownCheckpointError(f"no figure {figure!r}. {did_you_mean(figure, FIGURES)}")
    standard, measure = FIGURES[figure]
    name = checkpoint or standard
    model = load(name)
    wanted = info(standard).architecture
    if type(model).__name__ != wanted:
        raise UnknownCheckpointError(f"{figure} is drawn from a {wanted}, and {name} is a {type(model).__name__}.")
    result = measure(model, name)
    result.save(out)
    return result
