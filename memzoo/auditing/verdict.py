"""The finding in plain words, no stronger than the numbers allow."""

from memzoo.auditing.result import CHANCE, Findings, Judged
from memzoo.dynamics import Share


def verdict(audit: Findings) -> str:
    """One or two sentences: what came out, what controls did, and whether chance would do the same."""
    own, other = audit.members, audit.controls
    if own is None:
        found, starts = len(audit.attractors.found), len(audit.starts)
        return (
            f"{found} {'attractor was' if found == 1 else 'attractors were'} found from {starts} starts. "
            "Whether they are training images, only a comparison with the training set can tell."
        )
    out, stored = int(own.recovered.sum()), int(own.attractor.sum())
    said = f"{out} of {_training(own)} can be pulled out by iteration" if out else _nothing(own)
    if other is None:
        return f"{said}. There are no controls, so how many untrained images would come out is not known."
    said += f"; {int(other.recovered.sum())} of {_controls(other)}."
    if audit.recovered_p is not None and audit.recovered_p < CHANCE:
        return said
    if audit.attractor_p is not None and audit.attractor_p < CHANCE:
        return (
            f"{said} But {stored} of {_training(own)} are attractors, of the controls {int(other.attractor.sum())}: "
            "the network stores them, and starts close enough lead to them."
        )
    if out:
        return f"{said} Counts like these may be chance (p = {audit.recovered_p:.2g})."
    return f"{said} This is no proof that none can be: other starts may reach more."


def leaks(audit: Findings) -> bool:
    """Members come out, or are attractors, beyond what chance explains."""
    return any(p is not None and p < CHANCE for p in (audit.recovered_p, audit.attractor_p))


def summary(audit: Findings) -> str:
    """The verdict, the table of both groups, the attractors and the settings, for a terminal."""
    own, other = audit.members, audit.controls
    lines = [verdict(audit), ""]
    if own is not None:
        groups = [("training images", own), *([("controls", other)] if other is not None else [])]
        lines.append(f"{'':<18}{'recovered':<28}{'attractors':<28}{'median step':>11}")
        for name, group in groups:
            shares = (
                share_text(group.recovered_share, len(group.images)),
                share_text(group.attractor_share, len(group.images)),
            )
            step = "-" if group.median_step is None else f"{group.median_step:g}"
            lines.append(f"{name:<18}{shares[0]:<28}{shares[1]:<28}{step:>11}")
    if audit.recovered_p is not None:
        lines.append(
            f"{'chance (p)':<18}{audit.recovered_p:<28.2g}{audit.attractor_p:<28.2g}"
            f"{f'AUC of the error {audit.error_auc:.2f}':>11}"
        )
    lines += ["", str(audit.attractors), ""]
    lines.append(
        f"eps = {audit.eps:.3g} ({audit.eps_from}), {audit.steps} steps, "
        f"{len(audit.starts)} starts ({audit.starts_from})"
    )
    return "\n".join([*lines, *audit.notes])


def share_text(share: Share, total: int) -> str:
    """``17 of 20, 85 % (64 to 95 %)``, with the Wilson interval."""
    low, high = 100 * share.low, 100 * share.high
    return f"{round(share.estimate * total)} of {total}, {100 * share.estimate:.0f} % ({low:.0f} to {high:.0f} %)"


def owner_text(owner: tuple[str, int] | None, *, compared: bool) -> str:
    """Which image an attractor is."""
    if owner is None:
        return "no training image" if compared else ""
    kind, index = owner
    return f"training image {index}" if kind == "member" else f"control {index}"


def _training(group: Judged) -> str:
    return "1 training image" if len(group.images) == 1 else f"{len(group.images)} training images"


def _controls(group: Judged) -> str:
    return "1 control" if len(group.images) == 1 else f"{len(group.images)} controls"


def _nothing(group: Judged) -> str:
    return f"None of {_training(group)} came out by iteration"
