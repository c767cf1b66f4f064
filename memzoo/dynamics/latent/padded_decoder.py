"""See a decoder as a map of one space to itself, so that all that is known of the Jacobians of such maps holds for it.

Codes and images are filled up with zeros to one length. The Jacobian of the padded map is that of the decoder beside
zeros: it has the same singular values, and what differences say of the one they say of the other.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from memzoo._types import Map
from memzoo.dynamics.latent.halves import Half
from memzoo.dynamics.spectra import (
    LARGEST_BY_DIFFERENCES,
    Factors,
    FlatMap,
    InexactFactors,
    Jacobians,
    build_factors,
    compute_jacobians,
    compute_jacobians_by_differences,
)

HELD = 40
"""Values of the size of the widest layer that a graph of autograd may hold."""


class _PaddedDecoder(nn.Module):
    """Decode the first numbers of each row, and fill the image up with zeros."""

    def __init__(self, decoder: nn.Module, shape: Sequence[int], dim: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.shape = tuple(shape)
        self.dim = dim
        self.training = decoder.training

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of padded codes to padded images."""
        return _decode_padded(self.decoder, self.shape, self.dim, x)


def pad_decoder(decoder: Half, shape: Sequence[int], dim: int) -> Map:
    """Return a decoder of codes of this shape as a map of rows of ``dim`` numbers."""
    if isinstance(decoder, nn.Module):
        return _PaddedDecoder(decoder, shape, dim)
    return lambda x: _decode_padded(decoder, shape, dim, x)


def _decode_padded(decoder: Half, shape: Sequence[int], dim: int, x: Tensor) -> Tensor:
    images = decoder(x[:, : math.prod(shape)].reshape(-1, *shape)).flatten(1)
    return pad(images, (0, dim - images.shape[1]))


class DecoderJacobians(Jacobians):
    r"""The Jacobians of a decoder.

    Args:
        decoder: Decoder.
        z: Codes (B, \*shape).
        size: Number of values of one image.
        memory_limit: As of :class:`Jacobians`.
    """

    def __init__(self, decoder: Half, z: Tensor, size: int, memory_limit: int) -> None:
        self.inputs: int = z[0].numel()
        """Number of values of one code."""
        self.outputs: int = size
        dim = max(self.inputs, size)
        padded = pad(z.flatten(1), (0, dim - self.inputs))
        super().__init__(pad_decoder(decoder, z.shape[1:], dim), padded, None, memory_limit)

    def form_jacobians(self, x: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, "batch outputs inputs"], Tensor]:
        """Form the Jacobians of the decoder itself, and bound the norms of their errors beyond rounding."""
        codes = x.to(self.dtype)[:, : self.inputs]
        if self.method == "differences":
            return compute_jacobians_by_differences(self._restrict(self.wide), codes)
        decode = self._restrict(self.differentiated)
        if isinstance(self.differentiated, FlatMap):
            decode = _RestrictedMap(self.differentiated, self._restrict)
        forward = self.inputs <= self.outputs
        jacobians = compute_jacobians(decode, codes, self._tangents, forward=forward)
        return jacobians, torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def form_factors(self, x: Float[Tensor, "batch dim"]) -> Factors:
        """Form the Jacobians of the padded map, as those of the decoder times the projection to the codes."""
        jacobians, error = self.form_jacobians(x)
        left = pad(jacobians, (0, 0, 0, self.dim - self.outputs))
        projection = torch.eye(self.inputs, self.dim, dtype=left.dtype, device=left.device)
        exact = build_factors(self.eps, left, outer_right=projection)
        finite = exact.finite & error.isfinite()
        error = error.to(left).nan_to_num()
        return InexactFactors(exact.left, exact.right, None, exact.outer_right, finite, self.eps, error)

    def form_code_products(self, point: Float[Tensor, "1 dim"]) -> tuple[Map, Map]:
        """Return the products J v and J^T u with the decoder's Jacobian at one code, of stacks (m, size)."""
        factors = self.form_factors(point) if self.method == "differences" else None
        if factors is None:
            push, pull, _ = self.form_products(point)
        else:
            push, pull = _multiply(factors)
        most = self._count_vectors()

        def apply(product: Map, vectors: Tensor, size: int) -> Tensor:
            stack = pad(vectors, (0, self.dim - vectors.shape[1]))[:, None]
            return torch.cat([product(part)[:, 0, :size] for part in stack.split(most)])

        return lambda v: apply(push, v, self.outputs), lambda u: apply(pull, u, self.inputs)

    def split_for_products(self, points: Float[Tensor, "batch dim"]) -> Iterator[Tensor]:
        """Split the row indices into blocks at which the map can be linearised together."""
        return iter(torch.arange(len(points), device=points.device).split(self._count_vectors()))

    def _count_vectors(self) -> int:
        """Return how many vectors, or points, fit into the memory limit with what a graph of autograd holds."""
        widest = max(self.dim, 0 if self.graph is None else self.graph.widest)
        return max(1, self.memory_limit // (8 * HELD * widest))

    def list_alternatives(self) -> "Iterator[DecoderJacobians]":
        """Offer other ways to the Jacobians; differences cost as many evaluations as a code has values, four times."""
        for way in super().list_alternatives():
            assert isinstance(way, DecoderJacobians)
            yield way
        if self.inputs <= LARGEST_BY_DIFFERENCES < self.dim and self.method != "differences":
            numeric = copy.copy(self)
            numeric.method = "differences"
            yield numeric

    def _restrict(self, padded: Map) -> Map:
        """Return a padded map of a row, or of rows, as one from codes to images."""
        fill = (0, self.dim - self.inputs)
        return lambda codes: padded(pad(codes, fill))[..., : self.outputs]


class _RestrictedMap(FlatMap):
    """A padded map of flat rows as one from codes to images, with all that autograd has to know of the map.

    Args:
        padded: The padded map.
        restrict: Returns a padded map as one from codes to images.
    """

    def __init__(self, padded: FlatMap, restrict: Callable[[Map], Map]) -> None:
        super().__init__(padded.f, padded.shape)
        self._row = restrict(super().__call__)
        self._batch = restrict(super().map_batch)

    def __call__(self, row: Tensor) -> Tensor:
        """Decode one code."""
        return self._row(row)

    def map_batch(self, rows: Tensor) -> Tensor:
        """Decode all codes in one call."""
        return self._batch(rows)


def _multiply(factors: Factors) -> tuple[Map, Map]:
    """Return the products J v and J^T u with a Jacobian that is formed."""
    return factors.push, lambda u: factors.pull(u.movedim(0, -1)).movedim(-1, 0)
