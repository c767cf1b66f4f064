"""Read training images, controls and starts: from a file of arrays, folders of images, or a LightningDataModule."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from memzoo._reading import is_file, is_folder, read_arrays, show_text
from memzoo.auditing.data_module import read_data_module
from memzoo.auditing.image_folder import read_image_folder
from memzoo.auditing.value_range import Scaling
from memzoo.data import pixels
from memzoo.errors import AuditInputError

NAMES = ("members", "controls", "starts")
"""Names of the arrays of a file, and of the subfolders of a folder."""
TYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of the arrays of a file."""
COUNT = 100
"""Most members, and most controls, when no number is given."""
STARTS = 200
"""Most starts, when no number is given."""


@dataclass(frozen=True)
class AuditData:
    """Hold the images that :func:`memzoo.audit` takes, in floating point."""

    members: Tensor | None = None
    controls: Tensor | None = None
    starts: Tensor | None = None
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """What was done to their values, in sentences."""


def read_data(
    source: str,
    count: int = COUNT,
    starts: int = STARTS,
    module: nn.Module | None = None,
    scaling: Scaling | None = None,
    trained_shape: Sequence[int] | None = None,
) -> AuditData:
    """Read members, and controls and starts if the source has them.

    Args:
        source: One of

            - a ``.safetensors`` or ``.npz`` file with arrays ``members``, ``controls``, ``starts``;
            - a folder with subfolders of these names that hold PNG or JPEG images;
            - ``package.module.Class``, a LightningDataModule: members are a sample of the rows that its training
              loader gives to ``training_step``; controls and starts, which are disjoint, come from its validation
              loader, else from its test loader.

            8-bit values become floats in [0, 1].
        count: Most members, and most controls. They are spread evenly over all that are there.
        starts: Most starts, spread in the same way.
        module: The trained module, which may change the batches of a data module before it is given them.
        scaling: How images in [0, 1] become inputs of the network (:func:`memzoo.auditing.find_scaling`). It is applied
            to arrays and files unless one of their values lies outside of [0, 1]. The images of a data module are
            inputs already.
        trained_shape: Shape of the images that the network was trained on, which is noted if it is another.

    Raises:
        AuditInputError: There is no such source, it is not in a form that can be read, a data module gives other
            images when it is built again, or the images do not have the channels of ``scaling``.
        CorruptCheckpointError: A file is damaged, or holds pickled objects.
    """
    if count < 1 or starts < 1:
        raise AuditInputError(f"count and starts must be at least 1, got {count} and {starts}.")
    path = Path(source)
    if is_folder(path):
        data = _read_folders(path, {"members": count, "controls": count, "starts": starts})
    elif path.suffix in (".safetensors", ".npz"):
        data = _read_file(path)
    else:
        _check_names_class(source)
        members, held_out = read_data_module(source, count, count + starts, module)
        if held_out is None:
            return AuditData(members)
        return replace(_divide(held_out, len(members), starts), members=members)
    if data.members is None:
        raise AuditInputError(f"{path} holds no members, the training images; it may hold {', '.join(NAMES)}.")
    data = AuditData(_thin_out(data.members, count), _thin_out(data.controls, count), _thin_out(data.starts, starts))
    data = data if scaling is None else _scale(data, scaling)
    shape = tuple(data.members.shape[1:]) if data.members is not None else ()
    if trained_shape is None or shape == tuple(trained_shape):
        return data
    said = f"The images are {shape}; the configuration of the network says {tuple(trained_shape)}."
    return replace(data, notes=(*data.notes, said))


def draw_noise(shape: Sequence[int], count: int, seed: int, scaling: Scaling) -> AuditData:
    """Draw starts that are uniform in [0, 1], and scale them to inputs of the network."""
    noise = torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed))
    said = f"The starts are noise, uniform in [0, 1], brought to {scaling}, as {scaling.source} says."
    return AuditData(starts=scaling.apply(noise), notes=(said,))


def _scale(data: AuditData, scaling: Scaling) -> AuditData:
    """Scale all images unless some of them are outside of [0, 1]; say which was done."""
    groups = (data.members, data.controls, data.starts)
    least = min(group.min().item() for group in groups if group is not None and len(group))
    largest = max(group.max().item() for group in groups if group is not None and len(group))
    if not (least >= 0 and largest <= 1):
        said = (
            f"The images have values from {least:.4g} to {largest:.4g} and were taken as they are; for images in "
            f"[0, 1], {scaling.source} says: {scaling}."
        )
        return replace(data, notes=(said,))
    said = f"The images, with values in [0, 1], were brought to {scaling}, as {scaling.source} says."
    return AuditData(*(None if group is None else scaling.apply(group) for group in groups), notes=(said,))


def examples_of(module: nn.Module, count: int = COUNT, starts: int = STARTS) -> AuditData:
    """Take the images that a checkpoint of the zoo carries: its training images, and controls and starts.

    The controls and the starts are held-out images. A module that carries no images gives no data.
    """
    members = getattr(module, "examples", None)
    if not isinstance(members, Tensor):
        return AuditData()
    members = _thin_out(members, count)
    held_out = getattr(module, "probes", None)
    if not isinstance(held_out, Tensor) or members is None:
        return AuditData(members)
    return replace(_divide(held_out, len(members), starts), members=members)


def _check_names_class(source: str) -> None:
    """Raise if ``source``, which is neither a folder nor a file of arrays, cannot be the path of a class either."""
    path = Path(source)
    if path.exists():
        raise AuditInputError(
            f"{path} is neither .safetensors nor .npz; save the arrays {', '.join(NAMES)} as one of these, or put "
            "images into folders of these names."
        )
    if "/" in source or "." not in source:
        raise AuditInputError(
            f"no data at {path.absolute()}; give a .safetensors or .npz file, a folder, or package.module.DataModule."
        )


def _spread(total: int, count: int) -> Int[Tensor, " count"]:
    """Return ``count`` positions among ``total``, evenly spread from the first to the last."""
    return torch.linspace(0, total - 1, count).round().long()


def _thin_out(images: Tensor | None, most: int) -> Tensor | None:
    """Return at most ``most`` images, evenly spread; 8-bit images as floats."""
    if images is None:
        return None
    if len(images) > most:
        images = images[_spread(len(images), most)]
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise AuditInputError(f"images are {images.dtype}; store them as uint8, 0 to 255, or as floats.")
    return pixels(images)


def _divide(images: Tensor, count: int, starts: int) -> AuditData:
    """Divide images into ``count`` controls and at most ``starts`` starts; few images are divided in halves."""
    # Without enough images for both, each gets one half, the controls the odd one.
    half = -(-len(images) // 2)
    is_control = torch.zeros(len(images), dtype=torch.bool)
    is_control[_spread(len(images), min(count, half))] = True
    rest = None if is_control.all() else _thin_out(images[~is_control], starts)
    return AuditData(controls=images[is_control], starts=rest)


# Files ------------------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> AuditData:
    """Read the arrays of one file."""
    if not is_file(path):
        raise AuditInputError(f"no data at {path.absolute()}; check the name.")
    found = read_arrays(path)
    # A misspelt name must not be an array that is silently left out.
    unknown = sorted(found.keys() - set(NAMES))
    if unknown:
        raise AuditInputError(
            f"{path} holds {show_text(', '.join(unknown))}; an audit takes {', '.join(NAMES)}: rename the arrays."
        )
    for name, images in found.items():
        if images.ndim < 2 or not images.numel():
            raise AuditInputError(f"{name} of {path} has shape {tuple(images.shape)}, no images (n, *shape).")
        if images.dtype not in TYPES:
            raise AuditInputError(
                f"images are {images.dtype}; store them as uint8, 0 to 255, or as floats ({name} of {path})."
            )
    return AuditData(*(found.get(name) for name in NAMES))


# Folders ----------------------------------------------------------------------------------------------------------


def _read_folders(folder: Path, most: dict[str, int]) -> AuditData:
    """Read the images of each subfolder, at most as many as ``most`` says."""
    # Only members are required, and the caller checks them.
    present = [name for name in NAMES if is_folder(folder / name)]
    if not present:
        raise AuditInputError(
            f"{folder} has none of the subfolders {', '.join(f'{name}/' for name in NAMES)}; make them."
        )
    return AuditData(*(read_image_folder(folder / name, most[name]) if name in present else None for name in NAMES))
