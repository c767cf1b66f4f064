"""Measure matrices in units of a power of two, which changes no digit: squares of extreme numbers leave the range."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.dynamics.spectra.derivatives import Products

STEPS = 4
"""Factors into which a power of two is split: the power itself may leave the number range."""


def find_exponents(products: Products, v: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Find the logarithms to base 2 of the sizes of matrices, from their products with one vector."""
    return find_exponents_of_sizes(products.push(v[None])[0].abs().amax(-1))


def find_exponents_of_sizes(sizes: Tensor, least: int = 0) -> Tensor:
    """Round the logarithms of sizes to integers; below ``least``, and of zero and infinity, they are 0."""
    _, exponents = torch.frexp(sizes)
    usable = sizes.isfinite() & (sizes > 0) & (exponents.abs() > least)
    return torch.where(usable, exponents, 0).double()


def scale_values(values: Tensor, exponents: Float[Tensor, " batch"]) -> Tensor:
    """Multiply each row by its power of two."""
    if not exponents.any():
        return values
    for factor in _split_powers(exponents):
        values = values * factor.reshape(-1, *[1] * (values.ndim - 1)).to(values.dtype)
    return values


def scale_products(products: Products, exponents: Float[Tensor, " batch"]) -> Products:
    """Return the products of matrices that are given in units of the powers of two."""
    if not exponents.any():
        return products
    factors = [factor[:, None] for factor in _split_powers(-exponents)]

    def scale(v: Tensor) -> Tensor:
        for factor in factors:
            v = v * factor.to(v.dtype)
        return v

    return Products(
        lambda v: scale(products.push(v)),
        lambda u: scale(products.pull(u)),
        lambda rows: scale_products(products.narrow(rows), exponents[rows]),
    )


def _split_powers(exponents: Tensor) -> list[Tensor]:
    """Split powers of two into factors that are in the number range; factors of 1 alone are left out."""
    part = (exponents / STEPS).trunc()
    parts = [part] * (STEPS - 1) if part.any() else []
    return [2.0**part for part in [*parts, exponents - (STEPS - 1) * part]]
