"""Draw maps whose Jacobian at a point is known, and whose spectral radius is known from how the Jacobian is built.

Eigenvalues move when a matrix is rounded, without limit where they are defective. Two ways keep the truth:

- *Exact*: the entries are whole multiples of one unit, and so few digits of it are used that every sum of the
  construction is exact. The radius is then the largest modulus on the diagonal of a triangular matrix.
- *Normal*: the eigenvalues of a normal matrix move by no more than the norm of the change (Weyl 1912; Bauer and Fike
  1960), so the rounding of an orthogonal change of basis moves the radius by at most ``slack``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from memzoo._types import Map
from tools.oracles.outcomes import Truth

Matrix = NDArray[np.float64]
LARGEST = 3072
"""The largest dimension: an image of 3 x 32 x 32."""
DIGITS = {torch.float64: 40, torch.float32: 14}
"""Binary digits of an exact entry; sums of the construction need up to eight more."""
COMMON_SEEDS = (0, 1, 42, 2, 3, 123, 1234, 2026)
"""Seeds that a program is likely to begin its random vectors with."""
ROUNDING = 16 * 2.0**-52
"""Relative rounding of an orthogonal change of basis, for each dimension: a few reflections or one factorisation."""


@dataclass(frozen=True)
class KnownMap:
    """Hold a map, a point, and what is known of the Jacobian there."""

    kind: str
    f: Map
    point: Tensor
    truth: Truth
    sigma_max: float | None
    """Largest singular value; None where it is not known without a decomposition that takes minutes."""
    narrow: bool
    """Whether the map is narrower somewhere than its input."""

    @property
    def dim(self) -> int:
        """Return the dimension of the space."""
        return self.point.shape[1]


@dataclass(frozen=True)
class KnownMatrix:
    """Hold a matrix as the product of factors, the last of which is applied first, with its radius."""

    factors: tuple[Matrix, ...]
    radius: float
    sigma_max: float | None = None
    exact: bool = True

    @property
    def product(self) -> Matrix:
        """Return the matrix itself."""
        product = self.factors[0]
        for factor in self.factors[1:]:
            product = product @ factor
        return product


def draw_map(seed: int, number: int) -> KnownMap:
    """Draw the map of this number; the kinds take turns."""
    rng = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    dtype = torch.float32 if kind in EXACT and rng.random() < 0.3 else torch.float64
    dim = _draw_dimension(rng)
    radius = _draw_radius(rng, exact=kind in EXACT, digits=DIGITS[dtype])
    known = KINDS[kind](rng, Wanted(dim, radius, DIGITS[dtype]))
    slack = 0.0 if known.exact else ROUNDING * dim * (known.sigma_max or known.radius)
    sigma_max = known.sigma_max
    if sigma_max is None and dim <= 600:
        sigma_max = float(np.linalg.norm(known.product, 2))
    f, point = _wrap(rng, known, dtype)
    return KnownMap(kind, f, point, Truth(known.radius, slack), sigma_max, narrow=len(known.factors) > 1)


# Sizes


def _draw_dimension(rng: Generator) -> int:
    """Draw a dimension from 1 to 3072: small ones, those of one block, and now and then the largest."""
    choice = rng.integers(20)
    if choice < 3:
        return min(int(choice) + 1, LARGEST)
    if choice == 3:
        return LARGEST
    largest = LARGEST if choice < 8 else LARGEST // 8
    return int(np.exp(rng.uniform(np.log(2), np.log(largest))))


def _draw_radius(rng: Generator, *, exact: bool, digits: int) -> float:
    """Draw a spectral radius: of any scale, close to 1, exactly 1, or around it."""
    choice = rng.integers(4)
    if choice == 0:
        radius = 10 ** rng.uniform(-6, 6)
    elif choice == 1:
        radius = 1 + rng.choice([-1, 1]) * 10 ** rng.uniform(-12, -1)
    elif choice == 2:
        radius = 1.0
    else:
        radius = rng.uniform(0.05, 2)
    return float(_round_to_digits(np.array(radius), radius, digits)) if exact else float(radius)


def _round_to_digits(values: Matrix, largest: float, digits: int) -> Matrix:
    """Round numbers to whole multiples of one unit; a number as large as ``largest`` has this many binary digits."""
    unit = 2.0 ** (np.ceil(np.log2(largest)) - digits)
    return np.rint(values / unit) * unit


# Kinds of matrices


@dataclass(frozen=True)
class Wanted:
    """Say what matrix is wanted."""

    dim: int
    radius: float
    digits: int
    """Binary digits of an exact entry."""


def _draw_symmetric(rng: Generator, wanted: Wanted) -> KnownMatrix:
    values = rng.uniform(-wanted.radius, wanted.radius, wanted.dim)
    values[0] = wanted.radius * rng.choice([-1, 1])
    return KnownMatrix((_rotate(rng, np.diag(values)),), wanted.radius, wanted.radius, exact=False)


def _draw_normal(rng: Generator, wanted: Wanted) -> KnownMatrix:
    moduli = rng.uniform(0, wanted.radius, (wanted.dim + 1) // 2)
    moduli[0] = wanted.radius
    rotated = _rotate(rng, _form_plane_rotations(rng, moduli, wanted.dim))
    return KnownMatrix((rotated,), wanted.radius, wanted.radius, exact=False)


def _draw_orthogonal(rng: Generator, wanted: Wanted) -> KnownMatrix:
    moduli = np.full((wanted.dim + 1) // 2, wanted.radius)
    rotated = _rotate(rng, _form_plane_rotations(rng, moduli, wanted.dim))
    return KnownMatrix((rotated,), wanted.radius, wanted.radius, exact=False)


def _draw_clustered(rng: Generator, wanted: Wanted) -> KnownMatrix:
    """Draw a symmetric matrix whose largest moduli differ by 1e-3 to 1e-12, of both signs."""
    values = rng.uniform(-wanted.radius / 2, wanted.radius / 2, wanted.dim)
    many = min(wanted.dim, int(rng.integers(2, 9)))
    gap = 10 ** rng.uniform(-12, -3)
    values[:many] = wanted.radius * (1 - gap * np.arange(many)) * rng.choice([-1, 1], many)
    return KnownMatrix((_rotate(rng, np.diag(values)),), wanted.radius, wanted.radius, exact=False)


def _draw_hidden(rng: Generator, wanted: Wanted) -> KnownMatrix:
    """Draw a symmetric matrix whose leading direction is orthogonal to what common seeds draw.

    A Krylov space that begins there never holds this direction, but for rounding.
    """
    direction = rng.standard_normal(wanted.dim)
    common = _collect_common_draws(wanted.dim)[:, : wanted.dim // 2]
    basis = np.linalg.qr(common)[0] if common.shape[1] else common
    for _ in range(2):  # once more removes what rounding left
        direction -= basis @ (basis.T @ direction)
    direction /= np.linalg.norm(direction)
    # The rest has a norm of at most this share of the radius, and maps the direction to zero on both sides.
    share = rng.uniform(0.3, 0.98)
    values = rng.uniform(-share * wanted.radius, share * wanted.radius, wanted.dim)
    rest = _rotate(rng, np.diag(values))
    rest -= np.outer(rest @ direction, direction)
    rest -= np.outer(direction, direction @ rest)
    matrix = wanted.radius * np.outer(direction, direction) + rest
    return KnownMatrix(((matrix + matrix.T) / 2,), wanted.radius, wanted.radius, exact=False)


def _draw_permutation(rng: Generator, wanted: Wanted) -> KnownMatrix:
    matrix = np.zeros((wanted.dim, wanted.dim))
    matrix[np.arange(wanted.dim), rng.permutation(wanted.dim)] = wanted.radius * rng.choice([-1, 1], wanted.dim)
    return KnownMatrix((matrix,), wanted.radius, wanted.radius)


def _draw_triangular(rng: Generator, wanted: Wanted) -> KnownMatrix:
    return KnownMatrix((_shuffle(rng, _form_triangular(rng, wanted)),), wanted.radius)


def _draw_jordan(rng: Generator, wanted: Wanted) -> KnownMatrix:
    return KnownMatrix((_shuffle(rng, _form_jordan(rng, wanted)),), wanted.radius)


def _draw_sheared(rng: Generator, wanted: Wanted) -> KnownMatrix:
    """Draw a triangular or defective matrix in another basis: (I + N) T (I - N) with N^2 = 0 and entries -1, 0, 1."""
    form = _form_triangular if rng.random() < 0.5 else _form_jordan
    matrix = _shuffle(rng, form(rng, wanted))
    shear = _draw_shear(rng, wanted.dim)
    identity = np.eye(wanted.dim)
    return KnownMatrix(((identity + shear) @ matrix @ (identity - shear),), wanted.radius)


def _draw_narrow(rng: Generator, wanted: Wanted) -> KnownMatrix:
    """Draw a product B A with A B = T: its nonzero eigenvalues are those of the small T.

    With A = [I, Y] and B = [T - Y X; X], in shuffled coordinates, A B = T - Y X + Y X.
    """
    if wanted.dim == 1:
        return KnownMatrix((np.array([[wanted.radius]]),), wanted.radius, wanted.radius)
    width = max(1, wanted.dim // int(rng.integers(2, 9)))
    form = _form_triangular if rng.random() < 0.5 else _form_jordan
    small = form(rng, replace(wanted, dim=width))
    lower = rng.uniform(-wanted.radius, wanted.radius, (wanted.dim - width, width))
    lower = _round_to_digits(lower, wanted.radius, wanted.digits)
    mixing = np.zeros((width, wanted.dim - width))
    for row in range(width):
        mixing[row, rng.integers(wanted.dim - width, size=2)] = rng.choice([-1.0, 1.0])
    order = rng.permutation(wanted.dim)
    encoder = np.concatenate([np.eye(width), mixing], 1)[:, order]
    decoder = np.concatenate([small - mixing @ lower, lower])[order]
    return KnownMatrix((decoder, encoder), wanted.radius)


EXACT: dict[str, Callable[[Generator, Wanted], KnownMatrix]] = {
    "permutation": _draw_permutation,
    "triangular": _draw_triangular,
    "Jordan blocks": _draw_jordan,
    "sheared": _draw_sheared,
    "narrow": _draw_narrow,
}
KINDS = {
    "symmetric": _draw_symmetric,
    "normal": _draw_normal,
    "orthogonal": _draw_orthogonal,
    "clustered": _draw_clustered,
    "hidden direction": _draw_hidden,
    **EXACT,
}


# Pieces of matrices


def _rotate(rng: Generator, matrix: Matrix) -> Matrix:
    """Change to a random orthonormal basis; a symmetric matrix stays exactly symmetric."""
    dim = len(matrix)
    symmetric = np.array_equal(matrix, matrix.T)
    if dim <= 300:
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        rotated = basis @ matrix @ basis.T
    else:  # four reflections cost far less, and mix all coordinates too
        rotated = matrix
        for _ in range(4):
            normal = rng.standard_normal(dim)
            normal /= np.linalg.norm(normal)
            rotated = rotated - 2 * np.outer(normal, normal @ rotated)
            rotated = rotated - 2 * np.outer(rotated @ normal, normal)
    return (rotated + rotated.T) / 2 if symmetric else rotated


def _form_plane_rotations(rng: Generator, moduli: Matrix, dim: int) -> Matrix:
    """Form a block diagonal matrix of rotations of the plane, each times its modulus; an odd last entry is real."""
    matrix = np.zeros((dim + 1, dim + 1))
    for block, modulus in enumerate(moduli):
        angle = rng.uniform(0, np.pi)
        first = 2 * block
        if first == dim - 1:
            matrix[first, first] = modulus
            continue
        matrix[first, first] = matrix[first + 1, first + 1] = modulus * np.cos(angle)
        matrix[first, first + 1] = -modulus * np.sin(angle)
        matrix[first + 1, first] = modulus * np.sin(angle)
    return matrix[:dim, :dim]


def _form_triangular(rng: Generator, wanted: Wanted) -> Matrix:
    """Form a triangular matrix: its eigenvalues are its diagonal; the entries above make it more or less normal."""
    radius = wanted.radius
    strength = 10 ** rng.uniform(-3, 0.5) * radius
    matrix = np.triu(rng.uniform(-strength, strength, (wanted.dim, wanted.dim)), 1)
    matrix[np.diag_indices(wanted.dim)] = rng.uniform(-0.99 * radius, 0.99 * radius, wanted.dim)
    matrix = _round_to_digits(matrix, radius, wanted.digits)
    place = rng.integers(wanted.dim)
    matrix[place, place] = radius * rng.choice([-1, 1])
    return matrix


def _form_jordan(rng: Generator, wanted: Wanted) -> Matrix:
    """Form a diagonal matrix with one Jordan block of up to 12 rows, which holds the largest modulus."""
    radius = wanted.radius
    values = rng.uniform(-0.9 * radius, 0.9 * radius, wanted.dim)
    size = min(wanted.dim, int(rng.integers(2, 13)))
    values[:size] = radius
    coupling = np.zeros(wanted.dim - 1)
    coupling[: size - 1] = radius * 2.0 ** rng.integers(-6, 2)
    return _round_to_digits(np.diag(values) + np.diag(coupling, 1), radius, wanted.digits)


def _shuffle(rng: Generator, matrix: Matrix) -> Matrix:
    """Renumber the coordinates, which changes no eigenvalue and rounds nothing."""
    order = rng.permutation(len(matrix))
    return matrix[np.ix_(order, order)]


def _draw_shear(rng: Generator, dim: int) -> Matrix:
    """Draw N with N^2 = 0: it maps one half of the coordinates to the other, up to three entries a row."""
    shear = np.zeros((dim, dim))
    order = rng.permutation(dim)
    into = order[: dim // 2]
    out_of = order[dim // 2 :]
    for row in into:
        columns = rng.choice(out_of, size=min(3, len(out_of)), replace=False)
        shear[row, columns] = rng.choice([-1.0, 1.0], len(columns))
    return shear


def _collect_common_draws(dim: int) -> Matrix:
    """Collect the random vectors that torch and numpy draw from common seeds, one a column."""
    columns: list[Matrix] = []
    for seed in COMMON_SEEDS:
        for block in (2, 4, 1, 3):
            for dtype in (torch.float64, torch.float32):
                generator = torch.Generator().manual_seed(seed)
                columns.append(torch.randn(dim, block, generator=generator, dtype=dtype).double().numpy())
        columns.append(np.random.default_rng(seed).standard_normal((dim, 2)))
    return np.concatenate(columns, 1)


# Maps with such a Jacobian


BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    # each has the derivative 1 at 0, exactly
    "tanh": torch.tanh,
    "sin": torch.sin,
    "asinh": torch.asinh,
    "square": lambda z: z + z * z,
    "silu": lambda z: 2 * nn.functional.silu(z),
    "gelu": lambda z: 2 * nn.functional.gelu(z),
}
SLOPE = 0.25
"""Slope of the leaky rectifier below 0: a power of two, so that dividing by it rounds nothing."""


class _Bent(nn.Module):
    """Compute W_m ... W_1 bend(x - centre) + shift."""

    centre: Tensor
    shift: Tensor

    def __init__(self, factors: list[Tensor], centre: Tensor, shift: Tensor, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(factor) for factor in factors])
        self.register_buffer("centre", centre)
        self.register_buffer("shift", shift)
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        z = self.bend(x - self.centre)
        for weight in reversed(self.weights):
            z = z @ weight.T
        return z + self.shift


def _wrap(rng: Generator, known: KnownMatrix, dtype: torch.dtype) -> tuple[Map, Tensor]:
    """Make a map and a point where its Jacobian is the matrix: linear or not, a module or a plain function."""
    dim = known.factors[-1].shape[1]
    factors = [torch.from_numpy(factor).to(dtype) for factor in known.factors]
    scale = 2.0 ** int(rng.integers(-20, 21))  # of the point, and of the distances over which the map bends
    centre = torch.from_numpy(scale * rng.standard_normal(dim)).to(dtype)
    shift = torch.from_numpy(scale * rng.standard_normal(dim)).to(dtype)
    choice = rng.choice(["linear", "leaky", *BENDS])
    point = centre[None].clone()
    if choice == "linear":
        bend = _keep
    elif choice == "leaky":
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], dim)).to(dtype)
        point = point + scale * signs
        slopes = torch.where(point[0] > centre, 1.0, SLOPE).to(dtype)
        factors[-1] = factors[-1] / slopes
        bend = _bend_at_zero
    else:
        bend = _ScaledBend(BENDS[choice], scale)
    module = _Bent(factors, centre, shift, bend)
    return (module.eval(), point) if rng.random() < 0.6 else (lambda x: module(x), point)


def _keep(z: Tensor) -> Tensor:
    return z


def _bend_at_zero(z: Tensor) -> Tensor:
    return nn.functional.leaky_relu(z, SLOPE)


@dataclass(frozen=True)
class _ScaledBend:
    """Compute scale * bend(z / scale), which bends over distances of this scale."""

    bend: Callable[[Tensor], Tensor]
    scale: float

    def __call__(self, z: Tensor) -> Tensor:
        return self.scale * self.bend(z / self.scale)
