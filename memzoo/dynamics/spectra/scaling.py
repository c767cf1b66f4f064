"""Measure matrices in units of a power of two, which changes no digit: squares of extreme numbers leave the range."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.dynamics.spectra.derivatives import Products

HALF = 500
"""Largest power of two by which a number is multiplied at once."""


def find_exponents(products: Products, v: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Find the logarithms to base 2 of the sizes of matrices, from their products with one vector each way."""
    sizes = [product(v[None])[0].abs().amax(-1) for product in products]
    return find_exponents_of_sizes(torch.maximum(*sizes))


def find_exponents_of_sizes(sizes: Tensor) -> Tensor:
    """Round the logarithms of sizes to integers; zero and numbers that are not finite keep their unit."""
    _, exponents = torch.frexp(sizes)
    usable = sizes.isfinite() & (sizes > 0)
    return torch.where(usable, exponents, 0).double()


def scale_values(values: Tensor, exponents: Float[Tensor, " batch"]) -> Tensor:
    """Multiply each row by its power of two, in double precision."""
    shape = (-1, *[1] * (values.ndim - 1))
    # In two steps: the power itself may be outside the number range.
    first = exponents.clamp(-HALF, HALF)
    for part in (first, exponents - first):
        values = values * (2.0 ** part.double()).reshape(shape)
    return values


def scale_products(products: Products, exponents: Float[Tensor, " batch"]) -> Products:
    """Return the products of matrices that are given in units of the powers of two."""
    if not exponents.any():
        return products
    first = (-exponents).clamp(-HALF, HALF)
    factors = [2.0 ** first[:, None], 2.0 ** (-exponents - first)[:, None]]

    def scale(v: Tensor) -> Tensor:
        for factor in factors:
            v = v * factor.to(v.dtype)
        return v

    return Products(lambda v: scale(products.push(v)), lambda u: scale(products.pull(u)))
