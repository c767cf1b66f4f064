"""A digest of the function that a network computes, to notice right weights in a wrong network."""

import torch
from torch import Tensor, nn

from memzoo.errors import FingerprintError
from memzoo.zoo.entry import Fingerprint

ROWS, VALUES, GOLDEN = 2, 8, 0.6180339887498949


def probe(shape: tuple[int, ...], seed: int) -> Tensor:
    r"""Inputs (2, \*shape) in [0, 1): multiples of the golden ratio, the same on every machine and version.

    More than two, where it takes more to make eight numbers.
    """
    size = int(torch.Size(shape).numel())
    rows = max(ROWS, -(-VALUES // size))
    count = rows * size
    index = torch.arange(1, count + 1, dtype=torch.float64) + 10007 * seed
    return (index * GOLDEN).frac().float().reshape(rows, *shape)


@torch.no_grad()
def take_fingerprint(model: nn.Module, shape: tuple[int, ...], seed: int = 0) -> Fingerprint:
    """Means of eight equal parts of the output on the probe."""
    return Fingerprint(seed=seed, values=_digest(model(probe(shape, seed)))[0].tolist())


@torch.no_grad()
def check_fingerprint(model: nn.Module, shape: tuple[int, ...], wanted: Fingerprint) -> None:
    """Raise FingerprintError when the network computes another function than the published one."""
    found, size = _digest(model(probe(shape, wanted.seed)))
    difference = (found - torch.tensor(wanted.values, dtype=torch.float64)).abs().max() / size
    if not difference <= wanted.tolerance:
        raise FingerprintError(
            f"the weights fit, but the network computes another function than the published one: on the probe input "
            f"its output differs by {difference:.2g} of its size (allowed: {wanted.tolerance:.2g}). The activation, "
            "the bias or another part of the configuration was changed; restore config.json and the registry entry."
        )


def _digest(output: Tensor) -> tuple[Tensor, Tensor]:
    flat = output.double().flatten()
    means = torch.stack([part.mean() for part in flat.tensor_split(VALUES)])
    return means, flat.square().mean().sqrt().clamp(min=1e-12)
