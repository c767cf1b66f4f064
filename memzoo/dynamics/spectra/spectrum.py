"""What is known about the spectrum of a Jacobian."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn.functional import pad

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
    the eigensolve, not digits that ``f`` itself loses by cancellation."""
    sigma_max: Float[Tensor, " batch"]
    """Largest singular value: the most that one step stretches, in L2."""
    condition: Float[Tensor, " batch"]
    """Condition number of the leading eigenvalue, 1 for a normal Jacobian."""
    transient_growth: Float[Tensor, " batch"] | None
    r""":math:`\max_{t \ge 1} \|J^t\|_2`: the most that iteration stretches before it contracts; at least ``sigma_max``.
    None unless asked for, and by Arnoldi; infinity where no decay is proven (not contracting, or too slowly: 300 powers
    do not shrink everything)."""
    vectors: Complex[Tensor, "batch dim k"] | None
    """Right eigenvectors of length 1, one a column, where they were asked for."""
    method: Method
    seed: Int[Tensor, " batch"] | None = None
    """Seeds of the random starts of Arnoldi's method; 0 where it was not used, None if it was used nowhere."""

    @property
    def verdict(self) -> list[Verdict]:
        """Return a verdict for each point: ``contracting`` and ``expanding`` hold beyond the error bound.

        An exact 1 is ``undecided``. A small radius makes an attractor only of a fixed point: see
        :func:`memzoo.dynamics.certify`.
        """
        below = (self.radius + self.radius_error < 1).tolist()
        above = (self.radius - self.radius_error > 1).tolist()
        return [
            "contracting" if low else "expanding" if high else "undecided"
            for low, high in zip(below, above, strict=True)
        ]

    def __str__(self) -> str:
        """Print in the paper's notation, one line a point: moduli of one half and more, then a bound on all others."""
        return "\n".join(bracket_notation(row, int((row.abs() >= 0.5).sum())) for row in self.eigenvalues)


def repeat_spectrum(one: Spectrum, count: int) -> Spectrum:
    """Return the one row of a spectrum at ``count`` points."""
    return _change_tensors(one, lambda value: value.expand(count, *value.shape[1:]))


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
    if part is None:
        vectors = values[:, None].expand(count, dim, 1) if dim else None
        seed = torch.zeros_like(real, dtype=torch.long)
        return Spectrum(values, real, real, real, real, None, vectors, "arnoldi", seed)
    place = known.nonzero().flatten()

    def fill(value: Tensor) -> Tensor:
        missing = 0 if value.dtype == torch.long else torch.nan
        return value.new_full((count, *value.shape[1:]), missing).index_put((place,), value)

    return _change_tensors(part, fill)


def replace_rows(whole: Spectrum, rows: Tensor, part: Spectrum) -> Spectrum:
    """Replace some rows of a spectrum by those of another one; what one of the two lacks stays as it is."""
    new = _select_tensors(part)
    tensors = {name: value for name, value in _select_tensors(whole).items() if name in new}

    def place(old: Tensor, value: Tensor) -> Tensor:
        if old.ndim > 1:
            value = pad(value, (0, old.shape[-1] - value.shape[-1]))
        return old.index_put((rows,), value)

    return replace(whole, **{name: place(value, new[name]) for name, value in tensors.items()})


def join_spectra(parts: Sequence[Spectrum]) -> Spectrum:
    """Join blocks of points; if the blocks differ in rank, the missing eigenvalues and vectors are zero."""
    width = max(part.eigenvalues.shape[1] for part in parts)

    def pad_columns(value: Tensor) -> Tensor:
        return pad(value, (0, width - value.shape[-1])) if value.ndim > 1 else value

    padded = [_select_tensors(_change_tensors(part, pad_columns)) for part in parts]
    return replace(parts[0], **{name: torch.cat([tensors[name] for tensors in padded]) for name in padded[0]})


def _change_tensors(spectrum: Spectrum, change: Callable[[Tensor], Tensor]) -> Spectrum:
    """Apply ``change`` to each tensor of a spectrum."""
    return replace(spectrum, **{name: change(value) for name, value in _select_tensors(spectrum).items()})


def _select_tensors(spectrum: Spectrum) -> dict[str, Tensor]:
    """Select the fields of a spectrum that hold tensors."""
    return {name: value for name, value in vars(spectrum).items() if isinstance(value, Tensor)}
