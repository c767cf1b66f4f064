"""Recover images from degraded ones, with a network as the prior: what a memorizing network gives away of its data."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import HALF, apply_map, check_batch, check_map, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.dynamics.memory.degradation import (
    Degradation,
    KnownPixels,
    Linear,
    Measurement,
    check_linear,
    derive_adjoint,
    guess_known,
)
from memzoo.dynamics.orbits import nearest, resolve_eps
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64
from memzoo.errors import InvalidArgumentError, InvalidTypeError
from memzoo.plotting import draw_iterates

RHO = 0.1
"""Weight of the network's answer beside exact data."""
RHO_WITH_NOISE = 100.0
"""The same beside data with noise."""
STEPS = 200
"""Most evaluations of the network for an image."""
SETTLED = 2 / 3
"""Share of the digits of the arithmetic in which an image that has converged rests."""
AGREES = 0.03
"""Difference from the estimate, in units of the range of an image's values, at which a value has half of its weight."""
SHOWN = 12
"""Most images in a picture."""


@dataclass(frozen=True)
class Recovery:
    """What :func:`recover` found, one row a degraded image."""

    images: Float[Tensor, "batch *shape"]
    """The recovered images: the last answer of the map."""
    converged: Bool[Tensor, " batch"]
    """The image and the data step came to rest, and agree."""
    steps: Int[Tensor, " batch"]
    """Evaluations of the map until then."""
    misfit: Float[Tensor, " batch"]
    """L2 norm of y - H x, in units of the data: how far the image is from what is known; blind, with the weights."""
    start: Float[Tensor, "batch *shape"]
    """Where the recovery began: what is known, with zeros elsewhere; of an operator, H^T y."""
    nearest: Int[Tensor, " batch"] | None = None
    """Index of the nearest example; None without examples, as below."""
    distance: Float[Tensor, " batch"] | None = None
    """L2 distance to it."""
    recovered: Bool[Tensor, " batch"] | None = None
    """Whether this distance is below the ``eps`` of that example, and the example agrees with what is known exactly, to
    a tenth of its norm: of a mask or an operator. A noisy image, or one that is damaged nobody knows where, may end at
    an example that it does not come from."""
    eps: Float[Tensor, " n"] | None = None
    """Radius of each example in L2, given or derived from the examples."""
    examples: Float[Tensor, "n *shape"] | None = None
    """The examples."""

    def plot(self, rows: int = SHOWN) -> Any:
        """Draw the first images: as they were damaged, recovered, and the nearest example.

        Args:
            rows: How many of them.

        Returns:
            A figure of matplotlib.
        """
        columns = [("damaged", self.start[:rows]), ("recovered", self.images[:rows])]
        title = f"{int(self.converged.sum())} of {len(self.images)} converged"
        shown = self.images
        if self.examples is not None and self.nearest is not None and self.recovered is not None:
            columns.append(("nearest", self.examples[self.nearest[:rows]]))
            title = f"{int(self.recovered.sum())} of {len(self.images)} recovered"
            shown = self.examples
        return draw_iterates(columns, shown, title)

    def __str__(self) -> str:
        lines = [f"{int(self.converged.sum())} of {len(self.images)} images converged"]
        if self.recovered is not None and self.distance is not None:
            lines.append(
                f"{int(self.recovered.sum())} recovered, distances from an example {self.distance.min():.3g} to "
                f"{self.distance.max():.3g}"
            )
        return "; ".join(lines)


@torch.no_grad()
def recover(
    f: Map,
    damaged: Float[Tensor, "batch *measured"],
    mask: Tensor | None = None,
    examples: Float[Tensor, "n *shape"] | None = None,
    blind: bool = False,
    operator: Linear | None = None,
    adjoint: Linear | None = None,
    eps: float | Float[Tensor, " n"] | None = None,
    *,
    steps: int = STEPS,
    rho: float | None = None,
    block: int = 1024,
) -> Recovery:
    r"""Recover images from what is left of them, by plug-and-play ADMM with ``f`` as the prior.

    An image x was measured as y = H x, and a network that memorized x maps images near x to x. Iteration from y uses y
    once, as its start. Here each step brings back what is known (Venkatakrishnan, Bouman and Wohlberg 2013; against
    autoencoders: Abitbul and Dar 2024), with the scaled dual variable u:

    .. math::

        z = (H^T H + \rho I)^{-1} (H^T y + \rho (x - u)), \quad x = f(z + u), \quad u = u + z - x.

    At rest z = x, so that :math:`x = f(x + H^T (y - H x) / \rho)`: a fixed point of f that explains y is one for every
    :math:`\rho`. What H is:

    - ``mask``: H keeps the values where the mask is **True: known pixels**. Values under a False are not read, and may
      be NaN. An image of which everything is known is returned as it is.
    - ``blind``: some values are wrong, and nobody knows which. A value that differs by r from the estimate has the
      weight :math:`1 / (1 + (r / \tau)^2)`, with :math:`\tau` 3 % of the range of the image's values. Missing values
      are often all replaced by one: those that differ from the most frequent value of their image have the weight 1.
    - ``operator``: any linear function of each row, such as a blur, a rectangle that is cut out, fewer pixels. The data
      step is solved by conjugate gradients, to a residual of the rounding unit to the power 3/4, relative to its right
      side (6e-6 in float32).
    - none of them: H is the identity, for images with noise on them.

    That an image is recovered shows that the network stores it, or something that looks like it where it was damaged:
    damage held-out images in the same way, and count how many of these are recovered.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``damaged``; half precision is read
            as float32.
        damaged: What was measured of each image; of the shape of the images unless an ``operator`` is given.
        mask: Boolean, true for known pixels; of the shape of ``damaged``, or of anything that broadcasts to it.
        examples: Training examples with which the recovered images are compared.
        blind: The mask is not known.
        operator: H, from images (B, \*shape) to measurements (B, \*measured).
        adjoint: H^T, compared with ``operator`` at random points. When left out: derived by automatic differentiation,
            where images have the shape of the ``examples``, or of ``damaged`` without them.
        eps: Radius within which an example is recovered, one for all examples or one for each;
            :func:`memzoo.dynamics.example_eps` when left out.
        steps: Most evaluations of ``f`` for an image. An image rests where its change and the gap z - x are below the
            rounding unit to the power 2/3, relative to its norm.
        rho: Weight of the network beside the data. When left out: 0.1 for exact data, where smaller ones pull harder to
            the data, until nothing comes to rest any more; 100 for images with noise, which must not be explained.
        block: Images in work at one time.

    Returns:
        Cost: at most ``steps`` evaluations of f an image, and with an ``operator`` up to 200 evaluations of it and its
        adjoint at each.

    Raises:
        NonFiniteError: NaN or infinity in what is known, in the examples, or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        TypeError: ``mask`` is not boolean, or tensors are not floating point.
        ValueError: Two descriptions of the damage, a mask that leaves nothing of an image, an operator that is not
            linear, an adjoint that is not its adjoint, ``steps``, ``rho`` or ``eps`` out of range.

    Example:
        >>> found = recover(lambda x: x.mean(1, keepdim=True).expand(x.shape), torch.tensor([[2.0, torch.nan, 4.0]]),
        ...                 mask=torch.tensor([True, False, True]), steps=500)  # the prior: all pixels are equal
        >>> found.images.round(decimals=3)
        tensor([[3., 3., 3.]])
    """
    check_steps(steps)
    if rho is None:
        rho = RHO_WITH_NOISE if mask is None and operator is None and not blind else RHO
    if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0 < rho < torch.inf:
        raise InvalidArgumentError(f"rho must be a finite number > 0, got {rho!r}; leave it out for {RHO:g}.")
    if examples is not None:
        check_batch(examples, "examples")
    data = _describe_data(damaged, mask, blind, operator, adjoint, examples)
    start = data.start()
    if examples is None:
        return _recover(f, start, data, steps, rho, block)
    check_same_shape(start, examples, "images and examples")
    radii = resolve_eps(eps, examples)
    found = _recover(f, start, data, steps, rho, block)
    closest = nearest(found.images, examples)
    explained = data.is_explained_by(examples[closest.index].to(found.images))
    return replace(
        found,
        nearest=closest.index,
        distance=closest.distance,
        recovered=(closest.distance < radii[closest.index]) & explained,
        eps=radii,
        examples=examples.detach(),
    )


def _describe_data(
    damaged: Tensor,
    mask: Tensor | None,
    blind: bool,
    operator: Linear | None,
    adjoint: Linear | None,
    examples: Tensor | None,
) -> Degradation:
    """Check what is known of the images, and return it."""
    if sum((mask is not None, bool(blind), operator is not None)) > 1 or (adjoint is not None and operator is None):
        raise InvalidArgumentError(
            "damage is described by one of mask, blind=True and operator (with its adjoint); put a mask into operator, "
            "such as lambda x: blur(x) * mask, if there is another damage beside it."
        )
    if mask is not None and isinstance(damaged, Tensor):
        return _describe_known_pixels(_widen(damaged), mask)
    check_batch(damaged, "damaged")
    damaged = _widen(damaged)
    if blind:
        return guess_known(damaged, AGREES)
    if operator is None:
        return KnownPixels(damaged, torch.ones_like(damaged, dtype=torch.bool), exact=False)
    if adjoint is None:
        like = damaged[:1] if examples is None else examples[:1].to(damaged)
        adjoint = derive_adjoint(operator, like.shape[1:], damaged)
    else:
        like = adjoint(damaged[:1])
    check_linear(operator, adjoint, like, damaged)
    return Measurement(damaged, operator, adjoint)


def _widen(damaged: Tensor) -> Tensor:
    """Return measurements in half precision as float32, without their graph."""
    return damaged.detach().float() if damaged.dtype in HALF else damaged.detach()


def _describe_known_pixels(damaged: Tensor, mask: Tensor) -> KnownPixels:
    """Check a mask, and the values that it leaves."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InvalidTypeError(f"mask must be a boolean tensor, true for known pixels, got {came}; use mask.bool().")
    try:
        known = mask.to(damaged.device).expand(damaged.shape)
    except RuntimeError as error:
        raise InvalidArgumentError(
            f"mask must have the shape of damaged, {tuple(damaged.shape)}, or broadcast to it, got "
            f"{tuple(mask.shape)}; add axes of length 1 with mask[:, None]."
        ) from error
    values = damaged.masked_fill(~known, 0)
    check_batch(values, "damaged")
    empty = (~known.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise InvalidArgumentError(
            f"mask leaves nothing of {len(empty)} of {len(known)} images, the first is row {empty[0]}; it is true for "
            "known pixels: pass ~mask if yours is true for missing ones."
        )
    return KnownPixels(values, known, exact=True)


@leave_no_trace
def _recover(f: Map, start: Tensor, data: Degradation, steps: int, rho: float, block: int) -> Recovery:
    """Recover all images, one block after the other."""
    check_map(f, start, promote_to_float64)
    rows = torch.arange(len(start), device=start.device)
    parts = [_recover_block(f, data.select(part), steps, rho) for part in rows.split(block)]
    return Recovery(
        images=torch.cat([part.images for part in parts]),
        converged=torch.cat([part.converged for part in parts]),
        steps=torch.cat([part.steps for part in parts]),
        misfit=torch.cat([part.misfit for part in parts]),
        start=start,
    )


def _recover_block(f: Map, data: Degradation, steps: int, rho: float) -> Recovery:
    """Follow the images of a block until each rests; one that is no longer finite keeps its last finite answer."""
    start = data.start()
    complete = data.find_complete()
    taken = torch.zeros(len(start), dtype=torch.long, device=start.device)
    found = Recovery(start.clone(), complete, taken, data.misfit(start), start)
    tolerance = torch.finfo(start.dtype).eps ** SETTLED

    rows = (~complete).nonzero().flatten()
    state = _State(start, torch.zeros_like(start), data).select(rows)
    for step in range(1, steps + 1):
        if not len(rows):
            break
        state, change = state.advance(f, rho)
        finite = state.image.flatten(1).isfinite().all(1)
        at_rest = change.isfinite() & (change <= tolerance * _measure(state.image))
        found.images[rows[finite]] = state.image[finite]
        found.misfit[rows[finite]] = state.data.misfit(state.image)[finite]
        found.steps[rows[finite]] = step
        found.converged[rows[at_rest]] = True
        going = (finite & ~at_rest).nonzero().flatten()
        if len(going) < len(rows):
            rows = rows[going]
            state = state.select(going)
    return found


@dataclass(frozen=True)
class _State:
    """The variables of ADMM, one row an image."""

    image: Tensor
    """The last answer x of the map."""
    dual: Tensor
    """The scaled dual variable u."""
    data: Degradation
    """What is known of the images."""

    def select(self, rows: Tensor) -> "_State":
        """Return the variables of some of the images."""
        return _State(self.image[rows], self.dual[rows], self.data.select(rows))

    def advance(self, f: Map, rho: float) -> "tuple[_State, Float[Tensor, ' batch']]":
        """Do one step.

        Returns:
            The variables after it, and the larger of two norms: the change of the image, and its distance from the
            data step.
        """
        fitted = self.data.fit(self.image - self.dual, rho)
        image = apply_map(f, fitted + self.dual)
        change = torch.maximum(_measure(image - self.image), _measure(fitted - image))
        return _State(image, self.dual + fitted - image, self.data.revise(image)), change


def _measure(x: Tensor) -> Float[Tensor, " batch"]:
    """Compute the norm of each row."""
    return x.flatten(1).norm(dim=1)
