"""What is known about the spectrum of a Jacobian."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

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

    @property
    def verdict(self) -> list[Verdict]:
        """``contracting`` and ``expanding`` are decided beyond the error bound; an exact 1 is ``undecided``.

        A small radius makes an attractor only of a fixed point: see :func:`memzoo.dynamics.certify`.
        """
        below = (self.radius + self.radius_error < 1).tolist()
        above = (self.radius - self.radius_error > 1).tolist()
        return [
            "contracting" if low else "expanding" if high else "undecided"
            for low, high in zip(below, above, strict=True)
        ]

    def __str__(self) -> str:
        """The paper's notation, one line a point: moduli of one half and more, then a bound on all others."""
        return "\n".join(bracket_notation(row, int((row.abs() >= 0.5).sum())) for row in self.eigenvalues)

    def repeated(self, count: int) -> "Spectrum":
        """The one row at ``count`` points."""
        return self._each(lambda value: value.expand(count, *value.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Spectrum":
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    @staticmethod
    def spread(part: "Spectrum | None", known: Tensor, dim: int) -> "Spectrum":
        """The rows of ``part`` where ``known``, NaN elsewhere; ``dim`` is the length of eigenvectors, 0 without."""
        count, place = len(known), known.nonzero().flatten()
        real = torch.full((count,), torch.nan, dtype=torch.float64, device=known.device)
        values = real[:, None].to(torch.complex128)
        vectors = real.to(torch.complex128)[:, None, None].expand(count, dim, 1) if dim else None
        blank = Spectrum(values, real, real, real, real, None, vectors, "arnoldi")
        if part is None:
            return blank
        return part._each(lambda value: value.new_full((count, *value.shape[1:]), torch.nan).index_put((place,), value))

    @staticmethod
    def joined(parts: Sequence["Spectrum"]) -> "Spectrum":
        """Several blocks of points as one; where they differ in rank, what is missing is zero."""
        width = max(part.eigenvalues.shape[1] for part in parts)

        def padded(value: Tensor) -> Tensor:
            return torch.nn.functional.pad(value, (0, width - value.shape[-1])) if value.ndim > 1 else value

        parts = [part._each(padded) for part in parts]
        names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
        return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
