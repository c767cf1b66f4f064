"""Take and check a fingerprint: a digest of the function that a network computes.

Weights may fit a network that computes another function than the published one, as after a change of the activation.
The digest is eight means of the output for a fixed probe input, which a change of rounding leaves nearly as it is.
"""

import torch
from torch import Tensor, nn

from memzoo.errors import FingerprintError
from memzoo.zoo.entry import Fingerprint

ROWS = 2
VALUES = 8
GOLDEN = 0.6180339887498949


def make_probe(shape: tuple[int, ...], seed: int) -> Tensor:
    r"""Make the probe inputs (2, \*shape) in [0, 1): multiples of the golden ratio modulo 1, equal on every machine.

    There are more than two inputs where two hold less than eight numbers.
    """
    size = int(torch.Size(shape).numel())
    rows = max(ROWS, -(-VALUES // size))
    index = torch.arange(1, rows * size + 1, dtype=torch.float64) + 10007 * seed
    return (index * GOLDEN).frac().float().reshape(rows, *shape)


@torch.no_grad()
def take_fingerprint(model: nn.Module, shape: tuple[int, ...], seed: int = 0) -> Fingerprint:
    """Take the means of eight equal parts of the output for the probe."""
    means, _ = _compute_digest(model(make_probe(shape, seed)))
    return Fingerprint(seed=seed, values=means.tolist())


@torch.no_grad()
def check_fingerprint(model: nn.Module, shape: tuple[int, ...], wanted: Fingerprint) -> None:
    """Raise FingerprintError when the network computes another function than the published one."""
    found, size = _compute_digest(model(make_probe(shape, wanted.seed)))
    difference = (found - torch.tensor(wanted.values, dtype=torch.float64)).abs().max() / size
    if not difference <= wanted.tolerance:  # true for NaN as well
        raise FingerprintError(
            f"the weights fit, but the network computes another function than the published one: on the probe input "
            f"its output differs by {difference:.2g} of its size (allowed: {wanted.tolerance:.2g}). The activation, "
            "the bias or another part of the configuration was changed; restore config.json and the registry entry."
        )


def _compute_digest(output: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the means of eight equal parts of an output, and its root mean square."""
    flat = output.double().flatten()
    means = torch.stack([part.mean() for part in flat.tensor_split(VALUES)])
    return means, flat.square().mean().sqrt().clamp(min=1e-12)
