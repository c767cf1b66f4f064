"""Make everything that memzoo reads and writes, small, and say how each is used."""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import memzoo
from memzoo.auditing import Audit, find_scaling, load_module, read_data
from memzoo.data import full_batches
from memzoo.models import FullyConnected
from memzoo.runs import KeepLast, find_last, read_stopping_reason
from memzoo.zoo import read_history
from memzoo.zoo.registry import entry_yaml

SMALL = "mnist10-fc5x12-relu-xavier-sgd"
"""A checkpoint that every installation has."""
COPY = "copy-of-small"
"""Its id in a registry of a stranger."""
COMMIT = "0123456789" * 4
SHAPE = (1, 6, 6)
NOTHING = "nothing"
"""What a registry without entries gives."""


class Net(nn.Module):
    """An autoencoder that is none of memzoo."""

    def __init__(self, width: int = 4, bias: bool = True, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.encoder = nn.Linear(36, width, bias)
        self.decoder = nn.Linear(width, 36, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images."""
        return self.decoder(self.encoder(x.flatten(1)).relu()).reshape(x.shape)


@dataclass(frozen=True)
class Place:
    """Hold where files lie, and what is done with them."""

    folder: str
    """Folder below :func:`build_ground`, of which a copy is damaged."""
    files: str
    """Pattern of the files that are damaged."""
    use: Callable[[Path], Any]
    """Use the copy, and return a small value of what came out."""
    is_checked: bool = True
    """Whether the value must be that of the undamaged files; for others there is nothing to compare them with."""
    writes: bool = False
    """Whether files are replaced; else all must be as before."""


@lru_cache(maxsize=1)
def build_ground() -> Path:
    """Make all folders, once in a process; they are removed when it ends."""
    root = Path(tempfile.mkdtemp(prefix="memzoo-faults-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    root.chmod(0o755)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.rand(6, *SHAPE)
        _write_zoo(root)
        own = FullyConnected(shape=SHAPE, depth=2, width=4).eval()
        memzoo.save(own, root / "saved", examples=images[:3], probes=images[3:])
        _write_foreign(root / "foreign")
        _write_images(root / "images", images)
        _write_run(root / "run", images)
    _make_report(root).save(root / "report")
    return root


def _write_zoo(root: Path) -> None:
    """Write a checkpoint with its entry, a registry with a copy of it, and a cache of the Hub's client."""
    folder = memzoo.download(SMALL, root / "zoo").rename(root / "entry")
    target = root / "registry" / "checkpoints" / COPY
    shutil.copytree(folder, target)
    entry = memzoo.info(SMALL).model_copy(update={"id": COPY, "aliases": [], "hub": None})
    (root / "registry" / "registry.yaml").write_text(entry_yaml(entry))
    repository = root / "cache" / "models--org--small"
    for name in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repository / name).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        blob = repository / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        (repository / "snapshots" / COMMIT / path.name).symlink_to(f"../../blobs/{blob.name}")


def _write_foreign(folder: Path) -> None:
    """Write a network of another library."""
    folder.mkdir()
    save_file(Net().state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "Net", "width": 4, "name": "a"}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5], "image_std": [0.5]}))


def _write_images(folder: Path, images: Tensor) -> None:
    """Write images in all forms that an audit takes."""
    (folder / "members").mkdir(parents=True)
    np.savez_compressed(folder / "images.npz", members=images[:3].numpy(), starts=images[3:].numpy())
    save_file({"members": images[:3], "starts": images[3:]}, folder / "images.safetensors")
    for number, image in enumerate((255 * images).byte()):
        file = folder / "members" / f"{number}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(image[0].numpy()).save(file)


def _write_run(folder: Path, images: Tensor) -> None:
    """Write the last two states of a run."""
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[KeepLast(folder, every_s=0)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(FullyConnected(shape=SHAPE, depth=2, width=4), full_batches(images))


@lru_cache(maxsize=1)
def _make_report(root: Path) -> Audit:
    model = memzoo.load(f"local-dir:{root / 'saved'}")
    return memzoo.audit(model, model.examples, model.probes, steps=5)


# How each is used ---------------------------------------------------------------------------------------------------


def _digest_model(model: nn.Module) -> str:
    """Compute a digest of the weights of a network, and of what it computes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    shape = tuple(getattr(model, "config").shape)  # noqa: B009 - only networks of memzoo have one
    with torch.no_grad():
        digest.update(model(torch.linspace(0, 1, torch.Size(shape).numel()).reshape(1, *shape)).numpy().tobytes())
    return digest.hexdigest()


def _load(folder: Path) -> str:
    return _digest_model(memzoo.load(f"local-dir:{folder}"))


def _load_from_registry(folder: Path) -> str:
    ids = memzoo.register(folder / "registry.yaml")
    return _digest_model(memzoo.load(ids[0])) if ids else NOTHING


def _load_from_cache(folder: Path) -> str:
    from huggingface_hub import constants  # reads its variables when it is imported

    constants.HF_HUB_CACHE = str(folder)
    constants.HF_HUB_OFFLINE = True
    return _digest_model(memzoo.load(f"hf-hub:org/small@{COMMIT}"))


def _copy_checkpoint(folder: Path) -> list[str]:
    copied = memzoo.download(f"local-dir:{folder}", folder.parent / "copied")
    names = ("model.safetensors", "config.json", "examples.safetensors", "history.json")
    return [hashlib.sha256((copied / name).read_bytes()).hexdigest() for name in names]


def _load_foreign(folder: Path) -> list[int]:
    find_scaling(str(folder))
    module = load_module(str(folder), f"{__name__}.{Net.__name__}")
    return [value.numel() for value in module.state_dict().values()]


def _read(name: str) -> Callable[[Path], list[int]]:
    return lambda folder: list(read_data(str(folder / name)).members.shape)  # pyright: ignore[reportOptionalMemberAccess]


def _go_on(folder: Path) -> bool:
    last = find_last(folder)
    return last is not None and read_stopping_reason(last) is None


def _save_report(folder: Path) -> bool:
    return _make_report(build_ground()).save(folder).is_dir()


def _save_again(folder: Path) -> str:
    model = memzoo.load(f"local-dir:{build_ground() / 'saved'}")
    assert model.examples is not None
    assert model.probes is not None
    memzoo.save(model, folder, examples=model.examples, probes=model.probes, overwrite=True)
    return _load(folder)


PLACES: dict[str, Place] = {
    "registry": Place("registry", "registry.yaml", _load_from_registry),
    "entry": Place("entry", "entry.yaml", _load),
    "config": Place("saved", "config.json", _load),
    "registered config": Place("entry", "config.json", _load),
    "weights": Place("saved", "*.safetensors", _load),
    "registered weights": Place("registry", "checkpoints/*/*.safetensors", _load_from_registry),
    "cards": Place("entry", "*", _copy_checkpoint),
    "history": Place("entry", "history.json", lambda path: len(read_history(path / "history.json").loss), False),
    "cache": Place("cache", "**/*", _load_from_cache),
    "foreign folder": Place("foreign", "*.json", _load_foreign, False),
    "foreign weights": Place("foreign", "model.safetensors", _load_foreign, False),
    "arrays": Place("images", "images.npz", _read("images.npz"), False),
    "tensors": Place("images", "images.safetensors", _read("images.safetensors"), False),
    "pictures": Place("images", "members/*", _read("."), False),
    "run": Place("run", "*.ckpt", _go_on, False),
    "report": Place("report", "*", _save_report, True, True),
    "saved again": Place("saved", "*", _save_again, True, True),
}
