"""Write sentences about what weakens the claims of an audit."""

from collections.abc import Iterator

from torch import Tensor

from memzoo.auditing.result import Judged
from memzoo.dynamics import nearest

OFFSETS = 3
"""``eps`` below this many median offsets misses attractors, as in :func:`memzoo.dynamics.recovery_curve`."""
NEARER = 0.8
"""Starts whose distance to the members is less than this share of that to the controls favour the members."""


def list_notes(
    members: Judged | None, controls: Judged | None, starts: Tensor, *, left_out: int, eps: float
) -> tuple[str, ...]:
    """Return the sentences that a report shows beside the numbers."""
    notes = []
    if left_out:
        notes.append(f"{left_out} starts lay within eps of an image before the first step and were left out.")
    if members is not None:
        notes += _compare_sizes(members, controls)
        notes += _compare_eps(members, eps)
        notes += [] if controls is None else _compare_distances(members, controls, starts)
    return tuple(notes)


def _compare_sizes(members: Judged, controls: Judged | None) -> Iterator[str]:
    """Note that there are no controls, or another number of controls than of members."""
    if controls is None:
        yield "There are no controls: how many untrained images would be recovered as well is not known."
    elif len(members.images) != len(controls.images):
        yield (
            f"There are {len(members.images)} members and {len(controls.images)} controls: compare the shares by their "
            "intervals, not the counts."
        )


def _compare_eps(members: Judged, eps: float) -> Iterator[str]:
    """Note that ``eps`` is small beside the distance of the members from the limits of their own orbits."""
    norm = members.images.flatten(1).double().norm(dim=1)
    # A limit farther away than the norm of its image is another image or no limit at all.
    offsets = members.offset[members.offset.isfinite() & (members.offset < norm)]
    if len(offsets) and eps < OFFSETS * offsets.median():
        yield (
            f"eps = {eps:.3g} is below {OFFSETS} times the median distance of the members from the limits of their own "
            f"orbits ({offsets.median():.3g}): images that come out blurred or shifted count as not recovered."
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
