"""What is known about the spectrum of a Jacobian."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from memzoo.dynamics.spectra.checking import Derivative
from memzoo.dynamics.spectra.jacobian import Method
from memzoo.dynamics.spectra.notation import bracket_notation

Verdict = Literal["contracting", "expanding", "undecided"]


@dataclass(frozen=True)
class Spectrum:
    """What :func:`spectrum` found, one row a point; all values are dimensionless."""

    eigenvalues: Complex[Tensor, "batch k"]
    """Largest modulus first. All eigenvalues beyond these are zero (or were cut off by ``top``)."""
    radius: Float[Tensor, " batch"]
    """Spectral radius, the largest modulus."""
    radius_error: Float[Tensor, " batch"]
    """Bound on ``|radius - true radius|`` for the Jacobian as computed: it covers the rounding of the products and of
    the eigensolve, not digits that ``f`` itself loses by cancellation. Where all eigenvalues are computed it is proven
    for every Jacobian within this rounding; by Arnoldi, the part of an eigenvalue that was found is of first order.
    At a kink it also covers the radii on the sides of the kink that were looked at, see
    :mod:`memzoo.dynamics.spectra.kinks`."""
    sigma_max: Float[Tensor, " batch"]
    """Largest singular value: the most that one step stretches, in L2. By Arnoldi it is found from below, and a
    singular value lies within 0.1 % of it; a larger one may be missed that no direction tried has a part of."""
    condition: Float[Tensor, " batch"]
    """Condition number of the leading eigenvalue, 1 for a normal Jacobian."""
    transient_growth: Float[Tensor, " batch"] | None
    r""":math:`\max_{t \ge 1} \|J^t\|_2`: the most that iteration stretches before it contracts; at least ``sigma_max``.
    None unless asked for, and by Arnoldi; infinity where no decay is proven (not contracting, or too slowly: 300 powers
    do not shrink everything)."""
    vectors: Complex[Tensor, "batch dim k"] | None
    """Right eigenvectors of length 1, one a column, where they were asked for; NaN where the eigenvalues were read from
    the diagonal of a triangular Jacobian, because rounding leaves nothing of its vectors."""
    method: Method
    derivative: list[Derivative] = field(default_factory=list)
    """What comparing the derivative with differences of the map has shown: ``verified``, they agree; ``one-sided``, the
    point is at a kink, and they agree at points moved off it; ``resting``, the outputs do not move under small steps,
    or only in jumps, so that the derivative says nothing about larger distances; ``unverified``, they neither agree
    nor contradict each other, and the error bound is infinite; ``contradicted``, the derivative is not that of the map,
    and the radius is NaN. A map that computes in float32 is checked to within 20 %, and searched for smaller parts that
    are hidden from autograd, see :mod:`memzoo.dynamics.spectra.hidden_parts`."""
    resting: Float[Tensor, " batch"] | None = None
    """Share of the outputs that do not move by steps of up to a thousandth of the norm of the point."""
    seed: Int[Tensor, " batch"] | None = None
    """Seeds of the random starts of Arnoldi's method; 0 where it was not used, None if it was used nowhere."""
    count_outside: Float[Tensor, "batch 2"] | None = None
    """Least and most number of eigenvalues above the threshold of :func:`memzoo.dynamics.local_dimension`; None unless
    asked for."""

    @property
    def trusted(self) -> Bool[Tensor, " batch"]:
        """Tell where the derivative is that of the map: verified, or one-sided."""
        flags = [word in ("verified", "one-sided") for word in self.derivative] or [False] * len(self.radius)
        return torch.tensor(flags, device=self.radius.device)

    def find_contradicted(self) -> Int[Tensor, " m"]:
        """Find the points where the derivative is not that of the map."""
        rows = [row for row, word in enumerate(self.derivative) if word == "contradicted"]
        return torch.tensor(rows, dtype=torch.long, device=self.radius.device)

    @property
    def verdict(self) -> list[Verdict]:
        """Return a verdict for each point: ``contracting`` and ``expanding`` hold beyond the error bound.

        An exact 1 is ``undecided``, and so is every radius whose ``derivative`` is neither verified nor one-sided. A
        small radius makes an attractor only of a fixed point: see :func:`memzoo.dynamics.certify`.
        """
        trusted = self.trusted
        below = (trusted & (self.radius + self.radius_error < 1)).tolist()
        above = (trusted & (self.radius - self.radius_error > 1)).tolist()
        return [
            "contracting" if low else "expanding" if high else "undecided"
            for low, high in zip(below, above, strict=True)
        ]

    def __str__(self) -> str:
        """Print in the paper's notation, one line a point: moduli of one half and more, then a bound on all others."""
        return "\n".join(bracket_notation(row, int((row.abs() >= 0.5).sum())) for row in self.eigenvalues)


def repeat_spectrum(one: Spectrum, count: int) -> Spectrum:
    """Return the one row of a spectrum at ``count`` points."""
    repeated = _change_tensors(one, lambda value: value.expand(count, *value.shape[1:]))
    return replace(repeated, derivative=one.derivative * count)


def replace_rows(whole: Spectrum, rows: Int[Tensor, " m"], part: Spectrum) -> Spectrum:
    """Return ``whole`` with ``part`` in place of ``rows``.

    Eigenvalues that Arnoldi's method has not looked for, and a growth that is not known of ``part``, are NaN.
    """
    new = _select_tensors(part)

    def place(old: Tensor, value: Tensor) -> Tensor:
        width = max(old.shape[-1], value.shape[-1])
        if old.ndim > 1:
            old = _widen(old, width, whole.method)
            value = _widen(value, width, part.method)
        return old.index_put((rows,), value)

    tensors = {name: place(value, new[name]) for name, value in _select_tensors(whole).items() if name in new}
    if whole.transient_growth is not None and part.transient_growth is None:
        tensors["transient_growth"] = whole.transient_growth.index_fill(0, rows, torch.nan)
    words = list(whole.derivative)
    if part.derivative:
        for row, word in zip(rows.tolist(), part.derivative, strict=True):
            words[row] = word
    method = "differences" if part.method == "differences" else whole.method
    return replace(whole, **tensors, derivative=words, method=method)


def erase_rows(whole: Spectrum, rows: Int[Tensor, " m"]) -> Spectrum:
    """Return ``whole`` with NaN for everything that is computed from the Jacobian in ``rows``."""

    def erase(value: Tensor) -> Tensor:
        # Seeds are whole numbers, and stay.
        return value if value.dtype == torch.long else value.index_fill(0, rows.to(value.device), torch.nan)

    return replace(_change_tensors(whole, erase), resting=whole.resting)


def fill_with_nan(part: Spectrum | None, known: Tensor, dim: int) -> Spectrum:
    """Place the rows of ``part`` where ``known`` is True, and NaN elsewhere.

    Args:
        part: Spectrum at the known points; None if there are none.
        known: One flag a point.
        dim: Length of the eigenvectors; 0 if there are no eigenvectors.
    """
    count = len(known)
    real = torch.full((count,), torch.nan, dtype=torch.float64, device=known.device)
    values = real[:, None].to(torch.complex128)
    words: list[Derivative] = ["unverified"] * count
    if part is None:
        vectors = values[:, None].expand(count, dim, 1) if dim else None
        seed = torch.zeros_like(real, dtype=torch.long)
        return Spectrum(values, real, real, real, real, None, vectors, "arnoldi", words, resting=real, seed=seed)
    place = known.nonzero().flatten()
    for row, word in zip(place.tolist(), part.derivative, strict=True):
        words[row] = word

    def fill(value: Tensor) -> Tensor:
        missing = 0 if value.dtype == torch.long else torch.nan
        return value.new_full((count, *value.shape[1:]), missing).index_put((place,), value)

    return replace(_change_tensors(part, fill), derivative=words)


def join_spectra(parts: Sequence[Spectrum]) -> Spectrum:
    """Join blocks of points; if the blocks differ in rank, the missing eigenvalues and vectors are zero."""
    tensors = [_select_tensors(part) for part in parts]
    shared = set.intersection(*(set(names) for names in tensors))  # Arnoldi knows no transient growth
    joined = {
        name: torch.cat(_pad_columns([part[name] for part in tensors])) if name in shared else None
        for name in tensors[0]
    }
    return replace(parts[0], **joined, derivative=[word for part in parts for word in part.derivative])


def _widen(values: Tensor, width: int, method: Method) -> Tensor:
    """Append columns: zeros to all nonzero eigenvalues, NaN to the leading ones."""
    return pad(values, (0, width - values.shape[-1]), value=torch.nan if method == "arnoldi" else 0.0)


def _pad_columns(values: Sequence[Tensor]) -> list[Tensor]:
    """Append zeros to the last dimension of tensors until all are equally wide; leave vectors as they are."""
    if values[0].ndim == 1:
        return list(values)
    width = max(value.shape[-1] for value in values)
    return [pad(value, (0, width - value.shape[-1])) for value in values]


def _change_tensors(spectrum: Spectrum, change: Callable[[Tensor], Tensor]) -> Spectrum:
    """Apply ``change`` to each tensor of a spectrum."""
    return replace(spectrum, **{name: change(value) for name, value in _select_tensors(spectrum).items()})


def _select_tensors(spectrum: Spectrum) -> dict[str, Tensor]:
    """Select the fields of a spectrum that hold tensors."""
    return {name: value for name, value in vars(spectrum).items() if isinstance(value, Tensor)}
