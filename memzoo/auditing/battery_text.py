"""State the verdict of a battery in plain words, and print its table."""

from typing import Any

from memzoo.auditing.battery_result import AttackResult, BatteryFindings

NAMED = 5
"""Members that are named in a sentence."""


def state_battery(battery: BatteryFindings) -> str:
    """State whether the attacks tell members from controls, by which one, and which members are named by it."""
    count = sum(attack.roc is not None for attack in battery.attacks)
    by = f"p = {battery.p_value:.2g} over {count} attack{'s' * (count != 1)}"
    strongest = battery.strongest
    if battery.leaks and strongest is not None:
        said = f"The network treats its training images differently ({by}). {_describe_strongest(strongest)}"
        said += _describe_extracted(battery)
    else:
        said = f"No evidence that the network treats its training images differently ({by})."
    # Where many stand out, the attacks above have said so.
    if battery.outliers and (not battery.leaks or len(battery.outliers) <= NAMED):
        verb = "stand" if len(battery.outliers) > 1 else "stands"
        link = "Also" if battery.leaks else "But"
        said += f" {link} {_list_members(list(battery.outliers))} {verb} out from all controls."
    if battery.differ:
        said += (
            " Members and controls differ before the network is asked: a guess from the images alone reaches an AUC of "
            f"{battery.samples.blind_auc:.2f}."
        )
    return said if battery.leaks else f"{said} This is no proof: another attack may show more."


def summarize_battery(battery: BatteryFindings) -> str:
    """Return verdict, table, bound on epsilon and notes as text for a terminal."""
    head = f"{'attack':<22}{'AUC':<26}{'TPR at 1 % FPR':<32}{'TPR at .1 % FPR':<32}{'recovered':<22}{'p':<9}seconds"
    lines = [state_battery(battery), "", head]
    lines += [_format_row(attack) for attack in battery.attacks]
    lines.append(
        f"AUC: Newcombe's interval at 95 %; TPR: that of Clopper and Pearson; p: adjusted for all attacks together, by "
        f"{battery.permutations} permutations of membership, at least {battery.floor:.1g}"
    )
    lines.append(f"recovered: of {battery.members} members / of {battery.controls} controls")
    samples = battery.samples
    lines.append(
        f"without the network: members and controls differ with p = {samples.p_value:.2g}, a guess from the images "
        f"alone reaches an AUC of {samples.blind_auc:.2f}"
    )
    if battery.epsilon is not None:
        lines.append(f"{battery.epsilon}; attack: {battery.epsilon_from}")
    return "\n".join([*lines, *battery.notes])


def record_battery(battery: BatteryFindings) -> dict[str, Any]:
    """Return every number as plain Python values."""
    epsilon = None
    if battery.epsilon is not None:
        epsilon = {**vars(battery.epsilon), "attack": battery.epsilon_from}
        epsilon["assumptions"] = list(battery.epsilon.assumptions)
    return {
        "verdict": state_battery(battery),
        "p_value": battery.p_value,
        "permutations": battery.permutations,
        "smallest_possible_p": battery.floor,
        "members": battery.members,
        "controls": battery.controls,
        "samples": battery.samples._asdict(),
        "attacks": [_record_attack(attack) for attack in battery.attacks],
        "outliers": {str(row): list(names) for row, names in battery.outliers.items()},
        "extracted": {str(row): list(names) for row, names in battery.extracted.items()},
        "epsilon": epsilon,
        "notes": list(battery.notes),
        "seconds": battery.seconds,
    }


def format_cells(attack: AttackResult) -> list[str]:
    """Return the cells of one attack: area, both rates, recovered, p-value, seconds."""
    if attack.roc is None:
        return [f"not run: {attack.reason}", "", "", "", "", f"{attack.seconds:.1f}"]
    auc = attack.roc.auc
    recovered = "-" if attack.recovered is None else f"{attack.recovered[0]} / {attack.recovered[1]}"
    return [
        f"{auc.estimate:.3f} ({auc.low:.3f} to {auc.high:.3f})",
        *(str(point) for point in attack.roc.points),
        recovered,
        f"{attack.p_value:.2g}",
        f"{attack.seconds:.1f}",
    ]


def _format_row(attack: AttackResult) -> str:
    if attack.roc is None:
        return f"{attack.name:<22}not run: {attack.reason}"
    widths = (26, 32, 32, 22, 9, 0)
    cells = format_cells(attack)
    return f"{attack.name:<22}" + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))


def _describe_strongest(attack: AttackResult) -> str:
    """Name the attack with the smallest p-value, and its numbers."""
    assert attack.roc is not None
    auc = attack.roc.auc
    said = f"Strongest attack: {attack.name}, AUC {auc.estimate:.3g} ({auc.low:.3g} to {auc.high:.3g})"
    point = attack.roc.points[0]
    if point.tpr is not None:
        said += f", TPR {point} at {100 * point.fpr:g} % FPR"
    return f"{said}; it needs {' and '.join(attack.needs)}."


def _describe_extracted(battery: BatteryFindings) -> str:
    """Name the attack that pulls out the most members beyond the controls."""
    pulled = [attack for attack in battery.attacks if attack.recovered is not None]
    if not pulled:
        return ""
    best = max(pulled, key=_count_excess)
    assert best.recovered is not None
    of_members, of_controls = best.recovered
    if _count_excess(best) <= 0:
        return ""
    return (
        f" Pulled out by {best.name}: {of_members} of {battery.members} members, {of_controls} of {battery.controls} "
        "controls."
    )


def _count_excess(attack: AttackResult) -> int:
    """Return by how many more members than controls come out."""
    return -1 if attack.recovered is None else attack.recovered[0] - attack.recovered[1]


def _list_members(rows: list[int]) -> str:
    """Name some members."""
    named = ", ".join(f"member {row}" for row in rows[:NAMED])
    return f"{named} and {len(rows) - NAMED} more" if len(rows) > NAMED else named


def _record_attack(attack: AttackResult) -> dict[str, Any]:
    """Return the numbers of one attack."""
    roc = attack.roc
    columns = {
        "members": attack.members,
        "controls": attack.controls,
        "members_recovered": attack.members_recovered,
        "controls_recovered": attack.controls_recovered,
    }
    return {
        "name": attack.name,
        "needs": list(attack.needs),
        "auc": None if roc is None else roc.auc._asdict(),
        "tpr": [] if roc is None else [_record_point(roc, index) for index in range(len(roc.points))],
        "recovered": None if attack.recovered is None else list(attack.recovered),
        "p_value": attack.p_value,
        "outliers": list(attack.outliers),
        "seconds": attack.seconds,
        "reason": attack.reason or None,
        "scores": {name: None if values is None else values.tolist() for name, values in columns.items()},
    }


def _record_point(roc: Any, index: int) -> dict[str, Any]:
    """Return the share of members at one rate of false positives."""
    point = roc.points[index]
    return {
        "fpr": point.fpr,
        "share": None if point.tpr is None else point.tpr._asdict(),
        "said": str(point),
        "controls_needed": point.needed,
    }
