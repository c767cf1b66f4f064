"""Compute the metric that a decoder induces on its codes: how much each direction of a code moves the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_module
from memzoo._user_warning import warn_user
from memzoo.dynamics.latent.halves import Half, apply_half, see_as_module
from memzoo.dynamics.latent.padded_decoder import DecoderJacobians
from memzoo.dynamics.latent.quadrature import chi_squared_quantile, estimate_logdet, estimate_mean
from memzoo.dynamics.spectra import (
    Derivative,
    build_check,
    check_differentiable_self_map,
    choose_own_derivative,
    derive_seeds,
)
from memzoo.dynamics.tracing import leave_no_trace_of_half, widen_points
from memzoo.errors import InvalidArgumentError

LARGEST_EXACT = 1024
"""Dimension of a code up to which the Jacobian is formed."""
TOP = 20
"""Leading eigenvalues that are reported of a metric that is not formed."""
PROBES = 16
"""Random codes by which the log-determinant is estimated."""
QUICK_PROBES = 64
"""Random codes by which the trace is estimated, and random images by which the influences are."""
SHOWN = 20
"""Rows of a printed table."""

Way = Literal["exact", "stochastic"]


@dataclass(frozen=True)
class DecoderMetric:
    r"""What :func:`decoder_metric` found of :math:`G = J_D^T J_D`, one row a code; prints as a table."""

    eigenvalues: Float[Tensor, "batch k"]
    """Eigenvalues of G, largest first: the squares of the singular values of the Jacobian. All of them, the zeros of a
    singular metric included; if the metric was not formed, the leading 20, NaN where they have not converged."""
    rank: Int[Tensor, " batch"]
    """Eigenvalues that are above zero beyond rounding; -1 if the metric was not formed."""
    logdet: Float[Tensor, " batch"]
    """Natural logarithm of the determinant of G, twice that of the local stretching of volumes; -infinity where G is
    singular within rounding."""
    logdet_interval: Float[Tensor, "batch 2"]
    """Bounds on it: rounding if G was formed; else an interval at the level ``confidence``, whose lower end is
    -infinity where the products do not exclude that G is singular."""
    trace: Float[Tensor, " batch"]
    """Trace of G."""
    trace_interval: Float[Tensor, "batch 2"]
    """Bounds on it, in the same sense."""
    influence: Float[Tensor, "batch *latent"]
    r"""Influence of each coordinate, :math:`G_{ii} = \|\partial D / \partial z_i\|^2`."""
    influence_range: tuple[float, float]
    """Factors by which an influence may have to be multiplied, at the level ``confidence``; (1, 1) if G was formed."""
    derivative: list[Derivative]
    """What comparing the derivative with differences of the decoder has shown, see
    :class:`memzoo.dynamics.Spectrum`; where it is ``contradicted``, everything is NaN."""
    method: Way
    """``"exact"`` if G was formed, else ``"stochastic"``."""
    confidence: float
    """Level of the intervals of a metric that was not formed."""

    @property
    def log_influence(self) -> Float[Tensor, "batch *latent"]:
        """Return half the logarithm of the influences, the form in which the paper's program ranks coordinates."""
        return self.influence.log() / 2

    def __str__(self) -> str:
        count, dim = self.influence.flatten(1).shape
        how = "exact" if self.method == "exact" else f"stochastic, {100 * self.confidence:g} % intervals"
        lines = [
            f"metric of a decoder of {dim} values, {how}",
            f"{'code':>6}{'log det':>12}  {'interval':<24}{'trace':>11}{'largest':>11}",
        ]
        for row in range(min(count, SHOWN)):
            low, high = self.logdet_interval[row].tolist()
            interval = f"[{low:.6g}, {high:.6g}]"
            values = f"{self.trace[row]:>11.4g}{self.eigenvalues[row, 0]:>11.4g}"
            note = ""
            if self.derivative[row] not in ("verified", "one-sided"):
                note = f"  derivative {self.derivative[row]}"
            elif 0 <= self.rank[row] < dim:
                note = f"  singular: rank {int(self.rank[row])} of {dim}"
            lines.append(f"{row:>6}{self.logdet[row]:>12.6g}  {interval:<24}{values}{note}")
        if count > SHOWN:
            lines.append(f"{'...':>6} and {count - SHOWN} more")
        return "\n".join(lines)


def decoder_metric(
    decoder: Half,
    z: Float[Tensor, "batch *latent"],
    *,
    method: Way | None = None,
    memory_limit: int = 2**30,
    confidence: float = 0.99,
    seed: int | None = None,
) -> DecoderMetric:
    r"""Compute the spectrum, log-determinant, trace and diagonal of the pullback metric of a decoder at each code.

    A small change dz of a code changes the image by :math:`\|dx\|^2 = dz^T G(z)\,dz` with :math:`G = J_D^T J_D`. The
    decoder stretches volumes by :math:`\sqrt{\det G}`, and coordinate i has the influence :math:`G_{ii}`. Rao, Qu and
    Moyer (Latent Diffusion Inversion Requires Understanding the Latent Space, arXiv 2511.20592) find that latent
    diffusion models memorize more where the stretching is large, and more in the coordinates of large influence. By
    itself the metric says nothing about memorization.

    Up to 1024 values a code, the Jacobian is formed in float64 and its singular values are computed. Above, G is seen
    by products alone: the trace and the log-determinant by stochastic Lanczos quadrature, see
    :mod:`memzoo.dynamics.latent.quadrature`, the influences by Gaussian images u, since :math:`(J^T u)_i` has the
    variance :math:`G_{ii}`. An estimate comes with an interval. That of the log-determinant adds up two parts: that of
    Student for the 16 random codes, and the gap between an upper and a lower quadrature. The estimate is the upper one.
    Where G may be singular, as far as its products tell, the lower end is -infinity.

    The derivative is compared with differences of the decoder, as in :func:`memzoo.dynamics.spectrum`; if they
    contradict it, another way to it is taken.

    Args:
        decoder: Decoder, a module in eval mode, a method of one (``model.decode``), or any callable from a batch of
            codes to a batch of images; rows must not interact. A module, and a method of one, is read in float64
            without being changed; another callable is asked for float64 and, if it cannot, measured in its own
            precision.
        z: Codes.
        method: ``"exact"`` or ``"stochastic"``; by the number of values of a code when left out.
        memory_limit: Bytes for Jacobians, or for the bases of Krylov spaces, in work at one time.
        confidence: Level of the intervals of the stochastic way.
        seed: Seed of the stochastic way. When left out: one for each code, made of the code and of the parameters.

    Returns:
        The metric. Cost for a code of k values: k forward products and a singular value decomposition of an image by k
        matrix; else 64 products of either kind, and 16 products with G for each of up to 256 steps, which end when the
        gap between the quadratures no longer matters.

    Raises:
        NonFiniteError: NaN or infinity in ``z``, in the parameters of the decoder or in an image.
        ValueError: The decoder does not return a batch of images, is in training mode, draws at random or mixes rows;
            an unknown ``method``; a ``confidence`` outside of (0, 1).

    Warns:
        UserWarning: The metric is singular at some codes, or the derivative by autograd is not that of the decoder.

    Example:
        >>> decoder = torch.nn.Linear(2, 3, bias=False)
        >>> with torch.no_grad():
        ...     _ = decoder.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        >>> metric = decoder_metric(decoder, torch.zeros(1, 2))
        >>> metric.eigenvalues, metric.influence
        (tensor([[4., 1.]], dtype=torch.float64), tensor([[4., 1.]], dtype=torch.float64))
        >>> round(metric.logdet.item(), 3)
        1.386
    """
    check_batch(z, "z")
    if method not in (None, "exact", "stochastic"):
        raise InvalidArgumentError(f"method must be 'exact', 'stochastic' or None (choose), got {method!r}.")
    if not 0 < confidence < 1:
        raise InvalidArgumentError(f"confidence must lie between 0 and 1, got {confidence!r}; 0.99 is usual.")
    if memory_limit <= 0:
        raise InvalidArgumentError(f"memory_limit is a number of bytes above 0, got {memory_limit!r}.")
    if method is None:
        method = "exact" if z[0].numel() <= LARGEST_EXACT else "stochastic"
    return _measure(see_as_module(decoder), z, method, memory_limit, confidence, seed)


@leave_no_trace_of_half
@torch.no_grad()
def _measure(
    decoder: Half, z: Tensor, method: Way, memory_limit: int, confidence: float, seed: int | None
) -> DecoderMetric:
    """Measure a decoder, seen as a module where that is possible."""
    check_module(decoder)
    z = widen_points(decoder, z, "z")
    size = apply_half(decoder, z[:1].clone(), "decoder")[0].numel()
    jacobians = DecoderJacobians(decoder, z, size, memory_limit)
    points = jacobians.points
    check_map(jacobians.wide, points)
    check_differentiable_self_map(jacobians.wide, points)
    own = choose_own_derivative(jacobians, points)
    assert isinstance(own, DecoderJacobians)
    rows = _measure_exactly(own, points) if method == "exact" else []
    if method == "stochastic":
        seeds = derive_seeds(decoder, z, seed).tolist()
        rows = [
            _measure_by_products(own, point[None], one, memory_limit, confidence)
            for point, one in zip(points, seeds, strict=True)
        ]
    words = _check_derivative(own, points)
    if own is not jacobians or "contradicted" in words:
        _warn_of_wrong_derivative(decoder, words)
    found = _join(rows, words, z.shape[1:], method, confidence)
    singular = found.logdet.isneginf()
    if singular.any():
        warn_user(
            f"the metric is singular at {int(singular.sum())} of {len(z)} codes: its determinant is 0 there, the "
            "logarithm -infinity; .rank tells how many eigenvalues are left."
        )
    return found


@dataclass(frozen=True)
class _Row:
    """What is known of the metric at one code."""

    eigenvalues: Tensor
    rank: int
    logdet: tuple[float, float, float]
    """Estimate, lower and upper bound."""
    trace: tuple[float, float, float]
    influence: Tensor


def _measure_exactly(jacobians: DecoderJacobians, points: Tensor) -> list[_Row]:
    """Form the Jacobians of some codes at a time."""
    few = points[:1] if jacobians.affine else points
    bytes_of_row = 8 * 6 * jacobians.outputs * jacobians.inputs
    blocks = few.split(max(1, jacobians.memory_limit // bytes_of_row))
    found = [row for block in blocks for row in _measure_block(jacobians, block)]
    return found * len(points) if jacobians.affine else found


def _measure_block(jacobians: DecoderJacobians, points: Tensor) -> list[_Row]:
    """Form the Jacobians at some codes and decompose each."""
    matrices, errors = jacobians.form_jacobians(points)
    return [
        _describe(matrix.double(), jacobians.eps, float(error)) for matrix, error in zip(matrices, errors, strict=True)
    ]


def _describe(matrix: Float[Tensor, "outputs k"], eps: float, error: float) -> _Row:
    """Compute everything from the Jacobian at one code."""
    outputs, dim = matrix.shape
    unknown = (math.nan, math.nan, math.nan)
    if not (matrix.isfinite().all() and math.isfinite(error)):  # LAPACK may end the process on NaN
        nothing = matrix.new_full((dim,), math.nan)
        return _Row(nothing, -1, unknown, unknown, nothing)
    # A power of two as the unit changes no digit; squares of extreme numbers leave the number range.
    unit = 2.0 ** math.floor(math.log2(max(float(matrix.abs().max()), 1e-300)))
    matrix = matrix / unit
    sizes = torch.linalg.svdvals(matrix)
    noise = eps * (outputs * dim) ** 0.5 * float(torch.linalg.matrix_norm(matrix)) + error / unit
    rank = int((sizes > noise).sum())
    eigenvalues = torch.nn.functional.pad(torch.where(sizes > noise, sizes, 0.0), (0, dim - len(sizes)))
    logdet = (-math.inf, -math.inf, -math.inf)
    if rank == dim:
        # A singular value is off by the norm of the error of the matrix at most (Weyl).
        shift = 2 * dim * math.log(unit)
        bounds = (sizes, sizes - noise, sizes + noise)
        values = [2 * float(bound.log().sum()) + shift for bound in bounds]
        logdet = (values[0], values[1], values[2])
    influence = matrix.square().sum(0)
    trace = float(influence.sum())
    slack = 2 * noise * trace**0.5 + noise**2
    return _Row(
        eigenvalues=eigenvalues.square() * unit**2,
        rank=rank,
        logdet=logdet,
        trace=(trace * unit**2, max(0.0, trace - slack) * unit**2, (trace + slack) * unit**2),
        influence=influence * unit**2,
    )


def _measure_by_products(jacobians: DecoderJacobians, point: Tensor, seed: int, memory: int, confidence: float) -> _Row:
    """Estimate the metric at one code from products with its Jacobian."""
    dim = jacobians.inputs
    push, pull = jacobians.form_code_products(point)
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int, size: int) -> Tensor:
        return torch.randn(count, size, generator=generator, dtype=torch.float64).to(jacobians.device)

    rounding = jacobians.eps * (dim * jacobians.outputs) ** 0.5
    starts = torch.nn.functional.normalize(draw(QUICK_PROBES, dim), dim=1)
    found = estimate_logdet(lambda v: pull(push(v)), starts[:PROBES], TOP, rounding, memory // 2, confidence)
    pulled = pull(draw(QUICK_PROBES, jacobians.outputs))
    return _Row(
        eigenvalues=found.leading,
        rank=-1,
        logdet=found.logdet,
        trace=estimate_mean(dim * push(starts).square().sum(1), confidence),
        influence=pulled.square().mean(0),
    )


def _check_derivative(jacobians: DecoderJacobians, points: Tensor) -> list[Derivative]:
    """Compare the derivative with differences of the decoder, at each code."""
    check = build_check(jacobians)
    words: list[Derivative] = []
    for rows in jacobians.split_for_products(points):
        others = points[(rows + 1) % len(points)]
        push = jacobians.form_push(points[rows])
        found = check.check(points[rows], others, push, staircase=not jacobians.affine, all_points=points)
        words += found.words
    return words


def _warn_of_wrong_derivative(decoder: Half, words: list[Derivative]) -> None:
    """Say that autograd has another derivative than the decoder, and what is reported instead."""
    unknown = words.count("contradicted")
    reported = f"at {unknown} codes everything is NaN" if unknown else "the decoder's own derivative is reported"
    warn_user(
        f"autograd's derivative of {type(decoder).__name__} is not that of the decoder, or there is none (no_grad, "
        f"detach(), a straight-through estimator, a backward of its own); {reported}."
    )


def _join(
    rows: list[_Row], words: list[Derivative], shape: Sequence[int], method: Way, confidence: float
) -> DecoderMetric:
    """Join the rows; where the derivative is not that of the decoder nothing is known."""
    device = rows[0].influence.device
    logdet = torch.tensor([row.logdet for row in rows], dtype=torch.float64, device=device)
    trace = torch.tensor([row.trace for row in rows], dtype=torch.float64, device=device)
    eigenvalues = torch.stack([row.eigenvalues for row in rows])
    influence = torch.stack([row.influence.double() for row in rows]).reshape(-1, *shape)
    wrong = torch.tensor([word == "contradicted" for word in words], device=device).nonzero().flatten()
    for values in (logdet, trace, eigenvalues, influence):
        values[wrong] = math.nan
    spread = (1.0, 1.0)
    if method == "stochastic":
        # The sum of n squares of normal numbers over n G_ii follows the chi-squared law over n.
        tails = ((1 + confidence) / 2, (1 - confidence) / 2)
        low, high = (1 / chi_squared_quantile(tail, QUICK_PROBES) for tail in tails)
        spread = (low, high)
    return DecoderMetric(
        eigenvalues=eigenvalues,
        rank=torch.tensor([row.rank for row in rows], device=device).index_fill(0, wrong, -1),
        logdet=logdet[:, 0],
        logdet_interval=logdet[:, 1:],
        trace=trace[:, 0],
        trace_interval=trace[:, 1:],
        influence=influence,
        influence_range=spread,
        derivative=words,
        method=method,
        confidence=confidence,
    )
