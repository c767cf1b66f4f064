"""The course of recovery as a drawing inside the page."""

import math

from jaxtyping import Int
from torch import Tensor

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 200, 44, 16, 10, 34


def recovery_svg(groups: list[tuple[str, str, str, Int[Tensor, " n"]]], steps: int) -> str:
    """Share recovered by step t, against t on a logarithmic axis, as SVG.

    Args:
        groups: Name, colour, dash pattern of the line (empty for none), and ``recovered_at`` of each group.
        steps: Last step.
    """
    span = math.log(1 + max(steps, 1))

    def x(t: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(1 + t) / span

    def y(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    marks = [t for t in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if t <= steps]
    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
        for share in (0, 0.5, 1)
    ]
    parts += [f'<text x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{t}</text>' for t in marks]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>')
    for name, colour, dash, at in groups:
        style = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(
            f'<polyline points="{_stairs(at, steps, x, y)}" fill="none" stroke="{colour}" stroke-width="2.5"{style}>'
            f"<title>{name}</title></polyline>"
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'


def _stairs(at: Tensor, steps: int, x, y) -> str:
    """A step up at each arrival."""
    corners, so_far = [(x(0), y(0))], 0
    for t in sorted(set(at[at >= 0].tolist())):
        corners.append((x(t), corners[-1][1]))
        so_far += int((at == t).sum())
        corners.append((x(t), y(so_far / len(at))))
    corners.append((x(steps), corners[-1][1]))
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in corners)
