"""Time memzoo against what one would write in plain PyTorch; every ratio is taken within one run.

The script prints a table and writes ``benchmarks/ratios.json``. It needs no dataset: networks that are not in the zoo
are trained here in a minute, on images that come with its checkpoints. The slow side is timed on a few points or steps
and scaled, since each of them costs the same. ``--quick`` leaves out what takes minutes.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from plain import compute_dense_radii, iterate_powers, recover_by_cdist, recover_by_products
from torch import Tensor, nn
from variational import VariationalAutoencoder

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.dynamics import census, certify, recovery_curve, spectrum
from memzoo.models import D1, FullyConnected


@dataclass
class Row:
    """Hold one line of the table."""

    case: str
    memzoo_s: float
    plain: str
    plain_s: float
    ratio: float
    difference: str


def measure_seconds(run: Callable[[], object], repeats: int) -> float:
    """Measure the best wall time of a call; where there are several calls, a first one does not count."""
    if repeats > 1:
        run()
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return min(times)


def compare(
    case: str,
    ours: Callable[[], object],
    plain: str,
    theirs: Callable[[], object],
    factor: float,
    difference: str,
    repeats: int = 3,
) -> Row:
    """Time both sides, and print the line.

    The side of memzoo is timed before and after the other, so that a machine that slows down favours neither.
    """
    before = measure_seconds(ours, repeats)
    slow = factor * measure_seconds(theirs, 1)
    after = measure_seconds(ours, repeats)
    fast = min(before, after)
    row = Row(case, round(fast, 4), plain, round(slow, 3), round(slow / fast, 1), difference)
    print(f"{case:<58} {fast:8.3f} s   {plain:<26} {slow:9.2f} s  {slow / fast:7.1f}x   {difference}", flush=True)
    return row


def train(model: nn.Module, images: Tensor, steps: int) -> nn.Module:
    """Train a network with Adam on all images at once, with a learning rate that falls to zero as a cosine."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # numbers near zero would make the training slow
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(images), images).backward()
        optimizer.step()
        schedule.step()
    torch.set_flush_denormal(False)
    return model.eval().requires_grad_(False)


class UNet(nn.Module):
    """Reconstruct images by five levels of stride 2, with skips at 8x8 and coarser and a sigmoid at the end.

    No layer is narrower than the input, so that the spectrum cannot be computed at a cut.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 32, 64, 128, 128, 128]
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in pairwise(widths))
        sizes = [(128, 128), (256, 128), (192, 64), (64, 32), (32, 3)]
        self.up = nn.ModuleList(nn.Conv2d(i, o, 3, 1, 1) for i, o in sizes)
        for layer in [*self.down, *self.up]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image after the levels down and up."""
        levels = []
        for layer in self.down:
            x = nn.functional.leaky_relu(layer(x))
            levels.append(x)
        for i, layer in enumerate(self.up):
            x = nn.functional.interpolate(x, scale_factor=2)
            if i in (1, 2):  # at 4x4 and 8x8
                x = torch.cat([x, levels[3 - i]], 1)
            x = layer(x)
            x = nn.functional.leaky_relu(x) if i < len(self.up) - 1 else x.sigmoid()
        return x


def describe_gap(ours: Tensor, plain: Tensor) -> str:
    """Describe the largest relative difference of radii."""
    gaps = (ours[: len(plain)] - plain).abs() / plain
    return f"radius differs by {gaps.max():.0e}"


def compare_spectra(quick: bool) -> list[Row]:
    """Compare spectra with dense Jacobians and with power iteration."""
    digits = memzoo.load("mnist20-fc14x128")
    linear = memzoo.load("cifar10-d1")
    assert digits.examples is not None
    assert digits.probes is not None
    assert linear.examples is not None
    images = linear.examples
    rows = []

    network = train(FullyConnected(shape=(1, 28, 28), depth=7, width=128), digits.probes[:100], 3000)
    points = digits.probes[:50]
    rows.append(
        compare(
            "spectrum, FC 784-128x6-784, 50 points",
            lambda: spectrum(network, points),
            "jacrev + eigvals",
            lambda: compute_dense_radii(network, points[:10]),
            5,
            describe_gap(spectrum(network, points).radius, compute_dense_radii(network, points[:2])),
        )
    )
    rows.append(
        compare(
            "spectrum, FC 784-128x13-784 (mnist20-fc14x128), 20 points",
            lambda: spectrum(digits, digits.examples),
            "jacrev + eigvals",
            lambda: compute_dense_radii(digits, digits.examples[:10]),
            2,
            describe_gap(spectrum(digits, digits.examples).radius, compute_dense_radii(digits, digits.examples[:2])),
        )
    )
    if quick:  # what follows takes minutes
        return rows
    generator = torch.Generator().manual_seed(0)
    ten = torch.cat([images, torch.rand(8, 3, 32, 32, generator=generator)])
    leaky = train(D1(activation="leaky_relu", bias=True, init="xavier_uniform"), images, 300)
    for name, model in (("linear (cifar10-d1)", linear), ("leaky", leaky)):
        rows.append(
            compare(
                f"spectrum, D1 with 128 filters, {name}, 10 points",
                lambda model=model: spectrum(model, ten),
                "jacrev + eigvals",
                lambda model=model: compute_dense_radii(model, ten[:1]),
                10,
                describe_gap(spectrum(model, ten).radius, compute_dense_radii(model, ten[:1])),
                repeats=2,
            )
        )
    unet = train(UNet(), images[:1], 1000)
    eight = ten[:8]
    found = spectrum(unet, eight)
    exact = compute_dense_radii(unet, eight[:2])
    rows.append(
        compare(
            "spectrum, U-Net 3x32x32 without a cut, 8 points",
            lambda: spectrum(unet, eight),
            "jacrev + eigvals",
            lambda: compute_dense_radii(unet, eight[:1]),
            8,
            describe_gap(found.radius, exact),
        )
    )
    rows.append(
        compare(
            "the same",
            lambda: spectrum(unet, eight),
            "100 power iterations",
            lambda: iterate_powers(unet, eight, 100),
            1,
            f"plain {describe_gap(iterate_powers(unet, eight, 100), exact)}",
        )
    )
    return rows


def compare_recoveries() -> list[Row]:
    """Compare the recovery of 1000 examples from 2000 starts in 400 steps with two plain ways to compute distances."""
    network = memzoo.load("mnist20-fc14x128")
    assert network.examples is not None
    assert network.probes is not None
    examples = torch.cat([network.examples, network.probes[:980]])
    generator = torch.Generator().manual_seed(0)
    # mixtures of two images each, as further starts
    mixing = torch.rand(1000, 1, 1, 1, generator=generator)
    mixed = mixing * network.probes + (1 - mixing) * network.probes.roll(1, 0)
    starts = torch.cat([network.probes, mixed])
    eps = 0.5
    some = 10  # steps that the plain side is timed on
    curve = recovery_curve(network, starts, examples, 400, eps=eps)
    rows = []
    for plain, function in (
        ("exact cdist each step", recover_by_cdist),
        ("float64 products each step", recover_by_products),
    ):
        reference = function(network, starts, examples, some, eps)
        same = "R_t equal" if curve.rate[: some + 1].tolist() == reference else "R_t DIFFERS"
        rows.append(
            compare(
                "recovery, 2000 starts, 1000 examples, 400 steps",
                lambda: recovery_curve(network, starts, examples, 400, eps=eps),
                plain,
                lambda function=function: function(network, starts, examples, some, eps),
                401 / (some + 1),
                same,
                repeats=2,
            )
        )
    return rows


def compare_measurement() -> list[Row]:
    """Compare one measurement of a callback with one epoch of training, the plain side."""
    torch.manual_seed(0)
    network = VariationalAutoencoder()
    images = torch.rand(32, 3, 32, 32)
    watch = AttractorCallback(images, torch.rand(16, 3, 32, 32), verbose=False)

    def train_on_a_batch() -> None:
        network.train()
        nn.functional.mse_loss(network(images), images).backward()

    return [
        compare(
            "one measurement, variational autoencoder 3x32x32, 32 examples",
            lambda: watch.measure(network),
            "one epoch of 1024 images",
            train_on_a_batch,
            32,
            "untrained",
            repeats=1,
        )
    ]


MEMORY = """
import torch
from torch.nn import Linear, ReLU, Sequential
from memzoo.dynamics import recovery_curve
torch.manual_seed(0)
network = Sequential(Linear(784, 128), ReLU(), Linear(128, 128), ReLU(), Linear(128, 784))
recovery_curve(network, torch.rand(2_000, 784), torch.rand(50_000, 784), 5, eps=3.0)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this process alone
print(int(peak.split()[1]) / 2**20)
"""


def time_whole_report() -> dict[str, float]:
    """Measure the seconds of a full report on a checkpoint, and the peak memory in GiB at 50,000 examples."""
    network = memzoo.load("mnist20-fc14x128")
    assert network.examples is not None
    assert network.probes is not None
    before = time.perf_counter()
    spectrum(network, network.examples)
    recovery_curve(network, network.probes, network.examples, 200)
    certify(network, network.examples, directions=32)
    print(census(network, network.probes, network.examples))
    took = time.perf_counter() - before
    # the peak is that of a process, and therefore measured in one of its own
    ran = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    peak = float(ran.stdout)
    print(f"full report of mnist20-fc14x128: {took:.1f} s")
    print(f"peak memory of the recovery of 50,000 examples from 2,000 starts: {peak:.2f} GiB")
    return {"full_report_s": round(took, 2), "peak_GiB_50000_examples": round(peak, 3)}


def main() -> None:
    """Measure all cases, and write the table and the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the convolutional networks (minutes)")
    arguments = parser.parse_args()
    rows = [*compare_spectra(arguments.quick), *compare_recoveries(), *compare_measurement()]
    report = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in rows],
        **time_whole_report(),
        "peak_GiB_this_run": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
