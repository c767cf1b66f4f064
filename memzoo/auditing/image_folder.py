"""Read the PNG and JPEG images of a folder; no other format is decoded, and none that would fill the memory."""

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo._reading import check_expansion, check_regular, list_folder
from memzoo.errors import AuditInputError, CorruptCheckpointError, MemzooError

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Files of a folder that are read as images."""
FORMATS = ("PNG", "JPEG")
"""Formats that are decoded, whatever the name of a file is: some others start programs."""
MOST_BYTES_A_PIXEL = 4
SCAN = b"\xff\xda"
"""Beginning of a scan of a JPEG. Each goes through the whole image, however few bytes it has."""
MOST_SCANS = 100
"""Scans of an image; encoders make about ten."""


class _Header(NamedTuple):
    """Hold what the beginning of an image file says."""

    width: int
    height: int
    is_grey: bool


def read_image_folder(folder: Path, most: int) -> Tensor:
    """Read at most ``most`` images (n, C, H, W) of a folder, spread evenly over their names; grey if all are, else RGB.

    Raises:
        AuditInputError: There are no images, or images of several sizes or of more than 8 bits.
        CorruptCheckpointError: An image is damaged, is no file, or would fill the memory; nothing was decoded then.
    """
    files = [path for path in list_folder(folder) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise AuditInputError(f"{folder} holds no images; put PNG or JPEG files there.")
    if len(files) > most:
        files = [files[position] for position in torch.linspace(0, len(files) - 1, most).round().int().tolist()]
    packed = sum(map(check_regular, files))
    headers = [_read_header(path) for path in files]
    for path, header in zip(files, headers, strict=True):
        if header[:2] != headers[0][:2]:
            raise AuditInputError(
                f"{path} is {_describe(header)}, {files[0]} is {_describe(headers[0])}: all images of a folder must "
                "have one size; resize them as the training did."
            )
    check_expansion(folder, packed, sum(header.width * header.height for header in headers) * MOST_BYTES_A_PIXEL)
    # Grey and colour images together are all colour.
    mode = "L" if all(header.is_grey for header in headers) else "RGB"
    return torch.stack([_decode(path, mode) for path in files])


def _describe(header: _Header) -> str:
    """Describe the shape (C, H, W) of an image."""
    return str((1 if header.is_grey else 3, header.height, header.width))


def _read_header(path: Path) -> _Header:
    """Read size and kind of an image, of which nothing is decoded."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller looks at the size
            with Image.open(path, formats=FORMATS) as image:
                mode = image.mode
                is_jpeg = image.format != "PNG"
                width, height = image.size
    except Exception as error:
        raise _explain(path, error) from error
    if is_jpeg and path.read_bytes().count(SCAN) > MOST_SCANS:
        raise CorruptCheckpointError(
            f"{path} has more than {MOST_SCANS} scans, each as large as the image; replace it."
        )
    if mode.startswith(("I", "F")):
        raise AuditInputError(f"{path} has more than 8 bits a pixel; save it with 8, or use .npz.")
    return _Header(width, height, mode in ("1", "L", "LA"))


def _decode(path: Path, mode: str) -> Tensor:
    """Decode one image (C, H, W) of 8 bits without transparency: ``mode`` is L for C = 1, RGB for C = 3."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            array = np.array(image.convert(mode))
    except Exception as error:
        raise _explain(path, error) from error
    return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1)


def _explain(path: Path, error: Exception) -> Exception:
    """Say that an image cannot be read; PIL raises errors of many types for a damaged one."""
    if is_out_of_memory(error) or isinstance(error, MemzooError):
        return error
    return CorruptCheckpointError(f"{path} is no readable PNG or JPEG: {error}; replace or remove it.")
