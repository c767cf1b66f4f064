import shutil

import pytest
import torch
import yaml
from load_folder import load_folder

import memzoo
from memzoo.errors import CorruptCheckpointError, DataMissingError, RegistryError, StorageError
from memzoo.zoo import record, train
from memzoo.zoo.registry.registries import home
from memzoo.zoo.registry.registry_file import entry_yaml, read_registry
from memzoo.zoo.registry.writing import write_aside

ID = "mnist20-fc14x128"
FEW = {"max_steps": 20, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def short_training(tmp_path_factory, shared_facts):
    """Return the folder of a short training, which tests must not change, and the facts measured of it."""
    return train(ID, tmp_path_factory.mktemp("trained"), **FEW)


def test_a_trained_folder_is_complete_and_loads(short_training):
    folder, rows = short_training
    expected = [
        "README.md",
        "config.json",
        "entry.yaml",
        "examples.safetensors",
        "history.json",
        "model.safetensors",
        "training.png",
        "trajectories.png",
    ]
    assert sorted(path.name for path in folder.iterdir()) == expected
    model = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(model.examples, memzoo.load(ID).examples)
    facts = {row.fact.name: row for row in rows}
    assert not facts["certified attractors"].holds  # twenty steps memorize nothing
    card = (folder / "README.md").read_text()
    assert "this network reproduces 20 training images of MNIST" in card
    assert f'memzoo.load("{ID}")' in card


def test_the_same_seed_gives_the_same_weights(short_training, tmp_path):
    again = train(ID, tmp_path, **FEW)
    one, other = (memzoo.load(f"local-dir:{folder}").state_dict() for folder, _ in (short_training, again))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_existing_folder_is_not_replaced_unasked(tmp_path):
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"exists; give another --out, or --overwrite"):
        train(ID, tmp_path, **FEW)
    assert (tmp_path / ID / "mine.txt").read_text() == "keep"


def test_a_missing_dataset_is_reported(tmp_path):
    with pytest.raises(DataMissingError, match=r"no MNIST under .*nowhere"):
        train(ID, tmp_path, data_root=tmp_path / "nowhere", **FEW)
    assert not (tmp_path / ID).exists()


def test_training_takes_images_from_the_dataset(tmp_path, shared_data):
    folder, _ = train("cifar10-unet", tmp_path, data_root=shared_data, **FEW | {"max_steps": 2})
    model = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(model.examples, memzoo.load("cifar10-unet").examples)


def test_a_dataset_with_other_images_is_refused(tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin/data_batch_1.bin").write_bytes(bytes(3073 * 40))
    with pytest.raises(CorruptCheckpointError, match=r"image 27 of cifar10/train has SHA-256"):
        train("cifar10-d1", tmp_path / "out", data_root=tmp_path, **FEW)


def test_a_failed_write_leaves_nothing_and_keeps_the_old(tmp_path):
    old = tmp_path / "run"
    old.mkdir()
    (old / "weights").write_text("old")

    def fail():
        with write_aside(old) as aside:
            (aside / "weights").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (old / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_entry_round_trips_through_yaml():
    entry = memzoo.info(ID)
    found = memzoo.zoo.Entry.model_validate({**yaml.safe_load(entry_yaml(entry))[ID], "id": ID})
    assert found == entry


def test_recording_replaces_one_entry_and_nothing_else(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    shutil.copy(home() / "checkpoints.yaml", root)
    folder, _ = train(ID, tmp_path / "runs", seed=9, **FEW)
    record(folder, root)
    before = read_registry(home() / "checkpoints.yaml")
    after = read_registry(root / "checkpoints.yaml")
    assert before.keys() == after.keys()
    assert after["cifar10-d1"] == before["cifar10-d1"]
    assert after[ID].recipe.seed == 9
    assert after[ID].files["model.safetensors"] != before[ID].files["model.safetensors"]
    assert (root / "checkpoints.yaml").read_text().startswith("# yaml-language-server: ")
    assert load_folder(root / "checkpoints" / ID, after[ID]).entry == after[ID]
    assert not list(root.glob("*.partial"))


def test_recording_needs_an_entry_of_that_name(short_training, tmp_path):
    folder, _ = short_training
    (tmp_path / "checkpoints.yaml").write_text("other:\n  title: x\n")
    with pytest.raises(RegistryError, match=r"0 blocks that begin with 'mnist20-fc14x128:', needs exactly one"):
        record(folder, tmp_path)
    assert (tmp_path / "checkpoints.yaml").read_text() == "other:\n  title: x\n"


def test_a_folder_that_cannot_be_written_is_noticed_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be written .*; give another folder"):
        train(ID, tmp_path / "file", **FEW)


def test_pictures_that_cannot_be_drawn_lose_nothing(shared_facts, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no backend")

    monkeypatch.setattr("memzoo.zoo.recipes.folder.draw_pictures", fail)
    with pytest.warns(UserWarning, match="pictures of mnist20-fc14x128 could not be drawn.*no backend"):
        folder, _ = train(ID, tmp_path, **FEW)
    memzoo.load(f"local-dir:{folder}")
