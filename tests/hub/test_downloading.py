"""Whole checkpoints in a folder, for machines without network."""

import pytest

from memzoo.zoo.registry.registries import home


def test_a_downloaded_folder_works_without_the_hub(hub, client, publication, tmp_path):
    to = tmp_path / "cluster"
    client.run(f"""
        from memzoo.cli import main
        assert main(["download", "small-fc", "--to", {str(to)!r}]) == 0
    """)
    client.empty()
    asked = len(hub.log)
    client.run(
        f"""
        for step in (None, 100):
            memzoo.load("small-fc", step=step), memzoo.load("local-dir:{to}/checkpoints/small-fc", step=step)
        assert memzoo.verify("small-fc").verdict == "verified"
        memzoo.download("small-fc", {str(to)!r})  # complete: nothing is fetched
        """,
        MEMZOO_DIR=str(to),
        HF_HUB_OFFLINE="1",
    )
    assert len(hub.log) == asked


def test_a_damaged_folder_is_replaced_as_a_whole(client, publication, tmp_path):
    to = tmp_path / "cluster"
    client.run(f"memzoo.download('small-fc', {str(to)!r})")
    weights = to / "checkpoints/small-fc/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    client.run(f"memzoo.download('small-fc', {str(to)!r})")
    assert weights.read_bytes() == (publication.source / "model.safetensors").read_bytes()


def test_a_damaged_folder_that_is_in_use_is_replaced_too(client, publication, tmp_path):
    to = tmp_path / "cluster"
    client.run(f"memzoo.download('small-fc', {str(to)!r})")
    folder = to / "checkpoints/small-fc"
    assert {"README.md", "training.png", "trajectories.png"} <= {path.name for path in folder.iterdir()}
    for name in ("model.safetensors", "entry.yaml"):
        (folder / name).write_bytes(b"")
        client.run(f"memzoo.download('small-fc', {str(to)!r})", MEMZOO_DIR=str(to))
        client.run("memzoo.load('small-fc')", MEMZOO_DIR=str(to), HF_HUB_OFFLINE="1")


def test_a_stranger_cannot_take_the_place_of_another_checkpoint(hub, client, publication, tmp_path):
    entry = (
        hub.read("zoo/small-fc", "entry.yaml").replace(b"small-fc:", b"mnist20-fc14x128:").replace(b"[small]", b"[]")
    )
    hub.write("zoo/small-fc", {"entry.yaml": entry})
    client.run(f"""
        with pytest.raises(errors.UnknownCheckpointError, match="another checkpoint of the name 'mnist20-fc14x128' in"):
            memzoo.download("hf-hub:zoo/small-fc@main", {str(tmp_path / "cluster")!r})
    """)


def test_downloading_all_continues_after_one_that_fails(hub, client, publication, tmp_path):
    hub.delete("zoo/small-fc")
    said = client.run(f"""
        from memzoo.cli import main
        memzoo.list_models = lambda: ["small-fc", "mnist20-fc14x128"]
        assert main(["download", "--all", "--to", {str(tmp_path / "cluster")!r}]) == 1
    """)
    assert "[1/2] small-fc: FAILED" in said
    assert "the Hub has no such repository" in said
    assert "1 of 2 are there; to use them: export MEMZOO_DIR=" in said
    there = tmp_path / "cluster/checkpoints"
    assert [path.name for path in there.iterdir()] == ["mnist20-fc14x128"]
    ours = home() / "checkpoints/mnist20-fc14x128/model.safetensors"
    assert (there / "mnist20-fc14x128/model.safetensors").read_bytes() == ours.read_bytes()


def test_a_full_disk_leaves_nothing_half_written(client, publication, tmp_path):
    client.run("memzoo.load('small-fc')")
    client.run(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
        with pytest.raises(errors.StorageError, match="could not be written, the disk or a quota is full.*nothing"):
            memzoo.download("small-fc", {str(tmp_path / "cluster")!r})
    """)
    assert not list((tmp_path / "cluster").rglob("*.*"))


@pytest.mark.parametrize("name", ["hf-hub:zoo/small-fc", "hf-hub:zoo/small-fc@v1"])
def test_a_repository_of_anyone_can_be_downloaded(client, publication, tmp_path, name):
    client.run(f"""
        folder = memzoo.download({name!r}, {str(tmp_path / "cluster")!r})
        assert memzoo.load(f"local-dir:{{folder}}").entry.id == "small-fc"
    """)
