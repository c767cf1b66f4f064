"""Train a checkpoint from the recipe in its registry entry."""

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from safetensors.torch import save_file

from memzoo.callbacks import AttractorCallback
from memzoo.data import DISTRIBUTIONS, Selection, cifar10, drawn, full_batches, mnist
from memzoo.errors import CheckpointMissingError, RegistryError
from memzoo.models import Autoencoder, Ensemble
from memzoo.zoo.card import card
from memzoo.zoo.entry import Entry, Images
from memzoo.zoo.files import CARD, CONFIG, EXAMPLES, HASHED, WEIGHTS, SavedConfig, describe, read_tensors, written_aside
from memzoo.zoo.fingerprint import take_fingerprint
from memzoo.zoo.loading import check_images, create
from memzoo.zoo.registry import home, info
from memzoo.zoo.verification import Row, measure_facts

DIGITS = 9  # of recorded values


def train(
    name: str,
    out: str | Path = "runs",
    *,
    seed: int | None = None,
    data_root: str | Path | None = None,
    overwrite: bool = False,
    **trainer_options: Any,
) -> tuple[Path, tuple[Row, ...]]:
    """Train the network of an entry and write its folder, complete and loadable by ``local-dir:``.

    Args:
        name: Id or alias in the registry.
        out: Folder that receives a folder named after the id: weights, configuration, images, card, ``entry.yaml``.
        seed: Of the initial values; the recipe's when left out.
        data_root: Where the dataset lies. When left out, the images that travel with the installed checkpoint are used,
            else the dataset is downloaded to ``data``. Their hashes are checked in any case.
        overwrite: Replace an existing folder.
        trainer_options: Passed on to :class:`lightning.pytorch.Trainer`.

    Returns:
        The folder, and the facts of the entry as measured on the new weights.

    Raises:
        FileExistsError: The folder is there and ``overwrite`` is off; nothing was trained.
    """
    entry = info(name)
    folder = Path(out) / entry.id
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; give another --out, or --overwrite to replace it.")
    seed = entry.recipe.seed if seed is None else seed
    examples, probes = images_of(entry, data_root)
    model = create(entry.id, seed=seed)
    recipe = entry.recipe
    options = {
        "max_steps": recipe.training.steps,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "precision": recipe.precision,
        "callbacks": [] if isinstance(model, Ensemble) else [AttractorCallback(starts=probes.pixels()[:200])],
        **trainer_options,
    }
    started = time.monotonic()
    Trainer(**options).fit(model, full_batches(examples.pixels(), steps_per_epoch=recipe.steps_per_epoch))
    wall_time_s = round(time.monotonic() - started, 1)

    model = model.cpu().float().eval()
    model.examples, model.probes = examples.pixels(), probes.pixels()
    rows = measure_facts(model, entry.facts)
    done = entry.model_copy(
        update={
            "facts": [row.fact.model_copy(update={"ours": float(f"{row.measured:.{DIGITS}g}")}) for row in rows],
            "fingerprint": take_fingerprint(model, model.config.shape),
            "recipe": recipe.model_copy(
                update={
                    "seed": seed,
                    "versions": {name: version(name) for name in ("torch", "lightning")}
                    | {"python": platform.python_version()},
                    "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
                    "wall_time_s": wall_time_s,
                }
            ),
            "hub": None,
        }
    )
    write_folder(folder, done, model, examples, probes)
    return folder, rows


def images_of(entry: Entry, data_root: str | Path | None) -> tuple[Selection, Selection]:
    """Training images and starts of an entry, checked by hash."""
    packed = home() / "checkpoints" / entry.id / EXAMPLES
    tensors = read_tensors(packed) if data_root is None and packed.is_file() else None

    def get(key: str, about: Images) -> Selection:
        positions = about.positions()
        if tensors is not None:
            found = Selection(about.dataset, about.split, tuple(positions), tensors[key])
        elif about.dataset in DISTRIBUTIONS:
            shape = entry.architecture_config().shape[1:]
            found = drawn(about.dataset, positions, about.count, shape, split=about.split)
        else:
            dataset = {"mnist": mnist, "cifar10": cifar10}[about.dataset]
            found = dataset(positions, split=about.split, root=data_root or "data", download=data_root is None)
        return check_images(found, about)

    return get("examples", entry.examples), get("probes", entry.probes)


def write_folder(folder: Path, entry: Entry, model: Autoencoder, examples: Selection, probes: Selection) -> None:
    """All files of a checkpoint at once, or none."""
    assert entry.fingerprint is not None
    with written_aside(folder) as aside:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, aside / WEIGHTS)
        save_file({"examples": examples.images.contiguous(), "probes": probes.images.contiguous()}, aside / EXAMPLES)
        saved = SavedConfig(
            id=entry.id,
            architecture=entry.architecture,
            config=entry.config,
            training=entry.recipe.training,
            fingerprint=entry.fingerprint,
        )
        (aside / CONFIG).write_text(json.dumps(saved.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        entry = entry.model_copy(update={"files": {name: describe(aside / name) for name in HASHED}})
        (aside / CARD).write_text(card(entry), encoding="utf-8")
        (aside / "entry.yaml").write_text(entry_yaml(entry), encoding="utf-8")


def entry_yaml(entry: Entry) -> str:
    """An entry as a block of ``checkpoints.yaml``."""
    content = entry.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
    content["recipe"]["training"] = entry.recipe.training.model_dump(mode="json")  # a recipe is written out in full
    return yaml.safe_dump({entry.id: content}, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def record(folder: Path, root: Path) -> None:
    """Put a trained folder into a source tree: files under ``checkpoints/``, entry into ``checkpoints.yaml``."""
    path = root / "checkpoints.yaml"
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; give the root of a memzoo source tree.")
    block = (folder / "entry.yaml").read_text(encoding="utf-8").rstrip("\n").split("\n")
    lines = path.read_text(encoding="utf-8").split("\n")
    heads = [i for i, line in enumerate(lines) if line.split(":")[0] == folder.name]
    if len(heads) != 1:
        raise RegistryError(f"{path} has {len(heads)} blocks that begin with '{folder.name}:', needs exactly one.")
    end = heads[0] + 1
    while end < len(lines) and lines[end].startswith(" "):
        end += 1
    replaced = "\n".join([*lines[: heads[0]], *block, *lines[end:]])
    with written_aside(root / "checkpoints" / folder.name) as aside:
        for name in (*HASHED, CARD):
            (aside / name).write_bytes((folder / name).read_bytes())
    partial = path.with_suffix(".yaml.partial")
    partial.write_text(replaced, encoding="utf-8")
    partial.replace(path)
