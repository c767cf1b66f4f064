"""Audit a network: find the training images that come out when it is iterated, and whether others come out too."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memzoo._checks import check_batch, check_same_shape, check_steps
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.auditing.attacks import choose_attacks
from memzoo.auditing.battery import BatteryOptions, measure_battery
from memzoo.auditing.comparability import compare_groups
from memzoo.auditing.distinct_images import Images
from memzoo.auditing.judgement import PATIENCE, Group, find_owners, judge_groups
from memzoo.auditing.measurable_map import open_map
from memzoo.auditing.notes import list_notes
from memzoo.auditing.report import Audit
from memzoo.auditing.result import NearCopies
from memzoo.auditing.starts import choose_starts, leave_out_near
from memzoo.auditing.value_range import find_better_range
from memzoo.dynamics import find_attractors, nearest
from memzoo.dynamics.orbits import resolve_eps, resolve_groups
from memzoo.dynamics.reconstruction import describe_map
from memzoo.errors import AuditInputError, InvalidTypeError
from memzoo.modules import Adapter


def audit(
    module: nn.Module | Map,
    members: Float[Tensor, "n *shape"] | None = None,
    starts: Float[Tensor, "batch *shape"] | None = None,
    *,
    controls: Float[Tensor, "m *shape"] | None = None,
    self_map: Adapter | None = None,
    eps: float | Tensor | None = None,
    steps: int = 200,
    noise: int = 200,
    shape: Sequence[int] | None = None,
    seed: int = 0,
    battery: bool | BatteryOptions = False,
) -> Audit:
    r"""Find which training images can be pulled out of an autoencoder by iterating it, how many, and how fast.

    All orbits begin at ``starts``. A member (training image) or control (an image that was not trained on) is
    *recovered* when one of them is within ``eps`` of it at the last step, as in :math:`R_T`, *ever recovered* when one
    of them is so at any step, and *certified* when it has an attracting fixed point of its own
    (:func:`memzoo.dynamics.certify`). Both groups are judged on the same orbits by the same rule, so that the share of
    controls is the false-positive rate beside each claim on members. Near-copies of an image
    (:func:`memzoo.dynamics.group_near_copies`) are counted once, with it; if ``eps`` is given, exact duplicates alone.
    Without ``members``, the audit finds the attractors that the starts end in, and claims nothing of where they come
    from.

    An audit does not show that nothing leaks: another start, or an attack other than iteration, may reach more.

    Args:
        module: Autoencoder, or any callable that maps a batch to a batch of the same shape. It is measured in eval
            mode and left as it was. The global generators keep their states.
        members: Training images, in the range of values that the network was trained on. A warning says if it
            reconstructs them far better in another of the usual ranges, [0, 1], [-1, 1] and [0, 255].
        starts: Points where the orbits begin, drawn without regard to the members: other held-out images, or noise.
            When left out, Gaussian noise with the mean and the variance of the members; without members, noise that is
            uniform in [0, 1]. Starts within ``eps`` of an image at the outset are not used, with a warning.
        controls: Images of the same kind that were not trained on, preferably as many as there are members.
        self_map: ``self_map(module, x)`` returns the reconstruction, if ``forward`` does not.
        eps: Radius of recovery, L2, one for all images or one for each, those of the controls behind those of the
            members. When left out, :func:`memzoo.dynamics.example_eps` of members and controls together, so that no
            point is within ``eps`` of two different images; without members as in
            :func:`memzoo.dynamics.find_attractors`.
        steps: Iterations of each start.
        noise: Number of noise starts, if ``starts`` is left out.
        shape: Shape of one image, where neither members nor starts tell it.
        seed: Seed of the noise.
        battery: Also run the attacks of :doc:`/leaks` on members and controls, with one verdict of all of them in
            :attr:`Audit.battery`. :class:`memzoo.auditing.BatteryOptions` chooses among them, and adds a reference
            network or a bound on epsilon. Nothing else in the result depends on it.

    Returns:
        The numbers of the audit. It costs at most ``7 steps`` evaluations of all starts, and one certificate for each
        image and each attractor; with a battery, ``2 steps`` evaluations of all starts, ``5 steps`` of all images, and
        all eigenvalues at each image besides.

    Raises:
        NotASelfMapError: The module does not return the shape of its input, or returns different values for equal
            inputs.
        NonFiniteError: The images or the parameters hold NaN or infinity.
        ValueError: The images have different shapes, a control is a member, or no start is left.

    Example:
        >>> images, starts = torch.eye(4), torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
        >>> found = audit(
        ...     lambda x: images[:2][(x @ images[:2].T).argmax(1)], images[:2], starts, controls=images[2:]
        ... )
        >>> int(found.members.ever_recovered.sum()), int(found.controls.ever_recovered.sum())
        (2, 0)
    """
    check_steps(steps)
    groups = _check_groups(members, controls)
    options = _choose_options(battery, controls)
    given_starts = starts is not None
    starts, starts_from = choose_starts(starts, members, shape=shape, noise=noise, seed=seed)
    if members is not None:
        check_same_shape(starts, members, "starts and members")
    pool = _gather(groups, eps, starts)
    starts, left_out = leave_out_near(starts, pool.images, pool.eps) if groups else (starts, 0)

    # One tensor, so that images and starts are converted to the same points.
    with open_map(module, self_map, torch.cat([pool.images, starts])) as (f, points):
        measured = describe_map(f)
        images = points[: -len(starts)]
        orbits = points[-len(starts) :]
        range_note = find_better_range(f, images[: pool.members]) if groups else None
        limits = find_attractors(f, orbits, eps=pool.scale, steps=PATIENCE * steps)
        judged = judge_groups(f, pool.split(images), orbits, steps=steps, shape=starts.shape[1:])
        attacked = None
        if options is not None:
            attacked = measure_battery(
                f,
                Images(images, starts.shape[1:], pool.eps.to(images.device), pool.copies, pool.members),
                options,
                compare_groups(*groups),
                # Noise like the members would know who they are, and the test assumes that no attack knows it.
                starts=orbits if given_starts else None,
                count=noise,
                steps=steps,
                seed=seed,
                self_map=self_map,
            )
    if range_note is not None:
        warn_user(range_note)
    # A group that was not given is None in the result.
    judged_members, judged_controls = [*judged, None, None][:2]
    near_copies = _name_near_copies(pool.copies, pool.members)
    notes = [f"{measured}."] if measured else []
    notes += [] if range_note is None else [range_note]
    notes += list_notes(judged_members, judged_controls, starts, left_out=left_out, near_copies=near_copies)
    return Audit(
        members=judged_members,
        controls=judged_controls,
        starts=starts.detach().cpu(),
        attractors=limits,
        owner=find_owners(limits, images, pool.eps.to(images.device), pool.members),
        near_copies=near_copies,
        eps=limits.eps,
        eps_from=_describe_eps(eps, groups),
        starts_from=starts_from,
        left_out=left_out,
        steps=steps,
        seed=seed,
        title=_name_map(module),
        notes=tuple(notes),
        battery=attacked,
    )


@dataclass(frozen=True)
class _Pool:
    """Hold all images that were given, members first; none if no group was given."""

    images: Tensor
    sizes: list[int]
    """Number of images of each group."""
    eps: Tensor
    """Radius of recovery of each image."""
    copies: Tensor
    """A number for each image, equal for near-copies."""
    scale: float | None
    """Where orbits end is told apart on one scale, so that the eps of no single image decides about all limits."""

    @property
    def members(self) -> int:
        """Return the number of members."""
        return self.sizes[0] if self.sizes else 0

    def split(self, points: Tensor) -> list[Group]:
        """Divide the images, as the points that the map takes, into their groups."""
        eps = self.eps.to(points.device)
        parts = zip(points.split(self.sizes), eps.split(self.sizes), self.copies.split(self.sizes), strict=True)
        return [Group(*part) for part in parts]


def _gather(groups: list[Tensor], eps: float | Tensor | None, starts: Tensor) -> _Pool:
    """Put the images of all groups together, with the radius of each."""
    if not groups:
        no_copies = torch.empty(0, dtype=torch.long)
        return _Pool(starts[:0], [], torch.empty(0), no_copies, _require_number(eps))
    images = torch.cat(groups)
    radii = resolve_eps(eps, images)
    sizes = [len(group) for group in groups]
    return _Pool(images, sizes, radii, resolve_groups(None, eps, images).cpu(), radii.quantile(0.5).item())


def _check_groups(members: Tensor | None, controls: Tensor | None) -> list[Tensor]:
    """Return the groups that were given, members first; check that they have one shape and no image in common."""
    if members is None:
        if controls is not None:
            raise AuditInputError("controls stand beside members; pass members= too, or leave both out.")
        return []
    check_batch(members, "members")
    if controls is None:
        return [members]
    check_batch(controls, "controls")
    check_same_shape(members, controls, "members and controls")
    controls = controls.to(members)
    # An image in both groups would count as a leak and as a false positive at once.
    neighbours = nearest(controls, members)
    same = (neighbours.distance == 0).nonzero().flatten().tolist()
    if same:
        raise AuditInputError(
            f"{len(same)} of {len(controls)} controls are members, the first is control {same[0]}, which equals member "
            f"{int(neighbours.index[same[0]])}: controls must not have been trained on; take them from held-out images."
        )
    return [members, controls]


def _choose_options(battery: bool | BatteryOptions, controls: Tensor | None) -> BatteryOptions | None:
    """Return the options of a battery, None if none is run; check that there is something to compare members with."""
    if battery is False:
        return None
    options = BatteryOptions() if battery is True else battery
    if not isinstance(options, BatteryOptions):
        raise InvalidTypeError(f"battery= is True, False or BatteryOptions, got {type(battery).__name__}.")
    if controls is None:
        raise AuditInputError(
            "a battery of attacks compares members with controls; pass controls=, images that were not trained on."
        )
    choose_attacks(options.attacks, has_reference=options.reference is not None)
    return options


def _require_number(eps: float | Tensor | None) -> float | None:
    """Return the scale of distances where there are no images, and raise an error if it is a vector."""
    if isinstance(eps, Tensor):
        raise AuditInputError(
            f"without members eps is one number, got {tuple(eps.shape)} numbers: there are no images that they are of."
        )
    return eps


def _name_near_copies(copies: Tensor, members: int) -> tuple[NearCopies, ...]:
    """Name the images of each group of near-copies that has more than one; the first ``members`` are the members."""
    found: dict[int, list[tuple[str, int]]] = {}
    for index, group in enumerate(copies.tolist()):
        name = ("member", index) if index < members else ("control", index - members)
        found.setdefault(group, []).append(name)
    return tuple(tuple(names) for names in found.values() if len(names) > 1)


def _describe_eps(eps: float | Tensor | None, groups: list[Tensor]) -> str:
    """Say how the radius of recovery was chosen."""
    if eps is not None:
        return "given"
    if groups:
        return "a tenth of the distance of each image to the nearest other one"
    return "5 % of the median norm of the end points"


def _name_map(module: nn.Module | Map) -> str:
    """Return the name of the class of a module, or of a callable."""
    if isinstance(module, nn.Module):
        return type(module).__name__
    return getattr(module, "__name__", "a callable")
