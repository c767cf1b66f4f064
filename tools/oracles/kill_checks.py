"""Kill what writes files at a random moment, look at what it leaves, and do it once more to the end.

Half of the moments are drawn from the time that it takes, and half from the changes of files that it makes.
"""

import atexit
import functools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import memzoo
from memzoo.cli import main
from memzoo.data import image_sha256, points
from memzoo.models import FullyConnected
from memzoo.runs import LAST, check_checkpoint
from memzoo.zoo.recipes import unfinished_run
from memzoo.zoo.registry import entry_yaml, parse_registry
from tools.oracles.outcomes import Case, Outcome

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/support"))
from hub_server import Server
from small_checkpoint import small_checkpoint

ROLL = "test-roll"
REPOSITORY = "zoo/small-fc"
TOKEN = "hf_right"
LONGEST_S = 120
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink"}
"""Audit events of Python at which a file or a folder changes."""
RUN = [
    *("fit", "--model", "FullyConnected", "--model.depth", "2", "--model.width", "8", "--data", "MNIST20"),
    *("--data.batch_size", "10", "--trainer.max_steps", "12", "--trainer.logger", "false"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.accelerator", "cpu", "--trainer.callbacks+=AttractorCallback"),
    *("--trainer.callbacks.every_n_epochs=2", "--trainer.callbacks.steps=5", "--out", "run", "--resume"),
]
State = dict[str, Any]
"""What files hold, by their names."""


@dataclass(frozen=True)
class Action:
    """Something that writes files."""

    act: Callable[[], None]
    """Do it in the current folder, or go on with it."""
    read: Callable[[Path], State]
    """Read what it has written; raise if a file is not whole."""
    prepare: Callable[[Path], None] | None = None
    """Write what it needs into an empty folder."""
    needs_hub: bool = False
    is_long: bool = False
    """Whether there are whole states between that at the beginning and that at the end."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of its process."""
        return _hub().environment if self.needs_hub else {}


# Training from settings -----------------------------------------------------------------------------------------------


def _fit() -> None:
    status = main(RUN)
    if status:
        raise RuntimeError(f"memzoo fit ended with {status}")


def _read_run(place: Path) -> State:
    """Read weights, history and images of a run."""
    found: State = {}
    for path in (place / "run").glob("*.ckpt"):
        check_checkpoint(path)
        if path.name == LAST:
            found[path.name] = torch.load(path, weights_only=True)["state_dict"]
    return found | _read_files(place / "run", "*.json", "*.safetensors", "*.yaml")


# Training from a recipe -----------------------------------------------------------------------------------------------


def _train() -> None:
    unfinished_run.SAVE_INTERVAL = timedelta(0)
    memzoo.register("registry.yaml")
    if not Path("runs", ROLL).exists():
        memzoo.zoo.train(ROLL, "runs", enable_progress_bar=False, enable_model_summary=False)


def _write_recipe(place: Path) -> None:
    """Write a registry with a small network on fifty points of the Swiss roll."""
    examples = points("swissroll", range(50), (3,))
    probes = points("swissroll", range(0, 1000, 50), (3,), split="test")
    hashes = [image_sha256(image) for image in probes.images]
    content = {
        "title": "A test",
        "architecture": "FullyConnected",
        "config": {"shape": [3], "depth": 3, "width": 64},
        "examples": {"dataset": "swissroll", "split": "train", "indices": "0:50", "sha256": examples.digest},
        "probes": {"dataset": "swissroll", "split": "test", "indices": list(probes.indices), "sha256": hashes},
        "recipe": {
            "training": {"optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "steps": 60},
            "seed": 3,
            "batch_size": 20,
            "steps_per_epoch": 6,
            "keep": [30],
        },
        "facts": [{"name": "loss", "measure": "mean_squared_error", "tolerance": 1e-6}],
        "rights": {"weights": "mit", "images": "mit", "reproduces_training_images": True},
    }
    path = place / "registry.yaml"
    (entry,) = parse_registry(json.dumps({ROLL: content}), path).values()
    path.write_text(entry_yaml(entry))


def _read_trained(place: Path) -> State:
    """Read the folder of a checkpoint, and check the state of an unfinished run."""
    for path in (place / f"runs/{ROLL}.unfinished").glob("*.ckpt"):
        check_checkpoint(path)
    folder = place / "runs" / ROLL
    if folder.exists():
        memzoo.load(f"local-dir:{folder}")
    return _read_files(folder, "*.json", "*.safetensors")


# Saving ---------------------------------------------------------------------------------------------------------------


def _save() -> None:
    _save_network(Path(), seed=1)


def _save_another(place: Path) -> None:
    """Write the folder that will be replaced."""
    _save_network(place, seed=0)


def _save_network(place: Path, seed: int) -> None:
    torch.manual_seed(seed)
    model = FullyConnected(shape=(1, 28, 28), depth=2, width=64)
    images = torch.rand(30, 1, 28, 28)
    memzoo.zoo.save(model, place / "saved", examples=images[:20], probes=images[20:], overwrite=True)


def _read_saved(place: Path) -> State:
    memzoo.load(f"local-dir:{place / 'saved'}")
    return _read_files(place / "saved", "*")


# Downloading and publishing -------------------------------------------------------------------------------------------


def _download() -> None:
    memzoo.download("small-fc", "fetched")


def _prepare_download(place: Path) -> None:
    """Write a registry that names a commit of the Hub, and no files."""
    (place / "registry.yaml").write_text(_hub().registry)
    _hub().reset()


def _read_fetched(place: Path) -> State:
    return _read_files(place / "fetched", "**/*")


def _publish() -> None:
    result = memzoo.publish("small-fc", REPOSITORY, record="registry.yaml")
    (entry,) = parse_registry(Path("registry.yaml").read_text(), Path("registry.yaml")).values()
    if entry.hub is None or entry.hub.tag != "v2" or entry.hub.commit != result.commit:
        raise RuntimeError(f"{result.commit} was published, and recorded is {entry.hub}")


def _prepare_publication(place: Path) -> None:
    """Write another network than the one that lies on the Hub."""
    torch.manual_seed(0)
    small_checkpoint(place, width=6)
    _hub().reset()


def _read_published(place: Path) -> State:
    """Read the files on the Hub, and check that the registry can be read."""
    path = place / "registry.yaml"
    parse_registry(path.read_text(), path)
    hub = _hub().server.hub
    commit = hub.head(REPOSITORY)
    assert commit is not None
    return {row["path"]: hub.read(REPOSITORY, row["path"]) for row in hub.tree(REPOSITORY, commit)}


class _Hub:
    """A hub with one checkpoint."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memzoo-hub-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.server = Server(self.folder / "hub", {TOKEN: "zoo"}, xet=False)
        source = self.folder / "source"
        source.mkdir()
        small_checkpoint(source)
        _run_to_its_end(_publish_first, source, self.environment)
        self.registry = (source / "registry.yaml").read_text()
        shutil.copytree(self.server.hub.path(REPOSITORY), self.folder / "copy.git")

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of a machine that uses this hub."""
        return {
            "HF_ENDPOINT": self.server.address,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "MEMZOO_REGISTRIES": "registry.yaml",
            "MEMZOO_DIR": "",
        }

    def reset(self) -> None:
        """Put the repository back."""
        shutil.rmtree(self.server.hub.path(REPOSITORY))
        shutil.copytree(self.folder / "copy.git", self.server.hub.path(REPOSITORY))


def _publish_first() -> None:
    memzoo.publish("small-fc", REPOSITORY, record="registry.yaml")


@functools.cache
def _hub() -> _Hub:
    return _Hub()


ACTIONS = {
    "train": Action(_train, _read_trained, _write_recipe),
    "fit": Action(_fit, _read_run, is_long=True),
    "publish": Action(_publish, _read_published, _prepare_publication, needs_hub=True),
    "download": Action(_download, _read_fetched, _prepare_download, needs_hub=True),
    "save": Action(_save, _read_saved, _save_another),
}


# What is done with each -----------------------------------------------------------------------------------------------


def draw_kill_cases(seed: int, count: int) -> Iterator[Case]:
    """Draw moments, and kill each of the actions in turn."""
    for number in range(count):
        action = list(ACTIONS)[number % len(ACTIONS)]
        yield f"{action} {seed}/{number}.", functools.partial(check_kill, action, seed, number)


def check_kill(name: str, seed: int, number: int) -> list[Outcome]:
    """Kill an action at a moment that is drawn, and do it once more."""
    action = ACTIONS[name]
    drawn = random.Random(f"{seed}/{number}")
    whole = _measure(name)
    at_change = drawn.randrange(whole.changes) if number // len(ACTIONS) % 2 else None
    after_s = math.inf if at_change is not None else drawn.uniform(0, whole.seconds)
    moment = f"after {after_s:.3f} s" if at_change is None else f"at change {at_change} of {whole.changes}"
    with tempfile.TemporaryDirectory(prefix="memzoo-kill-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Path(folder)
        if action.prepare is not None:
            action.prepare(place)
        before = action.read(place)
        _kill(action, place, at_change, after_s)
        outcomes = [_judge(name, "left", lambda: _check_left(action, place, before, whole.state), moment)]
        return [*outcomes, _judge(name, "resumed", lambda: _check_resumed(action, place, whole.state), moment)]


@dataclass(frozen=True)
class _Whole:
    """What comes, and how long it takes, if nothing is killed."""

    state: State
    seconds: float
    changes: int


@functools.cache
def _measure(name: str) -> _Whole:
    """Do an action without a kill."""
    action = ACTIONS[name]
    with tempfile.TemporaryDirectory(prefix="memzoo-kill-") as folder:
        place = Path(folder)
        if action.prepare is not None:
            action.prepare(place)
        begun = time.monotonic()
        _run_to_its_end(action.act, place, action.environment)
        seconds = time.monotonic() - begun
        return _Whole(action.read(place), seconds, int((place / "changes.txt").read_text()))


def _check_left(action: Action, place: Path, before: State, after: State) -> str:
    """Say what is wrong with what was left."""
    left = action.read(place)
    if action.is_long or any(_are_equal(left, state) for state in (before, after)):
        return ""
    return f"neither the old nor the new: {sorted(left)}"


def _check_resumed(action: Action, place: Path, after: State) -> str:
    """Do it once more, and say what differs from what comes without a kill."""
    _run_to_its_end(action.act, place, action.environment)
    found = action.read(place)
    names = [name for name in found.keys() | after.keys() if not _are_equal(found.get(name), after.get(name))]
    return f"other content: {sorted(names)}" if names else ""


def _judge(name: str, measure: str, check: Callable[[], str], moment: str) -> Outcome:
    """Turn what is wrong, or an error, into an outcome."""
    try:
        wrong = check()
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return Outcome(name, measure, "wrong" if wrong else "right", f"{moment}: {wrong}" if wrong else "")


# Processes ------------------------------------------------------------------------------------------------------------


def _start(act: Callable[[], None], place: Path, environment: dict[str, str], at_change: int | None) -> Any:
    """Start an action in a process in which nothing of the Hub's client is imported yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning.pytorch", "tools.oracles.__main__", __name__])
    process = context.Process(target=_work, args=(act, str(place), environment, at_change))
    process.start()
    return process


def _work(act: Callable[[], None], place: str, environment: dict[str, str], at_change: int | None) -> None:
    """Do an action in a folder; its last words and the number of its changes are left there."""
    assert "huggingface_hub" not in sys.modules  # it reads its variables when it is imported
    os.chdir(place)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(environment, HF_HOME=f"{place}/home")
    torch.set_num_threads(1)
    count = 0

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if writes or event in CHANGES:
            if count == at_change:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(see)
    act()
    Path("changes.txt").write_text(str(count))


def _kill(action: Action, place: Path, at_change: int | None, after_s: float) -> None:
    """Do an action, and kill it."""
    process = _start(action.act, place, action.environment, at_change)
    process.join(min(after_s, LONGEST_S))
    process.kill()
    process.join()


def _run_to_its_end(act: Callable[[], None], place: Path, environment: dict[str, str]) -> None:
    """Do an action to its end, which must be a good one."""
    process = _start(act, place, environment, None)
    process.join(LONGEST_S)
    process.kill()
    process.join()
    if process.exitcode != 0:
        lines = (place / "said.txt").read_text().splitlines()
        raise RuntimeError(f"ended with {process.exitcode}: {' '.join(lines[-3:])}")


# Files ----------------------------------------------------------------------------------------------------------------


def _read_files(folder: Path, *patterns: str) -> State:
    """Read files, without the times in them; raise if one cannot be read."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    names = {str(path.relative_to(folder)): path for path in paths}
    # What is written under another name, which begins with a point, is not there for those who read.
    return {name: _read_file(path) for name, path in names.items() if not f"/{name}".count("/.")}


def _read_file(path: Path) -> Any:
    if path.name == "history.json":
        content = json.loads(path.read_text())
        for row in content["measured"]:
            del row["seconds"]
        return content
    return load_file(path) if path.suffix == ".safetensors" else path.read_bytes()


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_are_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other
