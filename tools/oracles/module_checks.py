"""Measure modules of other people by every entry of memzoo, and compare what comes with differences and plain loops.

Each number is either right or refused by a clear error, and the module is as before, bit for bit.
"""

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import memzoo
from memzoo.dynamics import Census, Certificates, RecoveryCurve, Spectrum, census, certify, recovery_curve, spectrum
from tools.oracles.attractor_oracle import measure_radius
from tools.oracles.foreign_modules import MODULES, ForeignModule
from tools.oracles.formulas import Formula, Points
from tools.oracles.outcomes import Case, Outcome, Truth, Word, attempt
from tools.oracles.packaged_modules import PACKAGED, list_missing_packages
from tools.oracles.snapshots import list_changes, take_snapshot

EXAMPLES = 4
STARTS = 6
STEPS = 8
"""Iterations of a recovery curve: few, since rounding grows along an orbit that expands."""
STEPS_OF_DIFFERENCES = {torch.float64: 1e-6, torch.float32: 3e-3, torch.float16: 0.1, torch.bfloat16: 0.2}
"""Step of differences relative to the length of a point, for each type in which a module can be evaluated."""
ROOM = {torch.float64: 1e-5, torch.float32: 0.1, torch.float16: 0.5, torch.bfloat16: 0.5}
"""Relative error of these differences."""


def list_module_cases(seed: int, count: int) -> Iterator[Case]:
    """List all modules times all measures; the packages that are missing are named."""
    missing = list_missing_packages()
    for name in sorted(missing):
        print(f"left out: {name} is not installed", file=sys.stderr)
    table = {**MODULES, **{key: make for key, make in PACKAGED.items() if key.partition(":")[0] not in missing}}
    for name, make in list(table.items())[:count]:
        yield f"module {seed}/{name}.", partial(_measure_all, name, make, seed)


def _measure_all(name: str, make: Callable[[], ForeignModule], seed: int) -> list[Outcome]:
    return [measure_module(name, make, seed, measure) for measure in MEASURES]


def build_module(make: Callable[[], ForeignModule], seed: int) -> ForeignModule:
    """Build a module from a random state of its own."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        foreign = make()
    if not foreign.is_map_in_eval:
        foreign.module.eval()
    return foreign


def measure_module(name: str, make: Callable[[], ForeignModule], seed: int, measure: str) -> Outcome:
    """Measure a fresh copy of a module in one way, and compare the module with what it was."""
    foreign = build_module(make, seed)
    examples = foreign.draw_points(EXAMPLES, seed)
    starts = foreign.draw_points(STARTS, seed + 1)
    f = foreign.f
    before = take_snapshot(f, foreign.module)
    found, word, text = attempt(partial(MEASURES[measure].call, f, examples, starts))
    changes = list_changes(before, take_snapshot(f, foreign.module))
    if changes:
        return Outcome(name, measure, "changed", f"{len(changes)}: {', '.join(changes[:3])}; {word or ''} {text}")
    # An audit measures a module in eval mode, whatever its mode is; it cannot see one inside of a function.
    is_map = foreign.is_map or (foreign.is_map_in_eval and foreign.call is None and measure == "audit")
    if word is None and not is_map:
        return Outcome(name, measure, "wrong", f"measured, although there is no self-map: {_shorten(found)}")
    if word is None:
        truth = build_module(make, seed)
        if is_map:
            truth.module.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            word, text = MEASURES[measure].judge(found, Reference(truth), examples, starts)
    return Outcome(name, measure, word, text)


def _shorten(found: Any) -> str:
    return " ".join(str(found).split())[:100]


class Reference:
    """Evaluate a module without memzoo: in float64 where its copy can be converted, else as it is."""

    def __init__(self, foreign: ForeignModule) -> None:
        self.foreign = foreign
        self.dtype = foreign.dtype
        self.f: Callable[[Tensor], Tensor] = foreign.f
        wide = self._convert()
        if wide is not None:
            self.f = wide
            self.dtype = torch.float64

    def _convert(self) -> Callable[[Tensor], Tensor] | None:
        """Convert a copy of the module to float64, if that computes the same map."""
        x = self.foreign.draw_points(2, 7)
        try:
            module = copy.deepcopy(self.foreign.module).double()
            call = self.foreign.call
            wide = module if call is None else partial(call, module)
            with torch.no_grad():
                gap = (wide(x.double()) - self.foreign.f(x).double()).norm()
                close = gap <= 50 * torch.finfo(self.foreign.dtype).eps * (1 + self.foreign.f(x).double().norm())
        except Exception:  # a module may refuse float64 in any way
            return None
        return wide if bool(close) else None

    @property
    def formula(self) -> Formula:
        """Return the map on flat points of numpy."""

        def evaluate(x: Points) -> Points:
            rows = torch.from_numpy(np.array(x)).reshape(len(x), *self.foreign.shape).to(self.dtype)
            with torch.no_grad():
                parts = [self.f(part.clone()) for part in rows.split(256)]
            return torch.cat(parts).double().flatten(1).numpy()

        return evaluate

    def measure_truth(self, point: Tensor) -> Truth | None:
        """Measure the radius at a point by differences; None where they cannot tell."""
        step = STEPS_OF_DIFFERENCES[self.dtype]
        flat = point.detach().double().flatten().numpy()
        radius, error = measure_radius(self.formula, flat, step, kink=ROOM[self.dtype])
        room = error + ROOM[self.dtype] * (1 + radius)
        if not room < 1 + radius:
            return None
        return Truth(radius, room)

    def rests(self, point: Tensor) -> bool:
        """Tell whether the output stays the same, to the bit, under steps of up to a thousandth of the point.

        A derivative of 0 then says nothing about distances that matter.
        """
        flat = point.detach().double().flatten().numpy()
        direction = np.random.default_rng(0).standard_normal(flat.size)
        direction *= np.linalg.norm(flat) / np.linalg.norm(direction)
        moves = np.array([0, 1e-7, -1e-7, 1e-6, -1e-6, 1e-3, -1e-3])
        outputs = self.formula(flat + moves[:, None] * direction)
        return bool((outputs == outputs[0]).all())

    def follow(self, starts: Tensor, steps: int) -> list[Tensor]:
        """Iterate in a plain loop, in the type of the starts."""
        points = [starts]
        with torch.no_grad():
            for _ in range(steps):
                points.append(self.foreign.f(points[-1].clone()).detach())
        return points


# How each result is judged


def _judge_spectrum(found: Spectrum, reference: Reference, examples: Tensor, _: Tensor) -> tuple[Word, str]:
    words = [_judge_row(found, reference, row, examples[row]) for row in range(len(found.radius))]
    return _take_worst(words)


def _judge_row(found: Spectrum, reference: Reference, row: int, point: Tensor) -> tuple[Word, str]:
    if found.verdict[row] != "undecided" and reference.rests(point):
        return "wrong", f"{found.verdict[row]}, although no output moves under a step of a thousandth"
    truth = reference.measure_truth(point)
    return ("unsure", "differences cannot tell") if truth is None else truth.judge_row(found, row)


def _judge_certificates(found: Certificates, reference: Reference, *_: Tensor) -> tuple[Word, str]:
    """Compare the radius at each fixed point with differences there."""
    words: list[tuple[Word, str]] = []
    for row in found.fixed.nonzero().flatten().tolist():
        words.append(_judge_radius(found.radius[row], found.radius_error[row], reference, found.points[row]))
        if found.attractor[row] and _moves(reference, found.points[row]):
            words.append(("wrong", f"row {row} is certified, and its limit is no fixed point"))
    return _take_worst(words or [("right", "")])


def _judge_radius(radius: Any, error: Any, reference: Reference, point: Tensor) -> tuple[Word, str]:
    truth = reference.measure_truth(point)
    if truth is None or not float(error) < np.inf:
        return "unsure", ""
    spread = float(error)
    below = float(radius) + spread < 1
    above = float(radius) - spread > 1
    verdict = "contracting" if below else "expanding" if above else "undecided"
    return truth.judge(float(radius), spread, verdict)


def _moves(reference: Reference, point: Tensor) -> bool:
    """Tell whether the map moves a point by more than it rounds."""
    flat = point.detach().double().flatten()[None].numpy()
    step = np.linalg.norm(reference.formula(flat) - flat)
    return bool(step > 100 * torch.finfo(reference.foreign.dtype).eps * (1 + np.linalg.norm(flat)))


def _judge_recovery(found: RecoveryCurve, reference: Reference, examples: Tensor, starts: Tensor) -> tuple[Word, str]:
    """Compare which examples are recovered, and when, with a plain loop.

    A pair whose distance is close to eps is decided by rounding, so that nothing is said then.
    """
    eps = torch.as_tensor(found.eps, dtype=torch.float64).expand(len(examples))
    first = torch.full((len(examples),), -1)
    for time, points in enumerate(reference.follow(starts, STEPS)):
        gap = (points.double().flatten(1)[:, None] - examples.double().flatten(1)).norm(dim=2)
        near = gap / eps
        room = 1e-3 if examples.dtype in (torch.float32, torch.float64) else 0.3
        if ((near - 1).abs() < room).any() or not near.isfinite().all():
            return "unsure", ""
        first[(near < 1).any(0) & (first < 0)] = time
    if torch.equal(first, found.recovered_at.cpu()):
        return "right", ""
    return "wrong", f"recovered at {found.recovered_at.tolist()}, by a plain loop at {first.tolist()}"


def _judge_census(found: Census, reference: Reference, *_: Tensor) -> tuple[Word, str]:
    """Compare the radius of each fixed point with differences, and every limit with where the map sends it."""
    words: list[tuple[Word, str]] = []
    for limit in found.limits:
        if limit.period == 1:
            words.append(_judge_radius(limit.radius, limit.radius_error, reference, limit.points[0]))
            if limit.kind == "training" and _moves(reference, limit.points[0]):
                words.append(("wrong", "a training attractor is no fixed point"))
    return _take_worst(words or [("right", "")])


# A text, since the import of auditing would let the Hub's client read its environment, which kill_checks sets later.
def _judge_audit(found: "memzoo.auditing.Audit", reference: Reference, examples: Tensor, _: Tensor) -> tuple[Word, str]:
    """Compare the reconstruction error of each member with what the module returns."""
    members = found.members
    assert members is not None
    flat = examples.double().flatten(1).numpy()
    errors = np.linalg.norm(reference.formula(flat) - flat, axis=1)
    room = 100 * torch.finfo(examples.dtype).eps * (1 + np.linalg.norm(flat, axis=1))
    gap = np.abs(members.error.double().numpy() - errors)
    if (gap <= room).all():
        return "right", ""
    return "wrong", f"reconstruction errors {members.error.tolist()}, true {errors.tolist()}"


def _take_worst(words: list[tuple[Word, str]]) -> tuple[Word, str]:
    """Take the word that says most against the measurement."""
    order: list[Word] = ["wrong", "unsure", "undecided", "right"]
    return min(words, key=lambda pair: order.index(pair[0]))


@dataclass(frozen=True)
class Measure:
    """Hold how something is measured, and how it is judged."""

    call: Callable[[Any, Tensor, Tensor], Any]
    judge: Callable[[Any, Reference, Tensor, Tensor], tuple[Word, str]]


MEASURES: dict[str, Measure] = {
    "spectrum": Measure(lambda f, examples, _: spectrum(f, examples[:2], top=1), _judge_spectrum),
    "certify": Measure(lambda f, examples, _: certify(f, examples, steps=100), _judge_certificates),
    "recovery_curve": Measure(
        lambda f, examples, starts: recovery_curve(f, starts, examples, steps=STEPS, offset=float("nan")),
        _judge_recovery,
    ),
    "census": Measure(lambda f, examples, starts: census(f, starts, examples, steps=100), _judge_census),
    "audit": Measure(
        lambda f, examples, starts: memzoo.audit(f, examples, starts, steps=20),
        _judge_audit,
    ),
}
