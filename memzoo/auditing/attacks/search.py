"""Attack by searched starts: find attractors that few starts lead to, with queries alone and no training data.

Most orbits end where others have ended before. An orbit that has come near a known attractor is therefore given up, and
its queries are spent on new starts of several scales (in diffusion models, a search of starts brings back memories that
sampling no longer shows: Finding DoRI, 2025).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map
from memzoo.auditing.attacks.iteration import judge_ends
from memzoo.auditing.attacks.setting import Outcome, Setting
from memzoo.dynamics import iterate

SCALES = (3.0, 10.0, 30.0)
"""Deviations of the starts, in units of that of the answers of the network to noise."""
ROUND = 120
"""Starts that are followed at one time: the next ones profit from the attractors that they find."""
CAPTURED = 0.25
"""An orbit is given up within this share of the usual distance between known attractors."""
RESTS = 1e-4
"""Relative step at which an orbit has come to rest, before its end is settled."""
SETTLING = 0.1
"""Share of the queries that is kept for settling the ends."""


def attack_by_search(setting: Setting) -> Outcome:
    """Score each image by its distance from the nearest attractor of a search with the queries of iteration."""
    queries = len(setting.starts) * setting.steps
    ends = search_attractors(setting.f, setting.images[:1], queries, steps=setting.steps, seed=setting.seed)
    return judge_ends(setting, ends)


def search_attractors(
    f: Map, like: Float[Tensor, "1 *dim"], queries: int, *, steps: int = 200, seed: int = 0
) -> Float[Tensor, "found *dim"]:
    """Search the points in which orbits come to rest.

    Args:
        f: Self-map.
        like: A point, of which the shape, the type and the device are taken and no value.
        queries: Most points at which f is evaluated, at least twice :data:`ROUND`.
        steps: Most iterations of a start.
        seed: Seed of the starts.

    Returns:
        The ends of orbits, no two of them near each other; at least one.
    """
    reserve = int(SETTLING * queries)
    search = _Search(f, like, queries - reserve, steps, seed)
    while search.queries >= ROUND:
        search.follow_round()
    ends = search.known if len(search.known) else search.last
    # iterate evaluates the map once more than it has steps.
    settling = max(0, (reserve + search.queries) // len(ends) - 1)
    return iterate(f, ends.reshape(-1, *like.shape[1:]), min(steps, settling)).points


class _Search:
    """Follow round after round of starts, and keep the ends that are new."""

    def __init__(self, f: Map, like: Tensor, queries: int, steps: int, seed: int) -> None:
        self._f = f
        self._like = like
        self._steps = steps
        self._generator = torch.Generator().manual_seed(seed)
        self.queries = queries
        """Evaluations that are left."""
        self.known: Tensor = like.new_empty(0, like[0].numel())
        """Ends of orbits, flat."""
        self.last: Tensor = self._draw(ROUND)
        """Where the orbits of the last round are."""
        answers = self._evaluate(self.last)
        deviation = answers[answers.isfinite().all(1)].std(correction=0)
        self._unit = deviation.item() if deviation > 0 else 1.0
        self._captured = 0.0

    def follow_round(self) -> None:
        """Follow starts of all scales until each rests, is captured by a known end, or has taken all its steps."""
        scales = self.known.new_tensor(SCALES).repeat_interleave(ROUND // len(SCALES))
        points = self._unit * scales[:, None] * self._draw(ROUND)
        for _ in range(self._steps):
            if not len(points) or self.queries < len(points):
                break
            answers = self._evaluate(points)
            length = (answers - points).norm(dim=1)
            size = answers.norm(dim=1)
            points = self.last = answers
            finite = size.isfinite()
            rests = finite & (length <= RESTS * size)
            captured = self._find_captured(answers)
            self._remember(answers[rests & ~captured])
            points = answers[finite & ~rests & ~captured]
        self._measure_spacing()

    def _find_captured(self, points: Tensor) -> Tensor:
        """Tell which points are near a known end."""
        if not len(self.known):
            return torch.zeros(len(points), dtype=torch.bool, device=points.device)
        return torch.cdist(points, self.known).amin(1) <= self._captured

    def _remember(self, ends: Tensor) -> None:
        """Keep the ends that are not near a known one."""
        for end in ends:
            # Two ends of one attractor differ by what is left of their way.
            room = max(self._captured, 100 * RESTS * end.norm().item())
            if not len(self.known) or torch.cdist(end[None], self.known).min() > room:
                self.known = torch.cat([self.known, end[None]])

    def _measure_spacing(self) -> None:
        """Derive the radius of capture from the usual distance between the known ends."""
        if len(self.known) > 1:
            gaps = torch.cdist(self.known, self.known).fill_diagonal_(torch.inf)
            self._captured = CAPTURED * gaps.amin(1).median().item()

    def _draw(self, count: int) -> Tensor:
        """Draw standard normal points, equal on all devices."""
        return torch.randn(count, self.known.shape[1], generator=self._generator, dtype=torch.float64).to(self.known)

    def _evaluate(self, points: Tensor) -> Tensor:
        """Apply the map to flat points, and count the queries."""
        self.queries -= len(points)
        return self._f(points.reshape(-1, *self._like.shape[1:])).flatten(1)
