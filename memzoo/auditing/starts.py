"""Choose where the orbits of an audit begin."""

from collections.abc import Sequence

import torch
from torch import Tensor

from memzoo._checks import check_batch
from memzoo._user_warning import warn_user
from memzoo.dynamics import close_pairs
from memzoo.dynamics.orbits import format_eps
from memzoo.errors import AuditInputError
from memzoo.modules import matching_noise


def choose_starts(
    starts: Tensor | None, members: Tensor | None, *, shape: Sequence[int] | None, noise: int, seed: int
) -> tuple[Tensor, str]:
    """Return the starts that were given, else noise, and a description of them in words.

    Args:
        starts: The starts that were given.
        members: Training images, whose mean and variance the noise has.
        shape: Shape of one image, if neither starts nor members tell it.
        noise: Number of noise starts.
        seed: Seed of the noise.
    """
    if starts is not None:
        check_batch(starts, "starts")
        return (starts if members is None else starts.to(members)), "given"
    if noise < 1:
        raise AuditInputError(f"noise counts starts and must be at least 1, got {noise!r}.")
    # The noise is drawn on the CPU, so that a seed gives the same starts on every device.
    generator = torch.Generator().manual_seed(seed)
    if members is not None:
        drawn = matching_noise(members.detach().cpu(), noise, generator).to(members)
        return drawn, "Gaussian noise with the mean and the variance of the members"
    if not shape:
        raise AuditInputError(
            "without members and starts nothing says what the network maps; pass starts=, or shape=(C, H, W) for noise."
        )
    return torch.rand((noise, *shape), generator=generator), "noise, uniform in [0, 1]"


def leave_out_near(starts: Tensor, images: Tensor, eps: Tensor) -> tuple[Tensor, int]:
    """Return the starts that are not within ``eps`` of an image already, and the number of those left out."""
    # Such a start has recovered its image before the network is asked.
    near = close_pairs(starts, images, eps)[0].unique()
    if len(near) == len(starts):
        raise AuditInputError(
            f"all {len(starts)} starts lie within eps = {format_eps(eps)} of an image before the first step, so that "
            "nothing would have to be pulled out; pass other starts, such as held-out images or noise, or a smaller "
            "eps."
        )
    if not len(near):
        return starts, 0
    warn_user(
        f"{len(near)} of {len(starts)} starts lie within eps = {format_eps(eps)} of an image before the first step "
        "and are left out.",
    )
    keep = torch.ones(len(starts), dtype=torch.bool, device=starts.device)
    keep[near] = False
    return starts[keep], len(near)
