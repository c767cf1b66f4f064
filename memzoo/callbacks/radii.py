"""Summarise residuals and spectral radii at the tracked examples, as the callbacks log them."""

from torch import Tensor

from memzoo._types import Map
from memzoo.callbacks.quantities import QUARTILES

SMALLEST_NORM = 1e-12
"""Norms below this count as this, so that an image of zeros has a residual too."""


def relative_residual(f: Map, points: Tensor) -> Tensor:
    r"""Compute :math:`\|f(x) - x\| / \|x\|` for each point."""
    norm = points.flatten(1).norm(dim=1).clamp(min=SMALLEST_NORM)
    return (f(points) - points).flatten(1).norm(dim=1) / norm


def summarise_radii(radius: Tensor) -> dict[str, float]:
    """Compute median, largest value and quartiles of the spectral radii that are known, by their keys."""
    known = radius[~radius.isnan()] if not radius.isnan().all() else radius
    quartiles: list[float] = known.quantile(radius.new_tensor([0.25, 0.75])).tolist()
    return {
        "radius_median": known.quantile(0.5).item(),
        "radius_max": known.max().item(),
        **dict(zip(QUARTILES, quartiles, strict=True)),
    }
