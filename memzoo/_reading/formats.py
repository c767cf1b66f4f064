"""Recognise what may lie in the place of a safetensors file: a web page, a pickle, or a pointer to another file."""

from pathlib import Path

from memzoo._reading.regular_files import read_beginning
from memzoo.errors import CorruptCheckpointError


def refuse_other_formats(path: Path) -> None:
    """Raise if a file that should hold tensors is a web page, a pickle, or a pointer to a file that was not fetched."""
    if path.suffix != ".safetensors":
        return
    head = read_beginning(path, 256)
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CorruptCheckpointError(
            f"{path} is an HTML page, not weights: the download got an error or login page; delete it and get it again."
        )
    # A pickle begins with the byte 0x80. So may a safetensors file, with the length of its header in 8 bytes, but then
    # the header follows, which is JSON.
    is_bare_pickle = head[:1] == b"\x80" and head[8:9] != b"{"
    is_zip = head.startswith(b"PK\x03\x04")  # as newer versions of torch.save pack their pickle
    if is_bare_pickle or is_zip:
        raise CorruptCheckpointError(
            f"{path} is a pickle (as torch.save writes it), not a safetensors file, and was not opened: a pickle can "
            "run any code. Ask its author for safetensors, or convert it yourself where you trust it."
        )
    if head.startswith(b"version https://git-lfs"):
        raise CorruptCheckpointError(
            f"{path} is a Git LFS pointer, not weights: the repository was cloned without its large files; run "
            "`git lfs pull` there."
        )
