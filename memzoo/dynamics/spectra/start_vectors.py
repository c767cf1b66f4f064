"""Draw the random vectors of the Krylov methods, for each point from a seed of its own.

A fixed draw is orthogonal to the leading direction of some map. A seed that is made of the point and of the parameters
of the map meets that map by chance alone, gives the same numbers again, and does not depend on the rest of a batch.
"""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.tracing import collect_tensors

PROBES = 6
"""Random vectors by which the norm of a matrix is bounded."""
NORM_BLOCK = 4
"""Columns of the start of the space of the Gram matrix."""
PROBE_MISSED = 1e-7
"""Probability that a matrix is longer than its products with the probes tell."""


@dataclass(frozen=True)
class Draws:
    """Independent standard normal vectors, one row a point."""

    right: Float[Tensor, "batch dim block"]
    """Start of the space of J."""
    left: Float[Tensor, "batch dim block"]
    """Start of the space of its transpose."""
    probes: Float[Tensor, "batch dim 6"]
    norm: Float[Tensor, "batch dim 4"]
    """Start of the space of the Gram matrix."""
    mixing: Float[Tensor, "batch 2 most 6"]
    """Coefficients of combinations of the columns of the first two spaces."""

    def __getitem__(self, rows: Int[Tensor, " m"]) -> "Draws":
        """Select the vectors of some of the points."""
        return Draws(**{name: value[rows] for name, value in vars(self).items()})


def derive_seeds(f: Map, x: Float[Tensor, "batch *shape"], seed: int | None) -> Int[Tensor, " batch"]:
    """Derive a seed for each point from its bytes and from those of the parameters and buffers of ``f``.

    A callable that is no module has no parameters that could be read: the point alone decides.

    Args:
        f: Self-map.
        x: Points.
        seed: Seed to take for all points instead.
    """
    if seed is not None:
        return torch.full((len(x),), seed, dtype=torch.long, device=x.device)
    of_map = hashlib.sha256()
    for name, tensor in collect_tensors(f).items():
        of_map.update(name.encode())
        with Attempt(RuntimeError):  # a tensor without storage, such as a sparse one
            of_map.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    seeds = []
    for row in x.detach().double().cpu().flatten(1):
        of_point = of_map.copy()
        of_point.update(row.contiguous().numpy().tobytes())
        seeds.append(int.from_bytes(of_point.digest()[:7], "little"))  # torch takes seeds below 2^63
    return torch.tensor(seeds, dtype=torch.long, device=x.device)


def draw_vectors(seeds: Int[Tensor, " batch"], dim: int, block: int, columns: int) -> Draws:
    """Draw the vectors of each point on the CPU, so that they are the same on every device.

    Args:
        seeds: One seed a point.
        dim: Length of the vectors.
        block: Columns of a start.
        columns: Columns of a Krylov space at most.
    """
    sizes = [(dim, block), (dim, block), (dim, PROBES), (dim, NORM_BLOCK), (2, columns, PROBES)]
    rows = [_draw_row(seed, sizes) for seed in seeds.tolist()]
    parts = (torch.stack(part).to(seeds.device) for part in zip(*rows, strict=True))
    return Draws(*parts)


def bound_norm(images: Float[Tensor, "batch dim 6"]) -> Float[Tensor, " batch"]:
    """Bound the norm of a matrix from its products with six standard normal vectors.

    The sum of their squares is at least the square of the norm times a chi-squared variable of six degrees of
    freedom, which is below t with probability t^3 / 48 at most (in the manner of Halko, Martinsson and Tropp, Finding
    structure with randomness, 2011, lemma 4.1).
    """
    return torch.linalg.matrix_norm(images) / (48 * PROBE_MISSED) ** (1 / 6)


def _draw_row(seed: int, sizes: list[tuple[int, ...]]) -> list[Tensor]:
    """Draw the vectors of one point."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]
