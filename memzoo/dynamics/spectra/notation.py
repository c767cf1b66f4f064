"""Print spectra as the paper does: ``1, 1, [< 2e-2]``."""

import math

from jaxtyping import Complex
from torch import Tensor


def bracket_notation(eigenvalues: Complex[Tensor, " k"], leading: int) -> str:
    """Return the ``leading`` moduli to two decimals, then a bound on all others, rounded up to one digit.

    Where an eigenvalue is NaN, the others are ``[unknown]``.

    Example:
        >>> import torch
        >>> bracket_notation(torch.tensor([1.0, -0.98, 0.012, 0.004]), leading=2)
        '1, .98, [< 2e-2]'
    """
    known = eigenvalues.abs()
    known = known[~known.isnan()]
    moduli = sorted(known.tolist(), reverse=True)
    shown = [f"{value:.2f}".rstrip("0").rstrip(".") for value in moduli[:leading]]
    shown = [text[1:] if text.startswith("0.") else text for text in shown]
    if len(moduli) < len(eigenvalues):
        return ", ".join([*shown, "[unknown]"])
    rest = moduli[leading] if len(moduli) > leading else 0.0
    if rest == 0:
        return ", ".join([*shown, "[0]"])
    exponent = math.floor(math.log10(rest))
    digit = math.floor(rest / 10**exponent) + 1  # strictly above
    if digit == 10:
        digit = 1
        exponent += 1
    bound = f"{digit}" if exponent == 0 else f"{digit}e{exponent}"
    return ", ".join([*shown, f"[< {bound}]"])
