"""Write an audit as JSON: every number of the report, and how each was measured."""

import json
import math
from typing import Any

import torch

from memzoo._version import __version__
from memzoo.auditing.result import Findings, Judged
from memzoo.auditing.verdict import state_verdict
from memzoo.dynamics import Attractor

FORMAT = 3
"""Version of the keys; it is raised when a key changes its meaning or is removed."""
COLUMNS = (
    "eps",
    "copy_of",
    "recovered",
    "ever_recovered",
    "recovered_at",
    "start",
    "distance",
    "attractor",
    "offset",
    "residual",
    "radius",
    "radius_error",
    "error",
)
"""Fields of :class:`memzoo.auditing.Judged` that are written for each image."""


def to_json(audit: Findings) -> str:
    """Return indented JSON with a fixed order of keys; numbers that are not finite become null."""
    record = _replace_non_finite(build_record(audit))
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def build_record(audit: Findings) -> dict[str, Any]:
    """Return the same content as plain Python values."""
    groups = {"members": audit.members, "controls": audit.controls}
    summaries = {name: None if group is None else _summarize_group(group) for name, group in groups.items()}
    rows = {name: None if group is None else _list_rows(group) for name, group in groups.items()}
    return {
        "format": FORMAT,
        "module": audit.title,
        "verdict": state_verdict(audit),
        "notes": list(audit.notes),
        "summary": {
            **summaries,
            "recovered_p": audit.recovered_p,
            "ever_recovered_p": audit.ever_recovered_p,
            "attractor_p": audit.attractor_p,
            "p_values": "Fisher's exact test, one-sided, adjusted for the three tests by Holm's method",
            "error_auc": audit.error_auc,
        },
        **rows,
        "battery": None if audit.battery is None else audit.battery.record,
        "near_copies": [[{"group": f"{kind}s", "index": i} for kind, i in names] for names in audit.near_copies],
        "attractors": _describe_attractors(audit),
        "settings": _describe_settings(audit),
        "versions": {"memzoo": __version__, "torch": str(torch.__version__)},
    }


def name_pictures(audit: Findings) -> list[list[str]]:
    """Return the file of each point of each attractor, relative to the folder of the report."""
    found = audit.attractors.found
    # Numbers of equal length, so that the files are listed in the order of the attractors.
    digits = max(3, len(str(len(found))))
    names = []
    for number, attractor in enumerate(found):
        stem = f"attractors/{number:0{digits}}"
        if attractor.period == 1:
            names.append([f"{stem}.png"])
        else:
            names.append([f"{stem}-{phase}.png" for phase in range(attractor.period)])
    return names


def _summarize_group(group: Judged) -> dict[str, Any]:
    """Return the counts and shares of one group."""
    return {
        "rows": len(group.images),
        "count": group.count,
        "recovered": group.count_images(group.recovered),
        "recovered_share": group.recovered_share._asdict(),
        "ever_recovered": group.count_images(group.ever_recovered),
        "ever_recovered_share": group.ever_recovered_share._asdict(),
        "attractors": group.count_images(group.attractor),
        "attractor_share": group.attractor_share._asdict(),
        "median_step": group.median_step,
    }


def _list_rows(group: Judged) -> list[dict[str, Any]]:
    """Return the measurements of each image of one group."""
    # Each column becomes a list once; a row takes one value of each.
    columns = [getattr(group, name).tolist() for name in COLUMNS]
    rows = []
    for index, values in enumerate(zip(*columns, strict=True)):
        rows.append({"index": index, **dict(zip(COLUMNS, values, strict=True))})
    return rows


def _describe_attractors(audit: Findings) -> dict[str, Any]:
    """Return where the starts end: each attractor, and how many starts end in none."""
    limits = audit.attractors
    each = zip(limits.found, audit.owner, name_pictures(audit), strict=True)
    return {
        "found": [_describe_attractor(attractor, owner, files) for attractor, owner, files in each],
        "resting": limits.resting,
        "divergent": limits.divergent,
        "moving": limits.moving,
    }


def _describe_attractor(attractor: Attractor, owner: tuple[str, int] | None, files: list[str]) -> dict[str, Any]:
    """Return the numbers of one attractor, the image that it is, and its pictures."""
    return {
        "starts": attractor.count,
        "period": attractor.period,
        "radius": attractor.radius,
        "radius_error": attractor.radius_error,
        "image": None if owner is None else {"group": f"{owner[0]}s", "index": owner[1]},
        "files": files,
    }


def _describe_settings(audit: Findings) -> dict[str, Any]:
    """Return what the audit was run with."""
    return {
        "eps": audit.eps,
        "eps_of_members": _summarize_eps(audit.members),
        "eps_of_controls": _summarize_eps(audit.controls),
        "eps_from": audit.eps_from,
        "steps": audit.steps,
        "seed": audit.seed,
        "starts": len(audit.starts),
        "starts_from": audit.starts_from,
        "starts_left_out": audit.left_out,
        "shape": list(audit.starts.shape[1:]),
    }


def _summarize_eps(group: Judged | None) -> dict[str, float] | None:
    """Return the least, the median and the largest radius of a group."""
    if group is None:
        return None
    least, middle, most = group.eps.min(), group.eps.quantile(0.5), group.eps.max()
    return {"least": least.item(), "median": middle.item(), "most": most.item()}


def _replace_non_finite(value: Any) -> Any:
    """Return ``value`` with null in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _replace_non_finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
