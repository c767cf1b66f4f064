"""Check that a function is a map: one answer to one point, whatever stands beside it in the batch."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from memzoo._attempt import is_out_of_memory
from memzoo._checks.layers import check_module, name_active_layers
from memzoo._generators import generators_are_at, keep_generators_unchanged, read_generators
from memzoo._module_state import is_checked, mark_as_checked
from memzoo._types import Map
from memzoo.errors import InvalidArgumentError, MemzooError, NonFiniteError, NotASelfMapError

Promote: TypeAlias = Callable[[Map, Tensor], tuple[Map, Tensor]]
"""Return a map and points in float64, or as they are."""
ROUNDING = 32
"""Units in the last place of |f(x)| by which the rounding of one evaluation may differ from that of another."""
GAIN = 16
"""How many times the change of f under a change of x in its last place a difference by rounding may be."""
REORDERED = 1e3
"""The same for another number of rows, where sums are added up in another order."""
FAR = 0.1
"""Distance of a row that is made up, relative to the largest entry."""
SHRINKS = 1e-6
"""Share of a difference by rounding that may be left in float64, whose unit is 2e-9 of that of float32."""
JUMP = 64
"""How many times what rounding may do the last effect of a row that comes nearer is, where it ends at once."""
LARGEST_ROOM = 0.05
"""Largest relative difference that is taken for rounding, in half precision."""
TRIES = 32
"""Evaluations of a map that draws at random, to see whether its draws matter."""


def apply_map(f: Map, x: Tensor) -> Tensor:
    """Return ``f(x)``, and raise unless it is a batch of the same space and ``x`` is as it was."""
    # torch counts the changes of a tensor in place, but not of one that was made in inference mode.
    version = None if x.is_inference() else x._version
    y = f(x)
    if version is not None and x._version != version:
        raise InvalidArgumentError(
            "f works in place on its input, so that points change while they are measured; "
            "pass lambda x: f(x.clone()), or set inplace=False in its first layer."
        )
    if not isinstance(y, Tensor):
        raise NotASelfMapError(
            f"iteration needs a map from a batch to a batch, but the output is a {type(y).__name__}; "
            "wrap the model so that it returns the reconstruction alone (self_map= in the callbacks)."
        )
    if y.shape != x.shape:
        raise NotASelfMapError(
            f"iteration needs a map from a space to itself, but input {tuple(x.shape)} became {tuple(y.shape)}; "
            "pass the full autoencoder, not its encoder, and points of the shape it was trained on."
        )
    if y.dtype != x.dtype or y.device != x.device:
        raise NotASelfMapError(_describe_other_kind(x, y))
    return y


def _describe_other_kind(x: Tensor, y: Tensor) -> str:
    """Word the error for an output of another type or on another device than the input."""
    came = (
        f"iteration needs a map from a space to itself, but input {x.dtype} on {x.device} "
        f"became {y.dtype} on {y.device}"
    )
    if y.is_complex():
        return f"{came}; return real numbers, such as .real at the end of an inverse Fourier transform."
    if not y.is_floating_point():
        return f"{came}; return floating-point numbers, such as the reconstruction before it is rounded to a class."
    if y.device != x.device:
        return f"{came}; pass points on the device of the model."
    return f"{came}; pass points in the type in which the map computes, or return y.to(x.dtype)."


def check_map(f: Map, x: Tensor, promote: Promote | None = None) -> None:
    """Raise unless ``f`` is a map of each row alone: one answer to one point, whatever stands beside it in the batch.

    One row is compared bit for bit between batches of one shape, in which the same sums are added in the same order,
    and another one, within rounding, with a batch of its own. Where only one point is given, the other row is made up
    nearby; a branch that ``f`` takes for such company alone is no reason to refuse the point. Within a measurement that
    has checked ``f``, or the map that ``f`` was made of, nothing is done. Call this within
    :func:`memzoo._module_state.keep_module_unchanged`, because each evaluation may change ``f``.

    Args:
        f: Self-map.
        x: Points where it is going to be measured; two of them are used.
        promote: Returns ``f`` and points in float64 where ``f`` can compute in it. A difference that shrinks there as
            rounding does is no interaction, however large it is beside sums that cancel.

    Raises:
        InvalidArgumentError: A layer is in training mode, or ``f`` works in place on its input.
        NonFiniteError: NaN or infinity in the parameters or buffers, or NaN at all points that were tried.
        NotASelfMapError: ``f`` cannot be evaluated, returns another shape, type or device, draws at random or mixes
            the rows of a batch.

    Cost: three evaluations of at most two rows; about 40 of a map that draws random numbers without using them.
    """
    if is_checked(f):
        return
    check_module(f)
    with torch.no_grad(), keep_generators_unchanged(), name_active_layers(f):
        _check_two_rows(f, x, promote)
    mark_as_checked(f)


class _Answers(NamedTuple):
    """Answers to two rows in different company."""

    together: Tensor
    beside_itself: Tensor
    """The first row, twice."""
    alone: Tensor
    """The second row."""


class _Interaction(NamedTuple):
    """A difference between two answers to one row."""

    gap: float
    room: float
    """What rounding may do."""
    where: str


def _check_two_rows(f: Map, x: Tensor, promote: Promote | None) -> None:
    """Check that the answer to each of two rows is the same in all batches, and in one of its own."""
    before = read_generators()
    first, second = x[:1], _find_other_row(x)
    pair = torch.cat([first, _make_up_row(first, FAR) if second is None else second])
    try:
        answers = _evaluate_rows(f, pair)
    except NotASelfMapError:
        if len(x) > 1:
            raise
        # f takes one row at a time, or not the row that was made up here.
        pair = first
        answers = _Answers(*(_evaluate(f, first.clone()) for _ in _Answers._fields))
    if bool(answers.together.isnan().flatten(1).any(1).all()):
        raise NonFiniteError("f(x) holds NaN at finite x; look at f(x) of the first row, and scale x as in training.")
    if not generators_are_at(before):
        _check_draws_do_not_matter(f, pair)
    found = _find_interactions(f, pair, answers)
    if found or not _equal(answers.together[0], answers.beside_itself[0]):
        _check_answers_come_back(f, pair, answers.together)
    if not found or _shrinks_as_rounding(f, pair, found, promote):
        return
    if second is None and _breaks_off(f, first, found):
        return
    raise NotASelfMapError(_describe_interaction(found[0]))


def _find_other_row(x: Tensor) -> Tensor | None:
    """Find a row that differs from the first one, the last one if it does."""
    if not torch.equal(x[0], x[-1]):
        return x[-1:]
    others = (x != x[:1]).flatten(1).any(1).nonzero()
    return x[others[0]] if len(others) else None


def _make_up_row(first: Tensor, distance: float) -> Tensor:
    """Make up a row at a distance relative to the largest entry; where no entry is negative, none of it is."""
    size = first.abs().max()
    ramp = torch.linspace(0.5, 0, first.numel(), dtype=first.dtype, device=first.device).reshape(first.shape)
    return first + distance * (torch.where(size > 0, size, torch.ones_like(size)) * ramp - first)


def _evaluate_rows(f: Map, pair: Tensor) -> _Answers:
    """Evaluate two rows together, the first one beside itself, and the second one alone."""
    twice = pair[:1].expand_as(pair).clone()
    return _Answers(_evaluate(f, pair), _evaluate(f, twice), _evaluate(f, pair[-1:].clone()))


def _find_interactions(f: Map, pair: Tensor, answers: _Answers) -> list[_Interaction]:
    """List the differences between answers to one row that rounding does not explain."""
    together, beside_itself, alone = answers
    unit = torch.finfo(pair.dtype).eps
    found: list[_Interaction] = []
    # In batches of one shape sums are added up in one order, elsewhere perhaps in another one.
    comparisons = (
        (0, beside_itself[0], ROUNDING, "beside another row of the batch"),
        (0, beside_itself[-1], REORDERED, "at another place of the batch"),
        (-1, alone[0], REORDERED, "in a batch of its own"),
    )
    for row, other, units, where in comparisons:
        if _equal(together[row], other):
            continue
        gap = _measure_distance(together[row], other)
        size = float(together[row].double().norm())
        room = min(LARGEST_ROOM, units * unit) * size
        if not gap <= room and units == REORDERED:  # half precision inside of f rounds more
            room = min(LARGEST_ROOM, units * max(unit, _find_coarsest_unit(f, pair))) * size
        if not gap <= room:
            room += GAIN * _measure_gain(f, pair, together, row)
        if not gap <= room:
            found.append(_Interaction(gap, room, where))
    return found


def _measure_distance(one: Tensor, other: Tensor) -> float:
    """Measure how far apart two answers are."""
    return float((one.double() - other.double()).norm())


def _measure_gain(f: Map, pair: Tensor, answers: Tensor, row: int) -> float:
    """Measure by how much the answer to a row changes where x changes in its last place, as rounding inside of f."""
    signs = torch.ones_like(pair).flatten()
    signs[::2] = -1
    changes: list[float] = []
    for side in (-2, 2):
        changed = _evaluate(f, pair * (1 + side * torch.finfo(pair.dtype).eps * signs.reshape(pair.shape)))
        changes.append(_measure_distance(changed[row], answers[row]))
    return max(changes)


def _shrinks_as_rounding(f: Map, pair: Tensor, found: list[_Interaction], promote: Promote | None) -> bool:
    """Tell whether differences all but vanish in float64, as rounding does and an interaction does not."""
    if promote is None or pair.dtype == torch.float64:
        return False
    wide, rows = promote(f, pair)
    if rows.dtype != torch.float64:
        return False
    largest = max(interaction.gap for interaction in found)
    try:
        left = _find_interactions(wide, rows, _evaluate_rows(wide, rows))
    except NotASelfMapError:
        return False
    return all(interaction.gap <= SHRINKS * largest for interaction in left)


def _breaks_off(f: Map, first: Tensor, found: list[_Interaction]) -> bool:
    """Tell whether the effect of a row that was made up ends at once where that row comes nearer.

    That of statistics fades with the distance. That of a branch is the same until the branch is taken no more.
    """
    distance = FAR
    strength = 0.0
    while found:
        strength = max(interaction.gap / max(interaction.room, 1e-300) for interaction in found)
        distance /= 2
        pair = torch.cat([first, _make_up_row(first, distance)])
        if distance < torch.finfo(first.dtype).eps or torch.equal(pair[0], pair[1]):
            return False
        found = _find_interactions(f, pair, _evaluate_rows(f, pair))
    return JUMP < strength < math.inf


def _evaluate(f: Map, rows: Tensor) -> Tensor:
    """Evaluate ``f``, and raise an error of memzoo where it raises one of its own."""
    try:
        return apply_map(f, rows)
    except MemzooError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotASelfMapError(
            f"f cannot be evaluated at a batch {tuple(rows.shape)} of {rows.dtype}: {type(error).__name__}: {error}. "
            "Pass points of the shape, type and device that f takes, and a map of batches of any number of rows."
        ) from error


def _equal(one: Tensor, other: Tensor) -> bool:
    """Tell whether two answers are equal bit for bit; NaN equals NaN."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _check_answers_come_back(f: Map, pair: Tensor, answers: Tensor) -> None:
    """Raise if a second evaluation gives other answers, by more than rounding or by a draw."""
    state = torch.get_rng_state()
    again = _evaluate(f, pair)
    if _equal(again, answers):
        return
    torch.set_rng_state(state)
    replayed = _equal(_evaluate(f, pair), again)
    drawn = replayed and not torch.equal(state, torch.get_rng_state())
    # With the generator set back the answer comes back: it is the draw that matters, however little.
    unit = torch.finfo(pair.dtype).eps
    # Some kernels of a GPU add up in an order that changes.
    room = (REORDERED if pair.is_cuda else ROUNDING) * unit * answers.double().norm()
    if drawn or not _measure_distance(answers, again) <= room:
        raise NotASelfMapError(_describe_draws(answers - again))


class _CoarsestUnit(TorchDispatchMode):
    """Record the largest rounding unit of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.unit: float = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute an operation and look at the type of its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.unit = max(self.unit, torch.finfo(result.dtype).eps)
        return result


def _find_coarsest_unit(f: Map, rows: Tensor) -> float:
    """Find the rounding unit of the narrowest type in which ``f`` computes."""
    with _CoarsestUnit() as found:
        f(rows)
    return found.unit


def _check_draws_do_not_matter(f: Map, pair: Tensor) -> None:
    """Raise if one of many evaluations of a map that draws at random differs from the first one."""
    rows = pair.repeat(16 // len(pair), *[1] * (pair.ndim - 1))
    first = _evaluate(f, rows)
    for _ in range(TRIES):
        answer = _evaluate(f, rows)
        if not _equal(answer, first):
            raise NotASelfMapError(_describe_draws(answer - first))


def _describe_draws(gap: Tensor) -> str:
    """Word the error for a map that draws at random."""
    return (
        f"f gives two answers to one image, which differ by {gap.double().norm():.2g}: it draws at random or changes "
        "with each call. Put the module into eval mode, or fix each draw: pass a map (in callbacks and audits: Pass "
        "self_map=lambda module, x: ...) that decodes the mean of its code for a variational autoencoder, keeps one "
        "mask for a masked autoencoder, and draws once, the same for all rows, where noise or dropout is always on."
    )


def _describe_interaction(found: _Interaction) -> str:
    """Word the error for a map that mixes the rows of a batch."""
    return (
        f"the rows of a batch interact: f(x) of a row differs by {found.gap:.2g} {found.where}. memzoo needs a map of "
        "each row alone, without statistics, a largest entry or a branch that depends on the whole batch, and with the "
        "batch as the first axis (batch_first=True); call .eval() on the model, or pass "
        "lambda x: torch.cat([f(row) for row in x.split(1)])."
    )
