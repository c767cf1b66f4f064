"""Draw what was measured during training against the optimizer steps."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from memzoo.plotting.colours import BLACK, BLUE, ORANGE, SKY, VERMILION

Curve = tuple[str, Sequence[float]]
"""A label and one value for each measurement."""
SHARE_STYLES = ((BLUE, 6.0), (ORANGE, 4.0), (SKY, 2.5), (BLACK, 1.0))
"""Colour and width of each curve: the later ones are thinner, because shares often coincide."""
RADIUS_COLOURS = (VERMILION, SKY)


def draw_history(
    steps: Sequence[float],
    *,
    shares: Sequence[Curve],
    radii: Sequence[Curve],
    quartiles: tuple[Sequence[float], Sequence[float]],
    losses: Sequence[float],
) -> Any:
    """Draw shares, if there are any, spectral radii with their quartiles, and the loss, one panel below another.

    Args:
        steps: Optimizer steps, one for each measurement.
        shares: Curves between 0 and 1.
        radii: The largest and the median spectral radius.
        quartiles: Lower and upper quartile of the spectral radius, as a band.
        losses: Values that are not positive have no place on the logarithmic axis, and are left out.
    """
    from matplotlib.figure import Figure

    # A history of spectra alone has no shares, and the first panel is left out.
    count, height = (3, 7) if shares else (2, 5)
    figure = Figure(figsize=(6, height), layout="constrained")  # one that pyplot does not know, and keeps open
    panels = figure.subplots(count, 1, sharex=True)
    if shares:
        _draw_shares(panels[0], steps, shares)
    _draw_radii(panels[-2], steps, radii, quartiles)
    _draw_loss(panels[-1], steps, losses)
    return figure


def _draw_shares(axes: Any, steps: Sequence[float], shares: Sequence[Curve]) -> None:
    for (colour, width), (label, values) in zip(cycle(SHARE_STYLES), shares, strict=False):
        axes.plot(steps, values, color=colour, lw=width, marker="o", ms=width + 2, label=label)
    axes.set(ylabel="share", ylim=(-0.03, 1.03))
    axes.legend(frameon=False)


def _draw_radii(
    axes: Any,
    steps: Sequence[float],
    radii: Sequence[Curve],
    quartiles: tuple[Sequence[float], Sequence[float]],
) -> None:
    for colour, (label, values) in zip(cycle(RADIUS_COLOURS), radii, strict=False):
        axes.plot(steps, values, color=colour, marker="o", ms=4, label=label)
    axes.fill_between(steps, *quartiles, color=SKY, alpha=0.3, lw=0, label="quartiles")
    # a fixed point attracts where the radius is below 1
    axes.axhline(1, color="0.6", lw=1, ls="--")
    axes.set(ylabel="spectral radius")
    axes.legend(frameon=False)


def _draw_loss(axes: Any, steps: Sequence[float], losses: Sequence[float]) -> None:
    positive = [(step, loss) for step, loss in zip(steps, losses, strict=True) if loss > 0]
    if positive:
        places, values = zip(*positive, strict=True)
        axes.semilogy(places, values, color=BLACK, marker="o", ms=4)
    axes.set(xlabel="optimizer steps", ylabel="loss")
