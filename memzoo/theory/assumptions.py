"""Check Assumption 1 of the paper: the conditions of Theorem 1 on the examples and on phi."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo.theory.phi import Phi, phi_named
from memzoo.theory.phi_inverse import is_solvable
from memzoo.theory.span import check_examples

GRID = 129
"""Points at which the shape of phi is checked, from 0 to the farthest preimage."""


@dataclass(frozen=True)
class Assumptions:
    """Report which assumptions hold, one entry a coordinate j; as a string, describe the violated ones."""

    overparametrized: bool
    """n < d."""
    solvable: bool
    """Some A fits: not assumed by the paper, but needed where examples are linearly dependent."""
    interval: Bool[Tensor, " d"]
    """1a: 0 < x_ij < 1 for all i, and inside the range of phi."""
    one_side: Bool[Tensor, " d"]
    """1b: all x_ij < phi(0), or all x_ij > phi(0)."""
    shape: Bool[Tensor, " d"]
    """1c: between 0 and the preimage farthest from 0, phi is monotone and flattens strictly on the way out. Examples
    without a preimage are left out."""

    @property
    def violated(self) -> tuple[str, ...]:
        """Return the names of the violated assumptions."""
        names = {
            "n < d": self.overparametrized,
            "solvable": self.solvable,
            "1a": bool(self.interval.all()),
            "1b": bool(self.one_side.all()),
            "1c": bool(self.shape.all()),
        }
        return tuple(name for name, holds in names.items() if not holds)

    @property
    def hold(self) -> bool:
        """Tell whether all assumptions hold."""
        return not self.violated

    def __str__(self) -> str:
        lines = [_SENTENCES[name] + _describe_place(getattr(self, _FIELDS[name])) for name in self.violated]
        return "\n".join(lines) or "all hold"


_FIELDS = {"n < d": "overparametrized", "solvable": "solvable", "1a": "interval", "1b": "one_side", "1c": "shape"}
_SENTENCES = {
    "n < d": "n < d is violated: there are as many examples as coordinates, or more",
    "solvable": "no A satisfies A x_i = phi^-1(x_i): the examples are linearly dependent, their preimages are not",
    "1a": "1a is violated: examples leave (0, 1) or the range of phi",
    "1b": "1b is violated: examples lie on both sides of phi(0), or on it",
    "1c": "1c is violated: phi does not flatten monotonically between 0 and the farthest preimage",
}


def _describe_place(holds: bool | Tensor) -> str:
    """Name the coordinates in which an assumption is violated, and end the sentence."""
    if isinstance(holds, bool):
        return "."
    bad = (~holds).nonzero().flatten().tolist()
    return f", in {len(bad)} of {len(holds)} coordinates, the first is {bad[0]}."


def check_assumptions(examples: Float[Tensor, "n d"], phi: str | Phi) -> Assumptions:
    r"""Check whether Theorem 1 applies to these examples.

    The four cases of Assumption 1c are one: phi' keeps its sign and :math:`|\phi'|` falls strictly on the way from 0 to
    the preimage of largest modulus (concave and increasing or convex and decreasing to the right, convex and increasing
    or concave and decreasing to the left). It is checked on a grid of points, coordinate by coordinate.

    Args:
        examples: One example a row.
        phi: A :class:`Phi` or the name of one.

    Returns:
        The report. Time O(n d^2 + d) evaluations of phi'.

    Raises:
        NonFiniteError: NaN or infinity in ``examples``.
        ValueError: ``examples`` is empty or not ``(n, d)``.

    Example:
        >>> print(check_assumptions(torch.tensor([[0.2, 0.7, 0.5], [0.3, 0.4, 0.9]]), "sigmoid"))
        1b is violated: examples lie on both sides of phi(0), or on it, in 2 of 3 coordinates, the first is 1.
    """
    check_examples(examples)
    phi = phi_named(phi)
    x = examples.double()
    inside = (x > max(0.0, phi.low)) & (x < min(1.0, phi.high))
    has_preimage = (x > phi.low) & (x < phi.high)
    # phi(0) stands in for examples without a preimage, so that the inverse is finite everywhere
    preimage = phi.inverse(torch.where(has_preimage, x, phi.at_zero))
    z = torch.where(has_preimage, preimage, 0.0)
    farthest = z.gather(0, z.abs().argmax(0, keepdim=True))[0]
    return Assumptions(
        overparametrized=len(x) < x.shape[1],
        # Outside the range Assumption 1a fails, and solvability has no meaning.
        solvable=not has_preimage.all() or is_solvable(examples, phi),
        interval=inside.all(0),
        one_side=(x < phi.at_zero).all(0) | (x > phi.at_zero).all(0),
        shape=_flattens(phi, farthest),
    )


def _flattens(phi: Phi, farthest: Float[Tensor, " d"]) -> Bool[Tensor, " d"]:
    """Tell whether phi' keeps its sign and falls strictly in modulus from 0 to each point; a point 0 counts as such."""
    fraction = torch.linspace(0, 1, GRID, dtype=torch.float64, device=farthest.device)
    slope = phi.derivative(fraction[:, None] * farthest)
    monotone = (slope > 0).all(0) | (slope < 0).all(0)
    falls = (slope.abs().diff(dim=0) < 0).all(0)
    return (monotone & falls) | (farthest == 0)
