import os
import random
import shutil
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures are written, never shown
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

import pytest
import torch
from shared_facts import sharing


@pytest.fixture(autouse=True)
def start_from_one_random_state():
    """Let every test start from the same random state."""
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="session")
def facts_folder(tmp_path_factory):
    """Return the folder in which the processes of one run keep the facts that they have measured."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "facts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def shared_facts(facts_folder):
    """Measure each fact of each network once in a run of the tests, for whichever test needs it first."""
    with sharing(facts_folder):
        yield facts_folder


@pytest.fixture
def small(template, tmp_path):
    """Copy the folder's own ``template``, a checkpoint ``small-fc``; return the registry file of the copy."""
    return Path(shutil.copytree(template.parent, tmp_path / "own")) / template.name


@pytest.fixture
def shared_data():
    """Return the folder of the real MNIST and CIFAR-10 files; skip the test where there is none."""
    root = Path(os.environ.get("MEMZOO_TEST_DATA", Path(__file__).parents[2] / "shared/data"))
    if not (root / "cifar-10-batches-bin").is_dir():
        pytest.skip(
            f"no datasets under {root}; MEMZOO_TEST_DATA names a folder with MNIST/raw and cifar-10-batches-bin"
        )
    return root
