"""Compute the matrix of a linear network."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memzoo._checks import apply_map, check_map, check_module
from memzoo._types import Map
from memzoo.dynamics.spectra.eigenvalues import spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.notation import bracket_notation
from memzoo.dynamics.spectra.spectrum import Spectrum
from memzoo.dynamics.tracing import Widened, enter_map, leave_no_trace, promote_to_float64
from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError

MEMORY = 2**30
"""Bytes of tangents in work at one time."""
SCALES = (1e-3, 1.0, 1e3)
"""Sizes of the points where linearity is tried: a bend may lie near the origin or far away."""


@runtime_checkable
class HasShape(Protocol):
    """A module that knows the shape of the points it maps."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one point, without the batch axis."""
        ...


@dataclass(frozen=True)
class Operator:
    r"""A map :math:`x \mapsto A x + b` of points flattened in their memory order; prints as its spectrum."""

    matrix: Float[Tensor, "d d"]
    """A, in float64. An image (C, H, W) is flattened channel by channel, each row by row."""
    offset: Float[Tensor, " d"]
    """b = f(0)."""
    shape: tuple[int, ...]
    """Shape of one point."""

    @cached_property
    def spectrum(self) -> Spectrum:
        """Return the whole nonzero spectrum of A, one row; computed at first use."""
        return spectrum(lambda x: x @ self.matrix.T, torch.zeros_like(self.offset)[None], method="dense")

    def bracket(self, leading: int | None = None) -> str:
        """Return the moduli of the eigenvalues as the paper prints them: the leading ones, then a bound on all others.

        Args:
            leading: How many are written out; when left out, those from 0.5 on, which belong to what the network has
                memorised (modulus near 1) and to what decays too slowly to be bounded away.
        """
        eigenvalues = self.spectrum.eigenvalues[0]
        if leading is None:
            leading = int((eigenvalues.abs() >= 0.5).sum())
        return bracket_notation(eigenvalues, leading)

    def __str__(self) -> str:
        return self.bracket()


@leave_no_trace
@torch.no_grad()
def operator(f: Map, shape: tuple[int, ...] | None = None, *, block: int = 1024) -> Operator:
    """Compute the matrix of a linear or affine map, whatever layers it is made of.

    The paper writes a convolution and a nearest-neighbour upsampling as matrices of padded images (Algorithms 1 and 2
    of its supplement). Here the identity is pushed through in float64, which gives their product without the padding,
    and for any stack of linear layers: strides, skip connections, several filters. Where the stack is narrower inside
    than its input, that is done from there.

    Args:
        f: Self-map; modules in eval mode. A module is read in float64 without being changed; a callable that cannot
            compute in float64 is pushed through in its own precision.
        shape: Shape of one point. When left out: ``f.shape`` (see :class:`memzoo.dynamics.HasShape`), else that of
            Lightning's ``f.example_input_array``, else ``in_features`` of a first layer that is ``nn.Linear``.
        block: Basis vectors pushed through at one time.

    Returns:
        Cost: d + 13 evaluations of f and d^2 numbers, d the size of a point; 2k instead of d through a cut of size k.

    Raises:
        NonFiniteError: NaN or infinity in the parameters of ``f`` or in its outputs.
        NotASelfMapError: ``f`` changes the shape.
        TypeError: The shape is neither given nor known.
        ValueError: ``f`` is not affine, seen at random points of several magnitudes.

    Example:
        >>> found = operator(torch.nn.Conv2d(1, 1, 3, padding=1, bias=False), (1, 2, 2))
        >>> found.matrix.shape
        torch.Size([4, 4])
        >>> print(operator(lambda x: x @ torch.diag(torch.tensor([1.0, 0.98, 0.012])), (3,)))
        1, .98, [< 2e-2]
    """
    check_module(f)
    shape = _find_shape(f) if shape is None else tuple(shape)
    device = next((p.device for p in f.parameters()), None) if isinstance(f, nn.Module) else None
    origin = torch.zeros(1, *shape, device=device)
    f = enter_map(f, origin)
    wide, zero = promote_to_float64(f, origin.double())
    check_map(wide, zero)
    offset = apply_map(wide, zero).flatten()
    identity = torch.eye(zero.numel(), dtype=zero.dtype, device=device)
    jacobians = Jacobians(f, zero, None, MEMORY)
    if jacobians.method == "cut":  # the Jacobian of an affine map is its matrix, and thin where the map is narrow
        factors = jacobians.form_factors(zero)
        matrix = factors.outward(factors.inward(identity))[0].double()
    else:
        bases = [part.reshape(-1, *shape) for part in identity.split(block)]
        rows = torch.cat([apply_map(wide, basis).flatten(1) for basis in bases])
        matrix = (rows - offset).T.double()
    if not matrix.isfinite().all():
        raise NonFiniteError("f holds NaN or infinity at the origin or at a unit vector, so it has no matrix.")
    _check_affine(wide, zero, matrix, offset.double())
    return Operator(matrix, offset.double(), shape)


def _find_shape(f: Map) -> tuple[int, ...]:
    """Find the shape of the points that a module maps."""
    f = f.module if isinstance(f, Widened) else f
    shape = f.shape if isinstance(f, HasShape) else None
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return tuple(shape)
    example = getattr(f, "example_input_array", None)
    if isinstance(example, Tensor):
        return tuple(example.shape[1:])
    first = f[0] if isinstance(f, nn.Sequential) and len(f) else f
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    raise InvalidTypeError(
        f"{type(f).__name__} does not tell the shape of its points; pass shape=, such as (3, 32, 32)."
    )


def _check_affine(f: Map, zero: Tensor, matrix: Tensor, offset: Tensor) -> None:
    """Check that f(x) = A x + b within rounding at random points."""
    generator = torch.Generator().manual_seed(0)
    tol = torch.finfo(zero.dtype).eps ** 0.5
    for scale in SCALES:
        x = scale * torch.randn(4, *zero.shape[1:], generator=generator, dtype=torch.float64).to(zero)
        linear = x.flatten(1).double() @ matrix.T
        gap = (f(x).flatten(1).double() - linear - offset).norm(dim=1)
        if not (gap <= tol * (linear.norm(dim=1) + offset.norm())).all():
            raise InvalidArgumentError(
                f"operator needs a linear map, but f(x) differs from A x + b by {gap.max():.2g} at a random point of "
                f"standard deviation {scale:g}; use spectrum(f, x) for the Jacobian at a point."
            )
