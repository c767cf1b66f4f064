"""Judge groups of images on the same orbits: which are recovered, when and from where, and which are attractors."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.auditing.result import Judged
from memzoo.dynamics import Attractors, iterate, nearest, recovery_curve
from memzoo.dynamics.attractors import certify_quickly
from memzoo.dynamics.orbits import find_first_members

PATIENCE = 5
"""Limits are iterated this many times longer than orbits: a limit is approached more slowly than an image is passed."""
BATCH = 1024
"""Images that are reconstructed at one time."""


class Group(NamedTuple):
    """Hold the images of a group, members or controls, as points that the map takes; one row an image."""

    images: Float[Tensor, "n *dim"]
    eps: Float[Tensor, " n"]
    """Radius of recovery, L2."""
    copy_of: Int[Tensor, " n"]
    """Equal for images that count as one, as numbers on the CPU."""


class Arrivals(NamedTuple):
    """Hold where the orbits are when they first come within ``eps`` of each image; one row an image.

    The fields are those of the same names of :class:`memzoo.auditing.Judged`.
    """

    recovered: Bool[Tensor, " n"]
    recovered_at: Int[Tensor, " n"]
    start: Int[Tensor, " n"]
    reached: Float[Tensor, "n dim"]
    distance: Float[Tensor, " n"]


def judge_groups(f: Map, groups: Sequence[Group], starts: Tensor, *, steps: int, shape: torch.Size) -> list[Judged]:
    """Judge members and controls on one set of orbits.

    Each group is certified by itself: the orbit of a control may end in the attractor of a member, which is no reason
    to deny the member an attractor of its own.

    Args:
        f: Self-map of the points.
        groups: Members, and controls if there are any.
        starts: Points where the orbits begin.
        steps: Iterations of each start.
        shape: Shape of one image in the result.
    """
    if not groups:
        return []
    images = torch.cat([group.images for group in groups])
    eps = torch.cat([group.eps for group in groups])
    arrivals = _find_arrivals(f, starts, images, eps, steps)
    # All groups are iterated together, and divided afterwards: the orbits are the same for each.
    sizes = [len(group.images) for group in groups]
    columns = [column.split(sizes) for column in arrivals]
    parts = [Arrivals(*part) for part in zip(*columns, strict=True)]
    patience = PATIENCE * max(steps, 1)
    return [_judge_group(f, group, part, patience, shape) for group, part in zip(groups, parts, strict=True)]


def find_owners(limits: Attractors, images: Tensor, eps: Tensor, members: int) -> tuple[tuple[str, int] | None, ...]:
    """Find the image within whose ``eps`` each attracting fixed point is; the first ``members`` are the members."""
    owners: list[tuple[str, int] | None] = []
    for attractor in limits.found:
        owner = None
        if len(images) and attractor.period == 1:  # a cycle is no single image
            neighbour = nearest(attractor.points.to(images.dtype), images)
            index = int(neighbour.index[0])
            if neighbour.distance[0] < eps[index]:
                owner = ("member", index) if index < members else ("control", index - members)
        owners.append(owner)
    return tuple(owners)


def _judge_group(f: Map, group: Group, arrivals: Arrivals, steps: int, shape: torch.Size) -> Judged:
    """Certify the images of one group, reconstruct each, and put all measurements together on the CPU."""
    images = group.images
    certificates = certify_quickly(f, images, group.eps, group=group.copy_of, steps=steps)
    reconstructed = torch.cat([f(batch) for batch in images.split(BATCH)])
    error = (reconstructed - images).flatten(1).double().norm(dim=1)
    return Judged(
        images=images.reshape(-1, *shape).cpu(),
        eps=group.eps.cpu(),
        copy_of=find_first_members(group.copy_of),
        recovered=arrivals.recovered.cpu(),
        recovered_at=arrivals.recovered_at.cpu(),
        start=arrivals.start.cpu(),
        reached=arrivals.reached.reshape(-1, *shape).cpu(),
        distance=arrivals.distance.cpu(),
        attractor=certificates.attractor.cpu(),
        offset=certificates.offset.cpu(),
        residual=certificates.residual.cpu(),
        radius=certificates.radius.cpu(),
        radius_error=certificates.radius_error.cpu(),
        error=error.cpu(),
    )


def _find_arrivals(f: Map, starts: Tensor, images: Tensor, eps: Tensor, steps: int) -> Arrivals:
    """Find when each image is recovered, and the nearest start at that step, its point and its distance.

    The orbits are iterated twice, so that the points of one step at a time are in memory.
    """
    with warnings.catch_warnings():  # the notes say this in the words of an audit
        warnings.filterwarnings("ignore", message="eps = .* the distance of the fixed points", category=UserWarning)
        # The tolerance of the callbacks, so that both count the same on the same weights and starts.
        curve = recovery_curve(f, starts, images, steps, eps=eps, tol=None)
    recovered_at = curve.recovered_at
    # -1 and NaN stay if an image is never recovered.
    start = torch.full_like(recovered_at, -1)
    reached = torch.full_like(images, torch.nan)
    distance = torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)
    points = starts
    done = 0
    for step in sorted(set(recovered_at[recovered_at >= 0].tolist())):
        # tol = 0: no orbit may rest before the step that is asked for.
        points = iterate(f, points, step - done, tol=0.0).points
        done = step
        rows = (recovered_at == step).nonzero().flatten()
        neighbours = nearest(images[rows], points)
        start[rows] = neighbours.index
        reached[rows] = points[neighbours.index]
        distance[rows] = neighbours.distance
    return Arrivals(curve.reached, recovered_at, start, reached, distance)
