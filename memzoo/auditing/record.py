"""The audit as JSON: every number of the report, with what was measured how."""

import json
import math
from typing import Any

import torch

from memzoo._version import __version__
from memzoo.auditing.result import Findings, Judged
from memzoo.auditing.verdict import verdict
from memzoo.dynamics import Attractor

FORMAT = 1
"""Raised when a key changes its meaning or goes."""
COLUMNS = ("recovered_at", "start", "distance", "attractor", "offset", "residual", "radius", "radius_error", "error")


def to_json(audit: Findings) -> str:
    """Indented, in a fixed order; what is not finite is null."""
    return json.dumps(_finite(record(audit)), indent=2, allow_nan=False) + "\n"


def record(audit: Findings) -> dict[str, Any]:
    """The same as plain Python."""
    names = picture_names(audit)
    groups = {"members": audit.members, "controls": audit.controls}
    return {
        "format": FORMAT,
        "module": audit.title,
        "verdict": verdict(audit),
        "notes": list(audit.notes),
        "summary": {
            **{name: None if group is None else _summary(group) for name, group in groups.items()},
            "recovered_p": audit.recovered_p,
            "attractor_p": audit.attractor_p,
            "error_auc": audit.error_auc,
        },
        **{name: None if group is None else _rows(group) for name, group in groups.items()},
        "attractors": {
            "found": [
                _attractor(one, owner, files)
                for one, owner, files in zip(audit.attractors.found, audit.owner, names, strict=True)
            ],
            "resting": audit.attractors.resting,
            "divergent": audit.attractors.divergent,
            "moving": audit.attractors.moving,
        },
        "settings": {
            "eps": audit.eps,
            "eps_from": audit.eps_from,
            "steps": audit.steps,
            "seed": audit.seed,
            "starts": len(audit.starts),
            "starts_from": audit.starts_from,
            "starts_left_out": audit.left_out,
            "shape": list(audit.starts.shape[1:]),
        },
        "versions": {"memzoo": __version__, "torch": str(torch.__version__)},
    }


def picture_names(audit: Findings) -> list[list[str]]:
    """File of each point of each attractor, within the report's folder."""
    digits = max(3, len(str(len(audit.attractors.found))))
    return [
        [f"attractors/{i:0{digits}}{f'-{phase}' if one.period > 1 else ''}.png" for phase in range(one.period)]
        for i, one in enumerate(audit.attractors.found)
    ]


def _summary(group: Judged) -> dict[str, Any]:
    return {
        "count": len(group.images),
        "recovered": int(group.recovered.sum()),
        "recovered_share": group.recovered_share._asdict(),
        "attractors": int(group.attractor.sum()),
        "attractor_share": group.attractor_share._asdict(),
        "median_step": group.median_step,
    }


def _rows(group: Judged) -> list[dict[str, Any]]:
    columns = {name: getattr(group, name).tolist() for name in COLUMNS}
    return [
        {"index": i, **dict(zip(columns, values, strict=True))}
        for i, values in enumerate(zip(*columns.values(), strict=True))
    ]


def _attractor(one: Attractor, owner: tuple[str, int] | None, files: list[str]) -> dict[str, Any]:
    kind, index = owner if owner is not None else (None, None)
    return {
        "starts": one.count,
        "period": one.period,
        "radius": one.radius,
        "radius_error": one.radius_error,
        "image": None if kind is None else {"group": f"{kind}s", "index": index},
        "files": files,
    }


def _finite(value: Any) -> Any:
    """NaN and infinity, which JSON does not have, become null."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
