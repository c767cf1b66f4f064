"""Read arrays from safetensors and ``.npz`` files, whose headers are compared with the files before memory is taken."""

import io
import math
import struct
import zipfile
from collections import Counter
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo._reading.documents import check_values, parse_json
from memzoo._reading.formats import refuse_other_formats
from memzoo._reading.regular_files import MOST_BYTES, check_expansion, check_regular
from memzoo._reading.shown_text import show_text
from memzoo.errors import CorruptCheckpointError, InvalidArgumentError

MOST_ARRAYS = 100
"""Most arrays of a ``.npz`` file; a reader of memzoo looks for a few names."""
MOST_DESCRIBED = 200_000
"""Most values and keys in the header of a safetensors file; each tensor has about ten."""
MOST_AT_ONCE = 2**20
"""Most bytes that are read from a ``.npz`` file at once; numpy asks for a quarter of this."""
MOST_HEADER = 2000
"""Most characters in the header of one array. The parser of Python takes all memory that it may for very long ones."""
NUMBERS = "biufc"
"""Kinds of types of numpy that are numbers."""


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read all arrays of a ``.safetensors`` or ``.npz`` file, none of which may be a pickle.

    Raises:
        CorruptCheckpointError: It is damaged, holds other things than plain arrays, or would expand to fill the memory.
        StorageError: It cannot be looked at.
    """
    return read_safetensors(path) if path.suffix == ".safetensors" else _read_npz(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; no other format is opened.

    Raises:
        CorruptCheckpointError: It is another or a damaged file.
        StorageError: It cannot be looked at.
    """
    size = check_regular(path)
    refuse_other_formats(path)
    try:
        _check_header(path, size)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    # The library raises errors of many types for what is wrong with a file.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CorruptCheckpointError(
            f"{path} is no readable safetensors file ({size} bytes): {show_text(str(error))}; delete it and "
            "get it again."
        ) from error


def _check_header(path: Path, size: int) -> None:
    """Raise if the header of a safetensors file is larger than any needs to be, or names a tensor twice.

    The file begins with the length of the header in 8 bytes; the library would parse 100 MB of it.
    """
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return  # the library says so
        (length,) = struct.unpack("<Q", head)
        if length > size - 8:
            return
        if length > MOST_BYTES:
            raise InvalidArgumentError(f"its header has {length:,} bytes, more than {MOST_BYTES:,}")
        check_values(parse_json(file.read(length), MOST_DESCRIBED))


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Read the arrays of a ``.npz`` file, which is a zip archive of ``.npy`` files."""
    size = check_regular(path)
    try:
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members)
            check_expansion(path, size, sum(member.file_size for member in members))
            return {member.filename.removesuffix(".npy"): _read_member(archive, member) for member in members}
    except CorruptCheckpointError:
        raise
    # zipfile, zlib and numpy raise errors of many types for what is wrong with a file.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CorruptCheckpointError(
            f"{path} is no readable file of plain arrays: {show_text(str(error))}; write it afresh with "
            "numpy.savez (arrays of objects are pickles, which could run any code, and are not opened)."
        ) from error


class _Archive(io.FileIO):
    """A file of which little is read at once: the list of members, which zipfile reads first, may have any length."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, or raise an InvalidArgumentError."""
        if size is not None and size > MOST_AT_ONCE:
            raise InvalidArgumentError(f"the list of what it holds has {size:,} bytes, more than {MOST_AT_ONCE:,}")
        return super().read(size)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    """Raise if an archive is not as numpy writes it."""
    if len(members) > MOST_ARRAYS:
        raise InvalidArgumentError(f"it holds {len(members)} arrays, more than {MOST_ARRAYS}")
    for name, count in Counter(member.filename for member in members).items():
        if count > 1:
            raise InvalidArgumentError(f"it holds {name!r} {count} times")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise InvalidArgumentError(f"{member.filename!r} is packed in a way that numpy does not use")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    """Read one array, if it is as large as its header says: numpy would take the memory before it reads the numbers."""
    from numpy.lib import format as npy

    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise InvalidArgumentError(
                f"{member.filename!r} has the version {version} of the format, for names of fields"
            )
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file, max_header_size=MOST_HEADER)
        if dtype.kind not in NUMBERS and not dtype.hasobject:
            raise InvalidArgumentError(f"{member.filename!r} holds {show_text(str(dtype))}, no numbers")
        declared = math.prod(shape) * dtype.itemsize
        there = member.file_size - file.tell()
        if not dtype.hasobject and declared != there:  # numpy names arrays of objects itself
            raise InvalidArgumentError(f"{member.filename!r} has {there:,} bytes, and declares {declared:,}")
        file.seek(0)
        return torch.from_numpy(npy.read_array(file, allow_pickle=False))
