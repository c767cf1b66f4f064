"""Time memzoo against what one would write in plain PyTorch; every ratio is taken within one run.

Prints a table and writes ``benchmarks/ratios.json``.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.func import jacrev, vmap

import memzoo
from memzoo.dynamics import recovery_curve, spectrum
from memzoo.dynamics.precision import in_dtype


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def dense_spectrum(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Full Jacobian in float64, then all its eigenvalues."""
    f = in_dtype(model, torch.float64)
    flat = x.double().flatten(1)
    jacobians = vmap(jacrev(lambda row: f(row.reshape(1, *x.shape[1:])).flatten()))(flat)
    return torch.linalg.eigvals(jacobians).abs().amax(1)


@torch.no_grad()
def looped_recovery(
    model: torch.nn.Module, starts: torch.Tensor, examples: torch.Tensor, steps: int, eps: float
) -> list:
    """Iterate every start and compare with exact distances at each step."""
    rates, x = [], starts
    for t in range(steps + 1):
        x = model(x) if t else x
        gaps = torch.cdist(x.flatten(1), examples.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        rates.append((gaps < eps).any(0).float().mean().item())
    return rates


def main() -> None:
    """Measure and report."""
    network, linear = memzoo.load("mnist20-fc14x128"), memzoo.load("cifar10-d1")
    examples, probes = network.examples, network.probes
    assert examples is not None
    assert probes is not None
    assert linear.examples is not None
    one = linear.examples[:1]
    cases = {
        "spectrum, FC 784-128x13-784, 20 points": (
            lambda: spectrum(network, examples),
            lambda: dense_spectrum(network, examples[:2]),
            10.0,  # the slow side is timed on 2 of the 20 points
        ),
        "spectrum, D1 with 128 filters, 1 point": (
            lambda: spectrum(linear, one),
            lambda: dense_spectrum(linear, one),
            1.0,
        ),
        "recovery curve, 1000 starts, 20 examples, 200 steps": (
            lambda: recovery_curve(network, probes, examples, 200, eps=0.5),
            lambda: looped_recovery(network, probes, examples, 200, 0.5),
            1.0,
        ),
        "the same, orbits frozen at float32 resolution": (
            lambda: recovery_curve(network, probes, examples, 200, eps=0.5, tol=None),
            lambda: looped_recovery(network, probes, examples, 200, 0.5),
            1.0,
        ),
    }
    rows = []
    for name, (ours, plain, factor) in cases.items():
        repeats = 1 if "D1" in name else 3
        fast, slow = seconds(ours, repeats), factor * seconds(plain, repeats)
        rows.append(
            {"case": name, "memzoo_s": round(fast, 4), "plain_s": round(slow, 4), "ratio": round(slow / fast, 1)}
        )
        print(f"{name:<55} {fast:8.3f} s  plain {slow:8.3f} s  {slow / fast:6.1f}x", flush=True)
    report = {"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
