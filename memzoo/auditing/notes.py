"""Write sentences about what weakens the claims of an audit."""

from collections.abc import Iterator

from torch import Tensor

from memzoo.auditing.result import Judged, NearCopies
from memzoo.dynamics import nearest
from memzoo.dynamics.orbits import format_eps

OFFSETS = 3
"""``eps`` below this many median offsets misses attractors, as in :func:`memzoo.dynamics.recovery_curve`."""
NAMED = 4
"""Groups of near-copies that are named."""
NEARER = 0.8
"""Starts whose distance to the members is less than this share of that to the controls favour the members."""


def list_notes(
    members: Judged | None,
    controls: Judged | None,
    starts: Tensor,
    *,
    left_out: int,
    near_copies: tuple[NearCopies, ...],
) -> tuple[str, ...]:
    """Return the sentences that a report shows beside the numbers."""
    notes = []
    if left_out:
        notes.append(f"{left_out} starts lay within eps of an image before the first step and were left out.")
    if members is not None:
        notes += _compare_sizes(members, controls)
        notes += _describe_near_copies(near_copies)
        notes += _compare_eps(members)
        notes += [] if controls is None else _compare_distances(members, controls, starts)
    return tuple(notes)


def _compare_sizes(members: Judged, controls: Judged | None) -> Iterator[str]:
    """Note that there are no controls, or another number of controls than of members."""
    if controls is None:
        yield "There are no controls: how many untrained images would be recovered as well is not known."
    elif members.count != controls.count:
        yield (
            f"There are {members.count} members and {controls.count} controls: compare the shares by their "
            "intervals, not the counts."
        )


def _describe_near_copies(near_copies: tuple[NearCopies, ...]) -> Iterator[str]:
    """Note which images are near-copies of each other, and which controls are near-copies of members."""
    if not near_copies:
        return
    named = [", ".join(f"{kind} {index}" for kind, index in group) for group in near_copies[:NAMED]]
    more = f"; and {len(near_copies) - NAMED} more groups" if len(near_copies) > NAMED else ""
    yield (
        f"Near-copies of each other count as one image: {'; '.join(named)}{more}. They differ by less than a tenth of "
        "the usual distance between neighbours."
    )
    mixed = [group for group in near_copies if len({kind for kind, _ in group}) > 1]
    if mixed:
        yield (
            f"In {len(mixed)} of these groups a control is a near-copy of a member: what comes out counts for both, "
            "and raises the rate of false positives; take other controls."
        )


def _compare_eps(members: Judged) -> Iterator[str]:
    """Note that ``eps`` is small beside the distance of the members from the limits of their own orbits."""
    norm = members.images.flatten(1).double().norm(dim=1)
    # A limit farther away than the norm of its image is another image or no limit at all.
    offsets = members.offset[members.offset.isfinite() & (members.offset < norm)]
    if len(offsets) and members.eps.quantile(0.5) < OFFSETS * offsets.median():
        yield (
            f"eps = {format_eps(members.eps)} is below {OFFSETS} times the median distance of the members from the "
            f"limits of their own orbits ({offsets.median():.3g}): images that come out blurred or shifted count as "
            "not recovered."
        )


def _compare_distances(members: Judged, controls: Judged, starts: Tensor) -> Iterator[str]:
    """Note that the starts lie nearer to the members than to the controls."""
    # A start beside a member finds it sooner, whatever the network has stored.
    to_members = nearest(starts.cpu(), members.images).distance.median().item()
    to_controls = nearest(starts.cpu(), controls.images).distance.median().item()
    if to_members < NEARER * to_controls:
        yield (
            f"The starts lie nearer to the members (median {to_members:.3g}) than to the controls ({to_controls:.3g}), "
            "which favours the members; draw the starts without regard to the members."
        )
