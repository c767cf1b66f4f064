r"""Build classical associative memories as maps, to be measured by the same functions as a trained network.

Hopfield's network (PNAS 79, 1982) stores binary patterns by Hebb's rule, about 0.138 patterns a unit if they are random
(Amit, Gutfreund and Sompolinsky, PRL 55, 1985). A steeper energy stores more: a polynomial energy of degree n stores
about :math:`N^{n-1}` patterns in N units (Krotov and Hopfield, NIPS 2016). The continuous memory with a softmax, whose
update is that of attention, stores patterns of any values (Ramsauer et al., ICLR 2021).

Each map updates all units at one time, as a self-map does. Cycles of two are therefore possible where updates of one
unit after the other would come to rest. Patterns are kept in float64; a map computes in the type and on the device of
its points.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo._types import Map
from memzoo.errors import InvalidArgumentError


def hopfield(patterns: Float[Tensor, "n *shape"], *, gain: float | None = None) -> Map:
    r"""Build Hopfield's network with the weights of Hebb's rule, all of whose units are updated at one time.

    The weights are :math:`W = \frac{1}{N} \sum_\mu \xi_\mu \xi_\mu^T` without the diagonal, N the number of units
    (Hopfield, PNAS 79, 1982). A unit becomes the sign of its field :math:`(W x)_i` and keeps its value where the field
    is zero. With a ``gain`` :math:`\beta` it becomes :math:`\tanh(\beta (W x)_i)`; the fixed points then lie inside
    the corners :math:`\pm 1` (Hopfield, PNAS 81, 1984).

    Args:
        patterns: Values -1 and 1.
        gain: Slope of the tanh at zero; the sign when left out.

    Returns:
        Map of points of the shape of one pattern, of any values.

    Raises:
        NonFiniteError: NaN or infinity in the patterns.
        ValueError: Other values than -1 and 1, ``gain`` not positive; points of another shape, when called.

    Example:
        >>> f = hopfield(torch.tensor([[1.0, 1, -1, -1]]))
        >>> f(torch.tensor([[0.9, 0.4, 0.2, -0.1]]))
        tensor([[ 1.,  1., -1., -1.]])
    """
    stored = _copy_binary(patterns)
    if gain is not None:
        _check_positive(gain, "gain", "leave it out for the sign")

    def update(x: Tensor) -> Tensor:
        check_same_shape(x, stored, "points and patterns")
        state = x.flatten(1)
        memory = stored.flatten(1).to(x)
        # The diagonal of Hebb's matrix is the number of patterns. At corners fields are whole numbers: ties are exact.
        field = state @ memory.T @ memory - len(memory) * state
        if gain is None:
            return _take_signs(field, state).reshape(x.shape)
        return torch.tanh(gain / memory.shape[1] * field).reshape(x.shape)

    return update


def polynomial_memory(patterns: Float[Tensor, "n *shape"], degree: int) -> Map:
    r"""Build a dense associative memory of binary patterns, with the energy :math:`-\sum_\mu (\xi_\mu^T x)^n`.

    Each unit takes the sign for which the energy is lower while the others stay as they are, and keeps its value if
    both energies are equal (Krotov and Hopfield, NIPS 2016). Degree 2 is :func:`hopfield`. An even degree stores each
    pattern with its negative.

    Args:
        patterns: Values -1 and 1.
        degree: n, at least 2.

    Returns:
        Map of points of the shape of one pattern, of any values. It takes memory for ``n`` times the batch.

    Raises:
        NonFiniteError: NaN or infinity in the patterns.
        ValueError: Other values than -1 and 1, ``degree`` not a whole number above 1; points of another shape, when
            called.

    Example:
        >>> f = polynomial_memory(torch.tensor([[1.0, 1, 1, 1], [1.0, 1, 1, -1]]), degree=3)
        >>> f(torch.tensor([[1.0, 1, 1, -1]]))
        tensor([[ 1.,  1.,  1., -1.]])
    """
    stored = _copy_binary(patterns)
    if not isinstance(degree, int) or isinstance(degree, bool) or degree < 2:
        raise InvalidArgumentError(f"degree must be a whole number >= 2, got {degree!r}; 2 is Hopfield's network.")

    def update(x: Tensor) -> Tensor:
        check_same_shape(x, stored, "points and patterns")
        state = x.flatten(1)
        memory = stored.flatten(1).to(x)
        own = memory * state[:, None]
        others = (state @ memory.T)[:, :, None] - own
        # Products with the patterns if the unit is 1 or -1, for each pattern and unit.
        raised = others + memory
        lowered = others - memory
        largest = torch.maximum(raised.abs(), lowered.abs()).amax((1, 2), keepdim=True)
        # A scale that is a power of two keeps ties exact, and the largest n-th power within the number range.
        exponent = torch.frexp(largest).exponent
        scale = torch.ldexp(torch.ones_like(largest), -exponent)
        # The sum is proportional to the difference of the energies for -1 and for 1.
        gain = ((scale * raised) ** degree - (scale * lowered) ** degree).sum(1)
        return _take_signs(gain, state).reshape(x.shape)

    return update


def dense_associative_memory(patterns: Float[Tensor, "n *shape"], beta: float) -> Map:
    r"""Build the continuous Hopfield memory :math:`f(x) = X^T \mathrm{softmax}(\beta X x)`, the rows of X the patterns.

    A large ``beta`` looks up the pattern of the largest product with x, in one step; a small ``beta`` has a single
    fixed point near the mean of the patterns (Ramsauer et al., ICLR 2021). With
    :math:`p = \mathrm{softmax}(\beta X x)` the Jacobian is :math:`\beta X^T (\mathrm{diag}(p) - p p^T) X`. A pattern
    is found only if no other pattern has a larger product with it: among patterns of very different norms the longest
    hide the others.

    Args:
        patterns: Patterns to store, of any finite values.
        beta: Inverse temperature.

    Returns:
        Map of points of the shape of one pattern. Its values lie in the convex hull of the patterns.

    Raises:
        NonFiniteError: NaN or infinity in the patterns.
        ValueError: ``beta`` not positive; points of another shape, when called.

    Example:
        >>> f = dense_associative_memory(torch.tensor([[1.0, 0], [0, 1]]), beta=20)
        >>> f(torch.tensor([[0.9, 0.3]])).round(decimals=3)
        tensor([[1., 0.]])
    """
    check_batch(patterns, "patterns")
    _check_positive(beta, "beta", "8 divided by the smallest gap between products of patterns is a start")
    stored = patterns.detach().to(torch.float64, copy=True)

    def update(x: Tensor) -> Tensor:
        check_same_shape(x, stored, "points and patterns")
        memory = stored.flatten(1).to(x)
        # Attention with the point as the query, and the patterns as keys and values.
        share = torch.softmax(beta * (x.flatten(1) @ memory.T), dim=1)
        return (share @ memory).reshape(x.shape)

    return update


def _copy_binary(patterns: Tensor) -> Tensor:
    """Check that the patterns are -1 or 1 everywhere, and copy them in float64."""
    check_batch(patterns, "patterns")
    if not (patterns.abs() == 1).all():
        raise InvalidArgumentError(
            f"patterns must be -1 or 1 everywhere, got values from {patterns.min().item():.4g} to "
            f"{patterns.max().item():.4g}; images become so by torch.where(images > 0.5, 1.0, -1.0)."
        )
    return patterns.detach().to(torch.float64, copy=True)


def _check_positive(value: float, name: str, remedy: str) -> None:
    """Raise an error that ends with ``remedy`` unless ``value`` is a finite positive number."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 < value < torch.inf):
        raise InvalidArgumentError(f"{name} must be a finite number > 0, got {value!r}; {remedy}.")


def _take_signs(field: Tensor, state: Tensor) -> Tensor:
    """Return the sign of the field of each unit, or its state where the field is zero."""
    return torch.where(field == 0, state, field.sign())
