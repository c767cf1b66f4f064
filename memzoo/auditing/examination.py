"""Which training images come out of a network when it is iterated, and would images it never saw, too?"""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memzoo._checks import check_batch, check_eps, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.auditing.measured import measured
from memzoo.auditing.report import Audit
from memzoo.auditing.result import Judged
from memzoo.dynamics import (
    Attractors,
    certify,
    close_pairs,
    default_eps,
    find_attractors,
    iterate,
    nearest,
    recovery_curve,
)
from memzoo.errors import AuditInputError
from memzoo.modules import Adapter, matching_noise

PATIENCE = 5  # times steps: for limits, which are approached more slowly than an image is passed
OFFSETS = 3  # eps below this many offsets misses attractors, as in recovery_curve
NEARER = 0.8  # starts this much nearer to the members than to the controls favour them


def audit(
    module: nn.Module | Map,
    members: Float[Tensor, "n *shape"] | None = None,
    starts: Float[Tensor, "batch *shape"] | None = None,
    *,
    controls: Float[Tensor, "m *shape"] | None = None,
    self_map: Adapter | None = None,
    eps: float | None = None,
    steps: int = 200,
    noise: int = 200,
    shape: Sequence[int] | None = None,
    seed: int = 0,
) -> Audit:
    r"""How many training images can be pulled out of an autoencoder by iterating it, which, and how fast.

    All orbits begin at ``starts``. A member (training image) or control (an image that was not trained on) is
    *recovered* when one of them comes within ``eps`` of it, and *certified* when it has an attracting fixed point of
    its own (:func:`memzoo.dynamics.certify`). Both groups are judged on the same orbits with the same ``eps``, so
    that the share of controls is the false-positive rate beside each claim on members. Without ``members`` the
    attractors that the starts end in are found, and nothing is claimed of where they come from.

    What it does not show: that nothing leaks. Another start, or an attack other than iteration, may reach more.

    Args:
        module: Autoencoder, or any callable that maps a batch to a batch of the same shape. It is measured in eval
            mode and left as it was; no global generator is touched.
        members: Training images.
        starts: Where the orbits begin, drawn without regard to the members: other held-out images, noise. Gaussian
            noise with the mean and the variance of the members when left out; without members, uniform in [0, 1].
            Those within ``eps`` of an image at the outset are left out, with a warning.
        controls: Images of the same kind that were not trained on, best as many as members.
        self_map: ``self_map(module, x)`` returns the reconstruction, where ``forward`` returns something else.
        eps: Radius of recovery, L2; :func:`memzoo.dynamics.default_eps` of members and controls together when left
            out, so that no point is within ``eps`` of two; without members as in
            :func:`memzoo.dynamics.find_attractors`.
        steps: Iterations of each start.
        noise: Number of noise starts, where ``starts`` is left out.
        shape: Shape of one image, where neither members nor starts tell it.
        seed: Of the noise.

    Returns:
        Cost: at most ``7 steps`` evaluations of all starts, and a certificate an image and an attractor.

    Raises:
        NotASelfMapError: The module does not give back the shape that went in, or not the same values twice.
        NonFiniteError: NaN or infinity in the images or in the parameters.
        ValueError: Images of different shapes, controls that are members, no start left.

    Example:
        >>> images, starts = torch.eye(4), torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
        >>> found = audit(
        ...     lambda x: images[:2][torch.cdist(x, images[:2]).argmin(1)], images[:2], starts, controls=images[2:]
        ... )
        >>> int(found.members.recovered.sum()), int(found.controls.recovered.sum())
        (2, 0)
    """
    check_steps(steps)
    if members is None and controls is not None:
        raise AuditInputError("controls stand beside members; pass members= too, or leave both out.")
    groups = _checked(members, controls)
    starts, starts_from = _starts(starts, members, shape, noise, seed)
    if members is not None:
        check_same_shape(starts, members, "starts and members")
    eps_from = "given"
    if eps is not None:
        check_eps(eps)
    elif groups:
        eps, eps_from = default_eps(torch.cat(groups)), "a tenth of the smallest distance between two of the images"
    left_out = 0
    if groups and eps is not None:
        starts, left_out = _away_from(starts, torch.cat(groups), eps)

    with measured(module, self_map, torch.cat([*groups, starts])) as (f, points):
        images, orbits = points[: -len(starts)], points[-len(starts) :]
        limits = find_attractors(f, orbits, eps=eps, steps=PATIENCE * steps)
        judged = _judged(f, images.split([len(group) for group in groups]), orbits, steps, limits.eps, starts.shape[1:])
    own, other = (*judged, None, None)[:2]
    if not groups and eps is None:
        eps_from = "5 % of the median norm of the end points"
    return Audit(
        members=own,
        controls=other,
        starts=starts.detach().cpu(),
        attractors=limits,
        owner=_owners(limits, images, len(members) if members is not None else 0),
        eps=limits.eps,
        eps_from=eps_from,
        starts_from=starts_from,
        left_out=left_out,
        steps=steps,
        seed=seed,
        title=type(module).__name__ if isinstance(module, nn.Module) else getattr(module, "__name__", "a callable"),
        notes=_notes(own, other, starts, left_out, limits.eps),
    )


# Before -----------------------------------------------------------------------------------------------------------


def _checked(members: Tensor | None, controls: Tensor | None) -> list[Tensor]:
    """Members and controls as a list of the groups that are there, of one space and apart from each other."""
    if members is None:
        return []
    check_batch(members, "members")
    if controls is None:
        return [members]
    check_batch(controls, "controls")
    check_same_shape(members, controls, "members and controls")
    controls = controls.to(members)
    near = nearest(controls, members)
    same = (near.distance == 0).nonzero().flatten().tolist()
    if same:
        raise AuditInputError(
            f"{len(same)} of {len(controls)} controls are members, the first is control {same[0]}, which equals member "
            f"{int(near.index[same[0]])}: controls must not have been trained on; take them from held-out images."
        )
    return [members, controls]


def _starts(
    starts: Tensor | None, members: Tensor | None, shape: Sequence[int] | None, noise: int, seed: int
) -> tuple[Tensor, str]:
    """Those given, else noise; and what they are, in words."""
    if starts is not None:
        check_batch(starts, "starts")
        return (starts if members is None else starts.to(members)), "given"
    if noise < 1:
        raise AuditInputError(f"noise counts starts and must be at least 1, got {noise!r}.")
    generator = torch.Generator().manual_seed(seed)
    if members is not None:
        drawn = matching_noise(members.detach().cpu(), noise, generator).to(members)
        return drawn, "Gaussian noise with the mean and the variance of the members"
    if not shape:
        raise AuditInputError(
            "without members and starts nothing says what the network maps; pass starts=, or shape=(C, H, W) for noise."
        )
    return torch.rand((noise, *shape), generator=generator), "noise, uniform in [0, 1]"


def _away_from(starts: Tensor, images: Tensor, eps: float) -> tuple[Tensor, int]:
    """The starts that are not within ``eps`` of an image already, and how many were."""
    near = close_pairs(starts, images, eps)[0].unique()
    if len(near) == len(starts):
        raise AuditInputError(
            f"all {len(starts)} starts lie within eps = {eps:.3g} of an image before the first step, so that nothing "
            "would have to be pulled out; pass other starts, such as held-out images or noise, or a smaller eps."
        )
    if not len(near):
        return starts, 0
    warnings.warn(
        f"{len(near)} of {len(starts)} starts lie within eps = {eps:.3g} of an image before the first step and are "
        "left out.",
        stacklevel=3,
    )
    keep = torch.ones(len(starts), dtype=torch.bool, device=starts.device)
    keep[near] = False
    return starts[keep], len(near)


# Measured ---------------------------------------------------------------------------------------------------------


def _judged(
    f: Map, groups: Sequence[Tensor], starts: Tensor, steps: int, eps: float, shape: torch.Size
) -> list[Judged]:
    """Members and controls on one set of orbits.

    Each group is certified by itself: the orbit of a control may well end in a member's attractor, which that does not
    have to share because of it.
    """
    if not len(groups):
        return []
    images = torch.cat(list(groups))
    with warnings.catch_warnings():  # said in the notes, in the words of an audit
        warnings.filterwarnings("ignore", message="eps = .* the distance of the fixed points", category=UserWarning)
        at = recovery_curve(f, starts, images, steps, eps=eps).recovered_at
    start, reached, distance = _first_arrivals(f, starts, images, at)
    sizes = [len(group) for group in groups]
    parts = zip(groups, at.split(sizes), start.split(sizes), reached.split(sizes), distance.split(sizes), strict=True)
    return [_one_group(f, *part, eps, PATIENCE * max(steps, 1), shape) for part in parts]


def _one_group(
    f: Map,
    images: Tensor,
    at: Tensor,
    start: Tensor,
    reached: Tensor,
    distance: Tensor,
    eps: float,
    steps: int,
    shape: torch.Size,
) -> Judged:
    certificates = certify(f, images, eps=eps, steps=steps)
    error = (torch.cat([f(rows) for rows in images.split(1024)]) - images).flatten(1).double().norm(dim=1)
    return Judged(
        images=images.reshape(-1, *shape).cpu(),
        recovered_at=at.cpu(),
        start=start.cpu(),
        reached=reached.reshape(-1, *shape).cpu(),
        distance=distance.cpu(),
        attractor=certificates.attractor.cpu(),
        offset=certificates.offset.cpu(),
        residual=certificates.residual.cpu(),
        radius=certificates.radius.cpu(),
        radius_error=certificates.radius_error.cpu(),
        error=error.cpu(),
    )


def _first_arrivals(f: Map, starts: Tensor, images: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each image that is recovered: the nearest start at that step, its point, and the distance."""
    start = torch.full_like(at, -1)
    reached = torch.full_like(images, torch.nan)
    distance = torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)
    points, now = starts, 0
    for step in sorted(set(at[at >= 0].tolist())):  # a second pass, for one step's points at a time
        points, now = iterate(f, points, step - now, tol=0.0).points, step
        rows = (at == step).nonzero().flatten()
        near = nearest(images[rows], points)
        start[rows], distance[rows], reached[rows] = near.index, near.distance, points[near.index]
    return start, reached, distance


def _owners(limits: Attractors, images: Tensor, members: int) -> tuple[tuple[str, int] | None, ...]:
    """The image within ``eps`` of each attracting fixed point."""
    owners: list[tuple[str, int] | None] = []
    for one in limits.found:
        owner = None
        if len(images) and one.period == 1:
            near = nearest(one.points.to(images.dtype), images)
            index = int(near.index[0])
            if near.distance[0] < limits.eps:
                owner = ("member", index) if index < members else ("control", index - members)
        owners.append(owner)
    return tuple(owners)


# Said beside the numbers ------------------------------------------------------------------------------------------


def _notes(own: Judged | None, other: Judged | None, starts: Tensor, left_out: int, eps: float) -> tuple[str, ...]:
    """What weakens the claims, in words."""
    notes = []
    if left_out:
        notes.append(f"{left_out} starts lay within eps of an image before the first step and were left out.")
    if own is None:
        return tuple(notes)
    if other is None:
        notes.append("There are no controls: how many untrained images would be recovered as well is not known.")
    elif len(own.images) != len(other.images):
        notes.append(
            f"There are {len(own.images)} members and {len(other.images)} controls: compare the shares by their "
            "intervals, not the counts."
        )
    close = own.offset[own.offset.isfinite() & (own.offset < own.images.flatten(1).double().norm(dim=1))]
    if len(close) and eps < OFFSETS * close.median():
        notes.append(
            f"eps = {eps:.3g} is below {OFFSETS} times the median distance of the members from the limits of their own "
            f"orbits ({close.median():.3g}): images that come out blurred or shifted count as not recovered."
        )
    if other is not None:
        near, far = (nearest(starts.cpu(), group.images).distance.median().item() for group in (own, other))
        if near < NEARER * far:
            notes.append(
                f"The starts lie nearer to the members (median {near:.3g}) than to the controls ({far:.3g}), which "
                "favours the members; draw the starts without regard to the members."
            )
    return tuple(notes)
