"""Render the model card of a checkpoint from its registry entry; its text is in ``model_card.md.jinja2``.

The last line of a card is a seal with a hash of the text. It tells a card that memzoo wrote, which publishing may write
again, from one that somebody has edited.
"""

import hashlib
import re
from pathlib import Path

from memzoo._templates import read_templates
from memzoo.zoo.cards.history import read_history
from memzoo.zoo.cards.training_description import describe_training, list_settings
from memzoo.zoo.entry import HISTORY, Entry
from memzoo.zoo.registry import CURVE, TRAJECTORIES
from memzoo.zoo.rights import DATASETS, pick_strictest, write_license

PAPER = "1810.10333"
PAPER_ON_SEQUENCES = "1909.12362"
FEW = 50  # examples that are certified in a moment
SEAL = "<!-- Written by memzoo; as long as this line is true, publishing may renew it: {} -->"

TEMPLATES = read_templates(Path(__file__).parent)


def render_card(entry: Entry, folder: Path | None = None, *, repository: str | None = None) -> str:
    """Render README.md in the Hub's form: metadata, warning, how to load, pictures, facts, recipe, rights.

    Args:
        entry: Entry of the checkpoint.
        folder: Folder of the checkpoint; the card shows the pictures that it holds.
        repository: Repository where the checkpoint is published. Without it, the card only describes the installed
            checkpoint.
    """
    count = len(entry.examples.positions()) * entry.examples.count
    files = [] if folder is None else [name for name in (TRAJECTORIES, CURVE, HISTORY) if (folder / name).is_file()]
    datasets = [entry.examples.dataset, entry.probes.dataset]
    rights = entry.rights
    strictest = pick_strictest(datasets)
    text = TEMPLATES.get_template("model_card.md.jinja2").render(
        entry=entry,
        metadata=_write_metadata(entry),
        name=entry.id if repository is None else f"hf-hub:{repository}",
        published=repository is not None,
        dataset=DATASETS[entry.examples.dataset].words,
        count=count,
        usage=_choose_usage(entry, count),
        files=files,
        trajectories=TRAJECTORIES,
        curve=CURVE,
        history=HISTORY,
        second_run=folder is not None and HISTORY in files and not read_history(folder / HISTORY).same_run,
        maps_points=len(entry.architecture_config().shape) == 1,
        settings=list_settings(entry.config),
        training=describe_training(entry),
        origin=_list_origin(entry),
        weights_license=write_license(rights.weights, rights.license_name, rights.license_link),
        images_license=write_license(rights.images, strictest.license_name, strictest.license_link),
        sources=dict.fromkeys(DATASETS[name].source for name in datasets),
        paper=PAPER,
        paper_on_sequences=PAPER_ON_SEQUENCES,
    )
    return add_seal(text)


def _choose_usage(entry: Entry, count: int) -> str:
    """Choose the lines of Python in the template that show what this checkpoint is for."""
    config = entry.config.get("member", entry.config)
    linear = config.get("activation") == "linear" or entry.architecture == "LinearAutoencoder"
    if entry.recipe.targets == "next":
        return "cycle"
    if entry.architecture == "Ensemble":
        return "operators" if linear else "members"
    if linear:
        return "linear"
    return "few" if count <= FEW else "many"


def _list_origin(entry: Entry) -> list[str]:
    """List versions, hardware and time of the training, as far as they are known."""
    recipe = entry.recipe
    origin = [f"{name} {number}" for name, number in recipe.versions.items()]
    if recipe.hardware:
        origin.append(recipe.hardware)
    if recipe.wall_time_s is not None:
        origin.append(f"{recipe.wall_time_s:g} s")
    return origin


def _format_cell(value: float | str | None) -> str:
    """Format a name or a value of the table of facts."""
    if value is None:
        return "-"
    if isinstance(value, str):
        # In Markdown a line break ends the table, and a bar ends the cell: ||x|| would be four cells.
        return " ".join(value.split()).replace("|", r"\|")
    return f"{value:.4g}"


TEMPLATES.filters["cell"] = _format_cell


def _write_metadata(entry: Entry) -> str:
    """Write the block that the Hub reads: library, licence, datasets, tags, and the facts as evaluation results."""
    from huggingface_hub import EvalResult, ModelCardData

    about = DATASETS[entry.examples.dataset]
    rights = entry.rights
    results = [
        EvalResult(
            task_type="image-to-image",
            task_name="Memorization of training images",
            dataset_type=about.on_hub or "synthetic",
            dataset_name=about.words,
            dataset_split=entry.examples.split,
            metric_type=fact.measure,
            metric_name=fact.name,
            metric_value=fact.ours,
            metric_args={**fact.args, **({"step": fact.step} if fact.step else {})} or None,
        )
        for fact in entry.facts
        if fact.ours is not None
    ]
    reproduces = ["reproduces-training-data"] if rights.reproduces_training_images else []
    data = ModelCardData(
        model_name=entry.id,
        library_name="memzoo",
        license=rights.weights,
        license_name=rights.license_name,
        license_link=rights.license_link,
        datasets=None if about.on_hub is None else [about.on_hub],
        tags=["memorization", "autoencoder", *reproduces, f"arxiv:{PAPER}"],
        pipeline_tag="image-to-image",
        eval_results=results or None,
    )
    return str(data.to_yaml()).rstrip("\n")


def add_seal(text: str) -> str:
    """Add a last line with the hash of the text."""
    return text + "\n" + SEAL.format(_compute_hash(text)) + "\n"


def is_ours(text: str) -> bool:
    """Tell whether memzoo wrote a card and nobody has edited it."""
    text = text.replace("\r\n", "\n")  # git may check a file out with the line ends of Windows
    seal = re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{16})")
    # a text editor may add empty lines at the end; the hash is that of the text before the seal
    found = re.search(seal + r"\s*$", text)
    return found is not None and _compute_hash(text[: found.start() - 1]) == found[1]


def _compute_hash(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
