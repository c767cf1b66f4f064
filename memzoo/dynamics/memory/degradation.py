r"""The data step of a recovery: the image nearest to a target that explains what was measured.

What was measured is y = H x. For a penalty :math:`\rho` the data step is
:math:`z = \arg\min_z \|y - H z\|^2 + \rho \|z - t\|^2 = (H^T H + \rho I)^{-1} (H^T y + \rho t)`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo.errors import InvalidArgumentError, NonFiniteError

Linear = Callable[[Tensor], Tensor]
"""A linear function of each row of a batch."""
CONJUGATE_STEPS = 200
"""Most steps of the method of conjugate gradients in one data step."""
DIGITS = 0.75
"""Share of the digits of the arithmetic to which the residual of a data step is brought down."""
UNEXPLAINED = 0.1
"""Largest misfit, relative to what is known, of an image that explains it. Different images are much farther apart."""


class Degradation(Protocol):
    """What is known of the images: the measurement, and the operator behind it."""

    def select(self, rows: Tensor) -> "Degradation":
        """Return what is known of some of the images."""
        ...

    def start(self) -> Tensor:
        """Return images to begin with."""
        ...

    def fit(self, target: Tensor, rho: float) -> Tensor:
        """Compute the data step towards ``target``."""
        ...

    def misfit(self, images: Tensor) -> Float[Tensor, " batch"]:
        """Compute the norm of y - H x of each image."""
        ...

    def is_explained_by(self, images: Tensor) -> Bool[Tensor, " batch"]:
        """Tell which of the images agree with what is known; all, where nothing is known exactly."""
        ...

    def revise(self, images: Tensor) -> "Degradation":
        """Estimate the operator again where it is not known."""
        ...

    def find_complete(self) -> Bool[Tensor, " batch"]:
        """Find the images of which everything is known."""
        ...


@dataclass(frozen=True)
class KnownPixels:
    """Images some of whose values are known; H keeps these and drops the others."""

    values: Float[Tensor, "batch *shape"]
    """Finite everywhere; what is not known counts nowhere but in the start."""
    known: Bool[Tensor, "batch *shape"]
    exact: bool
    """Whether the known values are those of the image, without noise."""

    def select(self, rows: Tensor) -> "KnownPixels":
        """Return what is known of some of the images."""
        return replace(self, values=self.values[rows], known=self.known[rows])

    def start(self) -> Tensor:
        """Return the known values, and zero elsewhere."""
        return torch.where(self.known, self.values, 0.0)

    def fit(self, target: Tensor, rho: float) -> Tensor:
        """Compute the data step: a weighted mean where the value is known."""
        return torch.where(self.known, (self.values + rho * target) / (1 + rho), target)

    def misfit(self, images: Tensor) -> Float[Tensor, " batch"]:
        """Compute the norm of the difference of the known values."""
        return torch.where(self.known, self.values - images, 0.0).flatten(1).norm(dim=1)

    def is_explained_by(self, images: Tensor) -> Bool[Tensor, " batch"]:
        """Tell which of the images have the known values; all, if these are noisy."""
        return (self.misfit(images) <= UNEXPLAINED * self.start().flatten(1).norm(dim=1)) | (not self.exact)

    def revise(self, images: Tensor) -> "KnownPixels":
        """Return the same, because the mask was given."""
        return self

    def find_complete(self) -> Bool[Tensor, " batch"]:
        """Find the images that were given whole and without noise."""
        return self.known.flatten(1).all(1) & self.exact


@dataclass(frozen=True)
class UnknownPixels:
    r"""Images some of whose values are wrong, nobody knows which.

    A value that differs by r from the estimate has the weight :math:`1 / (1 + (r / \tau)^2)`, that of Cauchy's robust
    regression by reweighted least squares (Holland and Welsch, 1977). Values that are ``certain`` have the weight 1.
    """

    values: Float[Tensor, "batch *shape"]
    certain: Bool[Tensor, "batch *shape"]
    tolerance: Float[Tensor, "batch ..."]
    r"""The scale :math:`\tau` of each image, above 0."""
    weight: Float[Tensor, "batch *shape"]
    """What is believed of each value at present; H is the diagonal matrix of the roots."""

    def select(self, rows: Tensor) -> "UnknownPixels":
        """Return what is known of some of the images."""
        return UnknownPixels(self.values[rows], self.certain[rows], self.tolerance[rows], self.weight[rows])

    def start(self) -> Tensor:
        """Return the values as they were given."""
        return self.values

    def fit(self, target: Tensor, rho: float) -> Tensor:
        """Compute the data step: a weighted mean."""
        return (self.weight * self.values + rho * target) / (self.weight + rho)

    def misfit(self, images: Tensor) -> Float[Tensor, " batch"]:
        """Compute the norm of the weighted differences."""
        return (self.weight.sqrt() * (self.values - images)).flatten(1).norm(dim=1)

    def is_explained_by(self, images: Tensor) -> Bool[Tensor, " batch"]:
        """Return true, because any value may be wrong."""
        return torch.ones(len(self.values), dtype=torch.bool, device=self.values.device)

    def revise(self, images: Tensor) -> "UnknownPixels":
        """Weigh each value by how well it agrees with ``images``."""
        ratio = (self.values - images) / self.tolerance
        return replace(self, weight=torch.where(self.certain, 1.0, 1 / (1 + ratio.square())))

    def find_complete(self) -> Bool[Tensor, " batch"]:
        """Find none, because any value may be wrong."""
        return torch.zeros(len(self.values), dtype=torch.bool, device=self.values.device)


def guess_known(values: Float[Tensor, "batch *shape"], share: float) -> UnknownPixels:
    """Guess which values are certain: those that differ from the most frequent value of their image.

    Whatever damages an image often puts one value in place of many. Where no value occurs twice, and in an image of one
    value, none is certain.

    Args:
        values: Damaged images.
        share: Scale of the weights in units of the range of each image's values.
    """
    flat = values.flatten(1)
    is_frequent = flat == flat.mode(1, keepdim=True).values
    certain = ~is_frequent & (is_frequent.sum(1, keepdim=True) > 1)
    span = (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (values.ndim - 1))
    tolerance = torch.where(span > 0, share * span, 1.0)
    return UnknownPixels(values, certain.reshape(values.shape), tolerance, torch.ones_like(values))


@dataclass(frozen=True)
class Measurement:
    """What a linear operator gave, and the operator with its adjoint."""

    values: Float[Tensor, "batch *measured"]
    operator: Linear
    adjoint: Linear

    def select(self, rows: Tensor) -> "Measurement":
        """Return what is known of some of the images."""
        return Measurement(self.values[rows], self.operator, self.adjoint)

    def start(self) -> Tensor:
        """Return H^T y."""
        return self.adjoint(self.values)

    def fit(self, target: Tensor, rho: float) -> Tensor:
        """Compute the data step by conjugate gradients (Hestenes and Stiefel, 1952), from the target on.

        With z = t + d the equations are (H^T H + rho) d = H^T (y - H t).
        """
        right = self.adjoint(self.values - self.operator(target))
        return target + solve_by_conjugate_gradients(lambda d: self.adjoint(self.operator(d)) + rho * d, right)

    def misfit(self, images: Tensor) -> Float[Tensor, " batch"]:
        """Compute the norm of y - H x of each image."""
        return (self.values - self.operator(images)).flatten(1).norm(dim=1)

    def is_explained_by(self, images: Tensor) -> Bool[Tensor, " batch"]:
        """Tell which of the images give what was measured."""
        return self.misfit(images) <= UNEXPLAINED * self.values.flatten(1).norm(dim=1)

    def revise(self, images: Tensor) -> "Measurement":
        """Return the same, because the operator was given."""
        return self

    def find_complete(self) -> Bool[Tensor, " batch"]:
        """Find none: an operator is inverted even where it loses nothing."""
        return torch.zeros(len(self.values), dtype=torch.bool, device=self.values.device)


def solve_by_conjugate_gradients(matrix: Linear, right: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
    """Solve positive definite systems, one a row, until each residual is below its share of the right side.

    This share is the rounding unit to the power ``DIGITS``: 6e-6 in float32 and 2e-12 in float64. A row that has got
    there is not changed any more, so that the answer to a row does not depend on the others.
    """
    shape = (-1, *[1] * (right.ndim - 1))
    tolerance = torch.finfo(right.dtype).eps ** DIGITS * right.flatten(1).norm(dim=1)
    solution = torch.zeros_like(right)
    residual = right
    direction = right
    square = residual.flatten(1).square().sum(1)
    for _ in range(CONJUGATE_STEPS):
        moving = square.sqrt() > tolerance
        if not moving.any():
            break
        image = matrix(direction)
        curvature = (direction * image).flatten(1).sum(1)
        length = torch.where(moving & (curvature > 0), square / curvature, 0.0).reshape(shape)
        solution = solution + length * direction
        residual = residual - length * image
        before = square
        square = residual.flatten(1).square().sum(1)
        direction = residual + torch.where(before > 0, square / before, 0.0).reshape(shape) * direction
    return solution


def derive_adjoint(operator: Linear, shape: tuple[int, ...], like: Tensor) -> Linear:
    """Derive the adjoint of a linear operator of images of a shape by automatic differentiation."""

    def adjoint(y: Tensor) -> Tensor:
        # The derivative of a linear operator is the operator, at every point.
        with torch.enable_grad():
            origin = torch.zeros(len(y), *shape, dtype=like.dtype, device=like.device, requires_grad=True)
            image = operator(origin)
            if not image.requires_grad:
                raise InvalidArgumentError(
                    "no gradient flows through operator, so that its adjoint cannot be derived; pass adjoint=."
                )
            return torch.autograd.grad(image, origin, y)[0]

    return adjoint


def check_linear(operator: Linear, adjoint: Linear, like: Float[Tensor, "batch *shape"], measured: Tensor) -> None:
    r"""Raise unless ``operator`` is linear in each row and ``adjoint`` is its adjoint, at random images.

    For each row :math:`\langle H x, y \rangle = \langle x, H^T y \rangle`, which also fails where rows interact.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(other: Tensor) -> Tensor:
        return torch.randn(2, *other.shape[1:], generator=generator, dtype=torch.float64).to(other)

    tolerance = torch.finfo(like.dtype).eps ** 0.5
    x = draw(like)
    y = draw(measured)
    image = apply_linear(operator, x, y, "operator")
    back = apply_linear(adjoint, y, x, "adjoint")
    scale = image.flatten(1).norm(dim=1).max()
    combined = apply_linear(operator, 3 * x + x.flip(0), y, "operator")
    gap = (combined - 3 * image - image.flip(0)).flatten(1).norm(dim=1).max()
    if not gap <= tolerance * scale:
        raise InvalidArgumentError(
            f"operator must be linear in each image, but operator(3 a + b) differs from 3 operator(a) + operator(b) by "
            f"{gap:.2g}; subtract operator(0) from both operator and damaged if it is affine."
        )
    forward = (image * y).flatten(1).sum(1)
    backward = (x * back).flatten(1).sum(1)
    room = tolerance * image.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)
    if not ((forward - backward).abs() <= room).all():
        raise InvalidArgumentError(
            f"adjoint is not that of operator: <H x, y> is {forward[0]:.6g} and <x, H^T y> {backward[0]:.6g} for "
            "random x and y; leave adjoint out to have it derived by automatic differentiation."
        )


def apply_linear(function: Linear, x: Tensor, like: Tensor, name: str) -> Tensor:
    """Apply ``function``, and raise unless the result is finite and of the shape of ``like``."""
    try:
        y = function(x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InvalidArgumentError(
            f"{name} fails for {len(x)} images of shape {tuple(x.shape[1:])}: {error}; it must take any number of "
            "images, each by itself: give a mask that differs from image to image as mask=."
        ) from error
    wanted = (len(x), *like.shape[1:])
    if not isinstance(y, Tensor) or tuple(y.shape) != wanted or y.dtype != like.dtype:
        came = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InvalidArgumentError(
            f"{name} must map {tuple(x.shape)} to {like.dtype} {wanted}, got {came}; pass damaged as operator(images) "
            "gives it, adjoint as the way back, and examples or adjoint where images have another shape than damaged."
        )
    if not y.isfinite().all():
        raise NonFiniteError(f"{name} gives NaN or infinity for finite random images; mend it.")
    return y
