"""State the finding of an audit in plain words, no stronger than the numbers allow."""

from memzoo.auditing.result import CHANCE, Findings, Judged
from memzoo.dynamics import Share
from memzoo.dynamics.orbits import format_eps


def state_verdict(audit: Findings) -> str:
    """State in one or two sentences what came out, what the controls did, and whether chance would do the same."""
    members = audit.members
    controls = audit.controls
    if members is None:
        found = len(audit.attractors.found)
        return (
            f"{found} {'attractor was' if found == 1 else 'attractors were'} found from {len(audit.starts)} starts. "
            "Whether they are training images, only a comparison with the training set can tell."
        )
    out = members.count_images(members.ever_recovered)
    of_all = _count(members, "training image")
    said = f"{out} of {of_all} can be pulled out by iteration" if out else f"None of {of_all} came out by iteration"
    if controls is None:
        return f"{said}. There are no controls, so how many untrained images would come out is not known."
    said += f"; {controls.count_images(controls.ever_recovered)} of {_count(controls, 'control')}."
    # The verdict names the last step and attractors only where it may be chance that images come out at some step.
    if _excludes_chance(audit.ever_recovered_p):
        return said
    if _excludes_chance(audit.recovered_p):
        return (
            f"{said} But {members.count_images(members.recovered)} of {of_all} are recovered at the last step, of the "
            f"controls {controls.count_images(controls.recovered)}: orbits pass the others, and stay at these."
        )
    if _excludes_chance(audit.attractor_p):
        return (
            f"{said} But {members.count_images(members.attractor)} of {of_all} are attractors, of the controls "
            f"{controls.count_images(controls.attractor)}: the network stores them, and starts close enough lead to "
            "them."
        )
    if out:
        return f"{said} Counts like these may be chance (p = {audit.ever_recovered_p:.2g})."
    return f"{said} This is no proof that none can be: other starts may reach more."


def shows_leak(audit: Findings) -> bool:
    """Tell whether members come out at some step, at the last one, or are attractors, beyond what chance explains."""
    return any(_excludes_chance(p) for p in audit.p_values.values())


def summarize(audit: Findings) -> str:
    """Return the verdict, the table of both groups, the attractors and the settings as text for a terminal."""
    settings = (
        f"eps = {describe_eps(audit)} ({audit.eps_from}), {audit.steps} steps, "
        f"{len(audit.starts)} starts ({audit.starts_from})"
    )
    parts = [state_verdict(audit), "", *_format_table(audit), "", str(audit.attractors), "", settings, *audit.notes]
    if audit.battery is not None:
        parts += ["", str(audit.battery)]
    return "\n".join(parts)


def describe_eps(audit: Findings) -> str:
    """Describe the radii of recovery: least / median / most, of members and of controls."""
    if audit.members is None:
        return f"{audit.eps:.3g}"
    described = format_eps(audit.members.eps)
    if audit.controls is None:
        return described
    of_controls = format_eps(audit.controls.eps)
    return described if described == of_controls else f"{described} of members, {of_controls} of controls"


def format_share(share: Share, total: int) -> str:
    """Format a share and its Wilson interval, such as ``17 of 20, 85 % (64 to 95 %)``."""
    count = round(share.estimate * total)
    interval = f"{100 * share.low:.0f} to {100 * share.high:.0f} %"
    return f"{count} of {total}, {100 * share.estimate:.0f} % ({interval})"


def format_step(group: Judged) -> str:
    """Format the median step of recovery, a dash if no image came out."""
    return "-" if group.median_step is None else f"{group.median_step:g}"


def describe_owner(owner: tuple[str, int] | None, *, compared: bool) -> str:
    """Say which image an attractor is; ``compared`` tells whether there were training images to compare it with."""
    if owner is None:
        return "no training image" if compared else ""
    kind, index = owner
    return f"training image {index}" if kind == "member" else f"control {index}"


def _format_table(audit: Findings) -> list[str]:
    """Return the lines of the table of both groups; none without members."""
    if audit.members is None:
        return []
    names = ("ever recovered", "recovered (R_T)", "attractors")
    lines = [f"{'':<16}{''.join(f'{name:<32}' for name in names)}{'median step':>11}"]
    for name, group in (("training images", audit.members), ("controls", audit.controls)):
        if group is not None:
            shares = (group.ever_recovered_share, group.recovered_share, group.attractor_share)
            cells = "".join(f"{format_share(share, group.count):<32}" for share in shares)
            lines.append(f"{name:<16}{cells}{format_step(group):>11}")
    if audit.p_values:
        cells = "".join(f"{p_value:<32.2g}" for p_value in audit.p_values.values())
        lines.append(f"{'chance (p)':<16}{cells}AUC of the error {audit.error_auc:.2f}")
        lines.append("p: Fisher's exact test, one-sided, adjusted for the three tests by Holm's method")
    return lines


def _excludes_chance(p_value: float | None) -> bool:
    """Tell whether a difference between members and controls was tested and is significant."""
    return p_value is not None and p_value < CHANCE


def _count(group: Judged, name: str) -> str:
    """Return the number of images of a group with its unit, such as ``20 training images``."""
    counted = f"{group.count} {name}{'s' * (group.count != 1)}"
    return counted if group.count == len(group.images) else f"{counted} ({len(group.images)} with near-copies)"
