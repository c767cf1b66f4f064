"""Training images, controls and starts: from a file of arrays, folders of images, or a LightningDataModule."""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from memzoo.auditing.checkpoint import import_object
from memzoo.data import pixels
from memzoo.errors import AuditInputError, CorruptCheckpointError
from memzoo.modules import read_rows
from memzoo.zoo.registry import read_tensors

NAMES = ("members", "controls", "starts")
IMAGES = (".png", ".jpg", ".jpeg")
COUNT, STARTS = 100, 200


@dataclass(frozen=True)
class AuditData:
    """What :func:`memzoo.audit` takes, floating point."""

    members: Tensor | None = None
    controls: Tensor | None = None
    starts: Tensor | None = None


def read_data(source: str, count: int = COUNT, starts: int = STARTS) -> AuditData:
    """Members, and where they are there controls and starts.

    Args:
        source: One of

            - a ``.safetensors`` or ``.npz`` file with arrays ``members``, ``controls``, ``starts``;
            - a folder with subfolders of these names that hold PNG or JPEG images;
            - ``package.module.Class``, a LightningDataModule: members from its training loader, controls and starts,
              disjoint, from its validation loader, else from its test loader.

            8-bit values become floats in [0, 1].
        count: Most members, and most controls; spread evenly over those that are there.
        starts: Most starts, likewise.

    Raises:
        AuditInputError: Nothing of the kind, or not in a form that can be read.
        CorruptCheckpointError: A damaged file, or one that holds pickled objects.
    """
    if count < 1 or starts < 1:
        raise AuditInputError(f"count and starts must be at least 1, got {count} and {starts}.")
    path = Path(source)
    if path.is_dir():
        data = _read_folders(path, {"members": count, "controls": count, "starts": starts})
    elif path.suffix in (".safetensors", ".npz"):
        data = _read_file(path)
    elif path.exists():
        raise AuditInputError(
            f"{path} is neither .safetensors nor .npz; save the arrays {', '.join(NAMES)} as one of these, or put "
            "images into folders of these names."
        )
    elif "/" in source or "." not in source:
        raise AuditInputError(
            f"no data at {path.absolute()}; give a .safetensors or .npz file, a folder, or package.module.DataModule."
        )
    else:
        return _read_data_module(source, count, starts)
    if data.members is None:
        raise AuditInputError(f"{path} holds no members, the training images; it may hold {', '.join(NAMES)}.")
    return AuditData(_spread(data.members, count), _spread(data.controls, count), _spread(data.starts, starts))


def _spread(images: Tensor | None, most: int) -> Tensor | None:
    """At most so many rows, evenly spread; 8-bit ones as floats."""
    if images is None:
        return None
    if len(images) > most:
        images = images[torch.linspace(0, len(images) - 1, most).round().long()]
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise AuditInputError(f"images are {images.dtype}; store them as uint8, 0 to 255, or as floats.")
    return pixels(images)


def examples_of(module: nn.Module, count: int = COUNT, starts: int = STARTS) -> AuditData:
    """What travels with a checkpoint of the zoo: its training images, and of its held-out images controls and starts.

    Nothing for a module that carries no images.
    """
    members, held_out = getattr(module, "examples", None), getattr(module, "probes", None)
    if not isinstance(members, Tensor):
        return AuditData()
    members = _spread(members, count)
    if not isinstance(held_out, Tensor) or members is None:
        return AuditData(members)
    return replace(_divided(held_out, len(members), starts), members=members)


# Files ------------------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> AuditData:
    if not path.is_file():
        raise AuditInputError(f"no data at {path.absolute()}; check the name.")
    found = read_tensors(path) if path.suffix == ".safetensors" else _read_npz(path)
    unknown = sorted(found.keys() - set(NAMES))
    if unknown:
        raise AuditInputError(
            f"{path} holds {', '.join(unknown)}; an audit takes {', '.join(NAMES)}: rename the arrays."
        )
    return AuditData(**found)


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except (ValueError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CorruptCheckpointError(
            f"{path} is no readable .npz of plain arrays: {error}; write it afresh with numpy.savez (arrays of objects "
            "are pickles, which could run any code, and are not opened)."
        ) from error


# Folders ----------------------------------------------------------------------------------------------------------


def _read_folders(folder: Path, most: dict[str, int]) -> AuditData:
    there = {name: folder / name for name in NAMES if (folder / name).is_dir()}
    if not there:
        raise AuditInputError(
            f"{folder} has none of the subfolders {', '.join(f'{name}/' for name in NAMES)}; make them."
        )
    return AuditData(**{name: _read_images(path, most[name]) for name, path in there.items()})


def _read_images(folder: Path, most: int) -> Tensor:
    """The folder's images (n, C, H, W), in the order of their names; grey where all are, else RGB."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not files:
        raise AuditInputError(f"{folder} holds no images; put PNG or JPEG files there.")
    if len(files) > most:
        files = [files[round(i)] for i in torch.linspace(0, len(files) - 1, most).tolist()]
    images = [_read_image(path) for path in files]
    if len({len(image) for image in images}) > 1:
        images = [image.expand(3, -1, -1) for image in images]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise AuditInputError(
            f"{files[odd]} is {tuple(images[odd].shape)}, {files[0]} is {tuple(images[0].shape)}: all images of a "
            "folder must have one size; resize them as the training did."
        )
    return torch.stack(images)


def _read_image(path: Path) -> Tensor:
    """One image (C, H, W), 8 bits: C = 1 for grey, else 3, without transparency."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise AuditInputError(f"{path} has more than 8 bits a pixel; save it with 8, or use .npz.")
            pixels = np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, SyntaxError) as error:  # what PIL says to a broken PNG
        raise CorruptCheckpointError(f"{path} is no readable PNG or JPEG: {error}; replace or remove it.") from error
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


# DataModules ------------------------------------------------------------------------------------------------------


def _read_data_module(name: str, count: int, starts: int) -> AuditData:
    kind = import_object(name, "--data")
    if not (isinstance(kind, type) and issubclass(kind, LightningDataModule)):
        raise AuditInputError(f"--data {name} is no LightningDataModule class; name one, a file or a folder.")
    try:
        module = kind()
        module.prepare_data()
        module.setup("fit")
        members = read_rows(module.train_dataloader(), count)
        held_out = _held_out(module, count + starts)
    except TypeError as error:
        raise AuditInputError(
            f"--data {name}: {error} It is built without arguments, and its loaders must have datasets with a "
            "length; save the images into a .npz file otherwise."
        ) from error
    if held_out is None:
        return AuditData(members)
    return replace(_divided(held_out, len(members), starts), members=members)


def _held_out(module: LightningDataModule, most: int) -> Tensor | None:
    """Rows of the validation loader, else of the test loader; None where there is neither."""
    for stage, loader in (("fit", "val_dataloader"), ("test", "test_dataloader")):
        if getattr(type(module), loader) is not getattr(LightningDataModule, loader):
            if stage == "test":
                module.setup(stage)
            return read_rows(getattr(module, loader)(), most)
    return None


def _divided(images: Tensor, count: int, starts: int) -> AuditData:
    """Controls, as many as members, and starts out of the same images, no image both; half each where they are few."""
    taken = torch.zeros(len(images), dtype=torch.bool)
    taken[torch.linspace(0, len(images) - 1, min(count, -(-len(images) // 2))).round().long()] = True
    return AuditData(controls=images[taken], starts=None if taken.all() else _spread(images[~taken], starts))
