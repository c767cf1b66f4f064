"""Count the directions that a map keeps around a point: the eigenvalues of its Jacobian above a threshold."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.checking import Derivative
from memzoo.dynamics.spectra.eigenvalues import compute_spectrum, open_jacobians
from memzoo.dynamics.spectra.jacobian import Method
from memzoo.dynamics.tracing import leave_no_trace
from memzoo.errors import InvalidArgumentError


@dataclass(frozen=True)
class LocalDimension:
    """What :func:`local_dimension` found, one row a point."""

    count: Int[Tensor, " batch"]
    """Eigenvalues, with multiplicity, whose modulus is proven to be above the threshold."""
    undecided: Int[Tensor, " batch"]
    """Further eigenvalues that may or may not be above: the true number is from ``count`` to ``count + undecided``."""
    above: float
    """The threshold."""
    derivative: list[Derivative]
    """Whether the Jacobian is that of the map, as in :attr:`memzoo.dynamics.Spectrum.derivative`. Where it is not
    verified, all eigenvalues are undecided."""

    def __str__(self) -> str:
        """Print the quartiles of the counts."""
        low, median, high = self.count.double().quantile(self.count.new_tensor([0.25, 0.5, 0.75], dtype=torch.float64))
        open_points = int((self.undecided > 0).sum())
        return (
            f"{len(self.count)} points: median {median:g} eigenvalues of modulus above {self.above:g}, quartiles "
            f"{low:g} and {high:g}; undecided at {open_points} points"
        )


@torch.no_grad()
@leave_no_trace
def local_dimension(
    f: Map,
    x: Float[Tensor, "batch *shape"],
    above: float = 0.5,
    *,
    method: Method | None = None,
    memory_limit: int = 2**30,
) -> LocalDimension:
    r"""Count the eigenvalues of the Jacobian :math:`J_f(x)` whose modulus is above a threshold, each with a bound.

    A map that stores its training examples keeps few directions around them, and more around other images. A linear
    autoencoder of minimum norm that was trained on n independent examples has n eigenvalues 1 and no other. The count
    is a number about the point alone: it is defined whether or not the point is fixed.

    A count is proven for every Jacobian within the rounding of the computed one: some circle between the eigenvalues
    above and those below can meet no eigenvalue of any of them, see
    :mod:`memzoo.dynamics.spectra.modulus_count`. Eigenvalues that no such circle separates from the threshold are
    ``undecided``, an exact 1/2 of the identity divided by 2 for example.

    Args:
        f: Self-map; modules in eval mode. It is read in float64, as by :func:`memzoo.dynamics.spectrum`.
        x: Points, scaled as the model was trained.
        above: Threshold, above 0.
        method: ``"cut"``, ``"dense"`` or ``"differences"``, as in :func:`memzoo.dynamics.spectrum`. When left out:
            through a cut of at most 1024 values where there is one, else dense.
        memory_limit: Bytes for the Jacobians in work at one time.

    Returns:
        Cost: that of all eigenvalues and eigenvectors, see :func:`memzoo.dynamics.spectrum`. Without a cut that is the
        cube of the dimension, at each point.

    Raises:
        NonFiniteError: NaN or infinity in ``x``, in the parameters of ``f``, in ``f(x)`` or in a Jacobian.
        NotASelfMapError: ``f`` changes the shape of ``x``.
        ValueError: ``above`` is not a finite number above 0, or ``method`` is ``"arnoldi"``, which finds a few
            eigenvalues only.

    Example:
        >>> found = local_dimension(lambda x: x @ torch.diag(torch.tensor([1.0, 0.9, 0.1, 0.5])), torch.ones(1, 4))
        >>> found.count, found.undecided
        (tensor([2]), tensor([1]))
    """
    check_threshold(above)
    if method == "arnoldi":
        raise InvalidArgumentError(
            "local_dimension needs all eigenvalues, and method='arnoldi' finds the leading ones; leave it out, or take "
            "'cut', 'dense' or 'differences'."
        )
    jacobians, x = open_jacobians(f, x, method, memory_limit)
    found = compute_spectrum(jacobians, x, above=above)
    bounds = found.count_outside
    if bounds is None:  # no way to the Jacobian is that of the map
        bounds = torch.full((len(x), 2), torch.nan, dtype=torch.float64, device=x.device)
    verified = torch.tensor([word == "verified" for word in found.derivative], device=bounds.device)
    known = verified[:, None] & bounds.isfinite()
    nothing = torch.tensor([0.0, jacobians.dim], dtype=bounds.dtype, device=bounds.device)
    least, most = torch.where(known, bounds, nothing).long().unbind(1)
    return LocalDimension(least, most - least, float(above), found.derivative)


def check_threshold(above: float) -> None:
    """Raise an error unless a modulus can be compared with ``above``."""
    if isinstance(above, bool) or not isinstance(above, (int, float)) or not 0 < above < torch.inf:
        raise InvalidArgumentError(
            f"above must be a finite number > 0, got {above!r}; 0.5 counts the directions that are kept by half."
        )
