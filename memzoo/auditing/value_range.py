"""Bring images into the range of values that a network was trained on, and tell when they may be in another one."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo._reading import is_file, is_folder, read_json_object, show_text
from memzoo._types import Map
from memzoo.auditing.foreign_folder import CONFIGS
from memzoo.errors import AuditInputError, CorruptCheckpointError

PROCESSORS = ("preprocessor_config.json", "processor_config.json", *CONFIGS)
"""Files that may say how images become inputs; the first that does is taken."""
RANGES = ("value_range", "data_range", "input_range")
"""Keys of a configuration that hold the least and the largest value of an input."""
COMPARED = 16
"""Most members that are reconstructed in other ranges."""
FACTOR = 4
"""By how much smaller the error in another range must be for a warning."""
WIDER = 255
"""How many times as wide a range is that no network was trained on."""
KNOWN: dict[str, tuple[float, float]] = {"[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0), "[0, 255]": (0.0, 255.0)}
"""Ranges in which images are usually kept."""


@dataclass(frozen=True)
class Scaling:
    """Hold how images in [0, 1] become inputs: ``(image - mean) / std``, one number each or one for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    """Where this is said, for messages."""

    def __post_init__(self) -> None:
        """Raise if the numbers are so large or small that images would become infinite."""
        if not all(map(math.isfinite, self.mean)) or not all(0 < one < math.inf for one in self.std):
            raise AuditInputError(f"{self.source} scales images by numbers beyond the range of a float.")

    @classmethod
    def to_range(cls, low: float, high: float, source: str) -> "Scaling":
        """Scale [0, 1] to ``[low, high]``.

        Raises:
            AuditInputError: These are no two finite numbers in ascending order.
        """
        if not -math.inf < low < high < math.inf:
            raise AuditInputError(f"{source}: a range is two finite numbers, the smaller first, got {low}, {high}.")
        # (x - mean) / std is low at 0 and high at 1.
        return cls((-low / (high - low),), (1 / (high - low),), source)

    def apply(self, images: Tensor) -> Tensor:
        """Scale images (B, C, H, W), or points of any shape if there is one number for all channels.

        Raises:
            AuditInputError: The images have another number of channels.
        """
        mean = torch.tensor(self.mean, dtype=torch.float64)
        std = torch.tensor(self.std, dtype=torch.float64)
        if len(mean) > 1 or len(std) > 1:
            channels = images.shape[1] if images.ndim > 1 else 1
            if any(len(values) not in (1, channels) for values in (mean, std)):
                raise AuditInputError(
                    f"{self.source} scales {max(len(mean), len(std))} channels, the images {tuple(images.shape[1:])} "
                    f"have {channels}; give images with the channels that the network was trained on."
                )
            shape = (-1, *[1] * (images.ndim - 2))
            mean = mean.reshape(shape)
            std = std.reshape(shape)
        return ((images.double() - mean) / std).to(images.dtype)

    def __str__(self) -> str:
        if self.mean == (0.0,) and self.std == (1.0,):
            return "values in [0, 1]"
        if len(self.mean) == len(self.std) == 1:
            low = -self.mean[0] / self.std[0]
            return f"values in [{low:.4g}, {low + 1 / self.std[0]:.4g}]"
        return f"(value - {list(self.mean)}) / {list(self.std)} for values in [0, 1]"


def find_scaling(checkpoint: str) -> Scaling | None:
    """Find how a folder says that images become inputs of its network; None if nothing says it.

    Raises:
        CorruptCheckpointError: A file says it in a way that makes no sense.
    """
    path = Path(checkpoint)
    folder = path if is_folder(path) else path.parent
    if not (is_folder(path) or path.suffix == ".safetensors"):
        return None
    for name in PROCESSORS:
        file = folder / name
        if is_file(file):
            found = _read_scaling(read_json_object(file), str(file))
            if found is not None:
                return found
    return None


def find_shape(checkpoint: str) -> tuple[int, ...] | None:
    """Return the shape (C, H, W) of the images that a folder says its network was trained on; None if it does not."""
    path = Path(checkpoint)
    file = path / CONFIGS[0]
    if not (is_folder(path) and is_file(file)):
        return None
    config = read_json_object(file)
    channels = config.get("in_channels", config.get("num_channels"))
    size = config.get("sample_size", config.get("image_size"))
    sides = size if isinstance(size, list) else [size, size]
    shape = [channels, *sides]
    return tuple(shape) if all(isinstance(side, int) and side > 0 for side in shape) else None


def _read_scaling(config: dict[str, Any], source: str) -> Scaling | None:
    """Read the scaling from a file of an image processor, or from the configuration of a network."""
    if isinstance(config.get("image_processor"), dict):
        config = config["image_processor"]
    pair = next((config[key] for key in RANGES if key in config), None)
    if pair is not None:
        low, high = _read_numbers(pair, source, count=2)
        return Scaling.to_range(low, high, source)
    timm = config.get("pretrained_cfg")
    if isinstance(timm, dict) and {"mean", "std"} <= timm.keys():
        config = {"image_mean": timm["mean"], "image_std": timm["std"]}
    does_normalize = config.get("do_normalize", "image_mean" in config)
    if does_normalize and {"image_mean", "image_std"} <= config.keys():
        mean = _read_numbers(config["image_mean"], source)
        std = _read_numbers(config["image_std"], source)
        return _combine(mean, std, _read_factor(config, source), source)
    if not does_normalize and ("do_rescale" in config or "do_normalize" in config):
        return _combine((0.0,), (1.0,), _read_factor(config, source), source)
    return None  # nothing is said, or the class of the processor has values of its own


def _read_factor(config: dict[str, Any], source: str) -> float:
    """Read the number by which a processor multiplies values of 8 bits before it subtracts the mean."""
    if not config.get("do_rescale", True):
        return 1.0
    return _read_numbers(config.get("rescale_factor", 1 / 255), source)[0]


def _combine(mean: tuple[float, ...], std: tuple[float, ...], factor: float, source: str) -> Scaling:
    """Return the scaling of values in [0, 1] that a factor of 8-bit values, a mean and a deviation make together."""
    top = 255 * factor
    # (top x - mean) / std = (x - mean / top) / (std / top)
    if min(std) <= 0 or top <= 0:
        said = show_text(str(list(std)))
        raise CorruptCheckpointError(f"{source} divides by image_std {said}; all must be above 0.")
    return Scaling(tuple(_clean(one / top) for one in mean), tuple(_clean(one / top) for one in std), source)


def _clean(value: float) -> float:
    """Round off what 255 * (1 / 255) leaves."""
    return float(f"{value:.12g}")


def _read_numbers(value: Any, source: str, count: int | None = None) -> tuple[float, ...]:
    """Return finite numbers from one number or a list of them."""
    values = value if isinstance(value, list) else [value]
    is_number = [isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in values]
    if not values or not all(is_number) or (count is not None and len(values) != count):
        raise CorruptCheckpointError(f"{source} scales images by {show_text(repr(value))}; needed are finite numbers.")
    return tuple(float(one) for one in values)


# Images that may be in another range -------------------------------------------------------------------------------


@torch.no_grad()
def find_better_range(f: Map, images: Tensor) -> str | None:
    r"""Say that a network reconstructs the images far better in another usual range of values; None if it does not.

    Args:
        f: The network.
        images: Members (n, \*shape), of which a few are reconstructed.
    """
    own = _find_range(images)
    if own is None:
        return None
    rows = images[:COMPARED]
    low, high = KNOWN[own]
    unit = (rows - low) / (high - low)
    spread = (unit - unit.mean()).square().mean().sqrt().item()
    errors = {name: _measure_error(f, unit, bounds) for name, bounds in KNOWN.items()}
    best = min(errors, key=lambda name: errors[name])
    # A map that does not reconstruct the images in the other range either, such as an untrained one, says nothing.
    if best == own or not (FACTOR * errors[best] < errors[own] and 2 * errors[best] < spread):
        return None
    # One that changes its input by a bounded amount is the better, the wider the range; it was trained on none of them.
    low, high = KNOWN[best]
    if _measure_error(f, unit, (low, low + WIDER * (high - low))) < FACTOR * errors[best]:
        return None
    return (
        f"The images have values in {own}, and the network reconstructs them {errors[own] / errors[best]:.0f} times "
        f"better in {best} (error {errors[best]:.2g} against {errors[own]:.2g} of the range): it seems to be trained "
        "on that range. Scale the images to it."
    )


def _find_range(images: Tensor) -> str | None:
    """Return the smallest usual range that holds all values; None if there is none."""
    least = images.min().item()
    largest = images.max().item()
    return next((name for name, (low, high) in KNOWN.items() if low <= least and largest <= high), None)


def _measure_error(f: Map, unit: Tensor, bounds: tuple[float, float]) -> float:
    """Return the error of reconstruction in a range, root mean square, as a share of the range."""
    low, high = bounds
    points = low + (high - low) * unit
    error = math.inf
    with Attempt(Exception):  # some networks refuse values beyond their range
        error = (f(points) - points).square().mean().sqrt().item() / (high - low)
    return error if math.isfinite(error) else math.inf
