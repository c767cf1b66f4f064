"""Load the files of a folder, checked against an entry that need not be the one that travels with them."""

from dataclasses import replace
from pathlib import Path

from memzoo.models import Autoencoder
from memzoo.zoo.entry import Entry
from memzoo.zoo.loading import assemble, locate


def load_folder(folder: Path, entry: Entry | None = None) -> Autoencoder:
    return assemble(replace(locate(f"local-dir:{folder}"), entry=entry))
