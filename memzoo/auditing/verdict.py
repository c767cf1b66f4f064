"""State the finding of an audit in plain words, no stronger than the numbers allow."""

from memzoo.auditing.result import CHANCE, Findings, Judged
from memzoo.dynamics import Share


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
    out = int(members.recovered.sum())
    of_all = _count(members, "training image")
    said = f"{out} of {of_all} can be pulled out by iteration" if out else f"None of {of_all} came out by iteration"
    if controls is None:
        return f"{said}. There are no controls, so how many untrained images would come out is not known."
    said += f"; {int(controls.recovered.sum())} of {_count(controls, 'control')}."
    # The verdict names attractors only where recovery itself may be chance.
    if _excludes_chance(audit.recovered_p):
        return said
    if _excludes_chance(audit.attractor_p):
        return (
            f"{said} But {int(members.attractor.sum())} of {of_all} are attractors, of the controls "
            f"{int(controls.attractor.sum())}: the network stores them, and starts close enough lead to them."
        )
    if out:
        return f"{said} Counts like these may be chance (p = {audit.recovered_p:.2g})."
    return f"{said} This is no proof that none can be: other starts may reach more."


def shows_leak(audit: Findings) -> bool:
    """Tell whether members come out, or are attractors, beyond what chance explains."""
    return _excludes_chance(audit.recovered_p) or _excludes_chance(audit.attractor_p)


def summarize(audit: Findings) -> str:
    """Return the verdict, the table of both groups, the attractors and the settings as text for a terminal."""
    settings = (
        f"eps = {audit.eps:.3g} ({audit.eps_from}), {audit.steps} steps, "
        f"{len(audit.starts)} starts ({audit.starts_from})"
    )
    parts = [state_verdict(audit), "", *_format_table(audit), "", str(audit.attractors), "", settings, *audit.notes]
    return "\n".join(parts)


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
    lines = [f"{'':<18}{'recovered':<28}{'attractors':<28}{'median step':>11}"]
    for name, group in (("training images", audit.members), ("controls", audit.controls)):
        if group is not None:
            recovered = format_share(group.recovered_share, len(group.images))
            attractors = format_share(group.attractor_share, len(group.images))
            lines.append(f"{name:<18}{recovered:<28}{attractors:<28}{format_step(group):>11}")
    if audit.recovered_p is not None:
        auc = f"AUC of the error {audit.error_auc:.2f}"
        lines.append(f"{'chance (p)':<18}{audit.recovered_p:<28.2g}{audit.attractor_p:<28.2g}{auc:>11}")
    return lines


def _excludes_chance(p_value: float | None) -> bool:
    """Tell whether a difference between members and controls was tested and is significant."""
    return p_value is not None and p_value < CHANCE


def _count(group: Judged, name: str) -> str:
    """Return the number of images of a group with its unit, such as ``20 training images``."""
    return f"{len(group.images)} {name}{'s' * (len(group.images) != 1)}"
