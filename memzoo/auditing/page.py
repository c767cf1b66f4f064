"""Render the report as one HTML page that needs nothing else: styles and pictures are inside, there are no scripts.

The text of the page is in ``page.html.jinja2``.
"""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from memzoo._templates import read_templates
from memzoo._version import __version__
from memzoo.auditing.battery_text import format_cells
from memzoo.auditing.curve import render_recovery
from memzoo.auditing.pictures import encode_png, is_strip
from memzoo.auditing.result import Findings, Judged
from memzoo.auditing.verdict import describe_eps, describe_owner, format_share, format_step, shows_leak, state_verdict

SHOWN = 24
"""Largest number of pictures of one kind; the table at the end has every row."""
TEMPLATES = read_templates(Path(__file__).parent)


@dataclass(frozen=True)
class ShownGroup:
    """Name a group of images as the page does, and prepare its rows."""

    singular: str
    plural: str
    images: Judged

    @property
    def recovered_indices(self) -> list[int]:
        """Return the indices of the images that came out, the fastest first."""
        # A stable sort keeps the order of images that came out at the same step.
        indices = self.images.ever_recovered.nonzero().flatten()
        return indices[self.images.recovered_at[indices].argsort(stable=True)].tolist()

    @property
    def rows(self) -> list[list[str]]:
        """Return the cells of each image."""
        return [self._format_cells(index) for index in range(len(self.images.images))]

    def _format_cells(self, index: int) -> list[str]:
        images = self.images
        recovered = bool(images.ever_recovered[index])
        radius = images.radius[index]
        return [
            str(index),
            str(int(images.recovered_at[index])) if recovered else "never",
            str(int(images.start[index])) if recovered else "-",
            f"{images.distance[index]:.3g}" if recovered else "-",
            "yes" if images.recovered[index] else "no",
            f"{images.eps[index]:.3g}",
            "yes" if images.attractor[index] else "no",
            f"{images.offset[index]:.3g}",
            f"{radius:.3f}" if radius.isfinite() else "-",
            f"{images.error[index]:.3g}",
        ]


def render_page(audit: Findings) -> str:
    """Render the HTML of a report."""
    named = (("training image", audit.members), ("control", audit.controls))
    groups = [ShownGroup(name, f"{name}s", images) for name, images in named if images is not None]
    shape = audit.starts.shape[1:]

    def encode(point: Tensor) -> str:
        """Return a point as the content of a ``data:`` address."""
        return b64encode(encode_png(point.reshape(shape), *audit.value_range)).decode()

    return TEMPLATES.get_template("page.html.jinja2").render(
        audit=audit,
        verdict=state_verdict(audit),
        leak=shows_leak(audit),
        groups=groups,
        counts=_list_counts(audit, groups),
        curve=_draw_curve(audit, groups),
        format_attack=format_cells,
        settings=_list_settings(audit),
        shown=SHOWN,
        strip=is_strip(shape),
        encode=encode,
        describe_owner=describe_owner,
    )


def _list_counts(audit: Findings, groups: list[ShownGroup]) -> dict[str, list[str]]:
    """Return the table of counts: one cell a group, and the p-value of the difference where there are controls."""
    judged = [group.images for group in groups]
    rows = {
        f"came out by step {audit.steps} (ever recovered)": [
            format_share(one.ever_recovered_share, one.count) for one in judged
        ],
        f"recovered at step {audit.steps} (R_T)": [format_share(one.recovered_share, one.count) for one in judged],
        "certified attractors": [format_share(one.attractor_share, one.count) for one in judged],
        "median step": [format_step(one) for one in judged],
        "median reconstruction error": [f"{one.image_error.median():.3g}" for one in judged],
    }
    # One p-value a row, in the order of TESTED; medians are not tested.
    if audit.controls is not None:
        p_values = (*audit.p_values.values(), None, None)
        for cells, p_value in zip(rows.values(), p_values, strict=True):
            cells.append("" if p_value is None else f"{p_value:.2g}")
    return rows


def _draw_curve(audit: Findings, groups: list[ShownGroup]) -> str:
    """Return the curve of recovery, nothing if no image came out."""
    if not any(group.recovered_indices for group in groups):
        return ""
    return render_recovery({group.plural: group.images.first_step for group in groups}, audit.steps)


def _list_settings(audit: Findings) -> dict[str, list[str]]:
    """Return the table of what was measured."""
    low, high = audit.value_range
    shape = " x ".join(map(str, audit.starts.shape[1:]))
    starts = f"{len(audit.starts)} ({audit.starts_from}), seed {audit.seed}; {audit.left_out} left out"
    return {
        "eps, distance in L2": [f"{describe_eps(audit)} (least / median / most); {audit.eps_from}"],
        "starts": [starts],
        "iterations": [f"{audit.steps}; five times as many for attractors"],
        "points": [f"{shape}; pictures show {low:.3g} as black and {high:.3g} as white"],
        "versions": [f"memzoo {__version__}, torch {torch.__version__}"],
    }
