"""The model card holds what it must, and tells whether somebody has edited it."""

import re

import pytest
import torch
import yaml
from PIL import Image

import memzoo
from memzoo.dynamics import iterate
from memzoo.zoo.cards import pictures
from memzoo.zoo.cards.model_card import add_seal, is_ours, render_card
from memzoo.zoo.cards.pictures import draw_pictures, draw_training, draw_trajectories
from memzoo.zoo.registry.registries import home

SOURCE = (home() / "pyproject.toml").is_file()


@pytest.mark.skipif(not SOURCE, reason="needs the source tree")
@pytest.mark.parametrize("id", memzoo.list_models())
def test_the_card_in_the_tree_is_that_of_the_entry(id):
    folder = home() / "checkpoints" / id
    entry = memzoo.info(id)
    text = (folder / "README.md").read_text()
    assert text == render_card(entry, folder)
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["library_name"] == "memzoo"
    assert {"arxiv:1810.10333", "reproduces-training-data"} <= set(metadata["tags"])
    metrics = {m["name"]: m["value"] for r in metadata["model-index"][0]["results"] for m in r["metrics"]}
    assert metrics == {fact.name: fact.ours for fact in entry.facts}
    assert f"reproduces {len(entry.examples.positions()) * entry.examples.count} training images" in text
    pictures = {"trajectories.png"} if entry.recipe.closed_form else {"training.png", "trajectories.png"}
    expected = {*entry.files, "README.md", *pictures}
    assert {path.name for path in folder.iterdir()} == expected


def test_bars_and_line_breaks_in_a_fact_stay_in_their_cell():
    entry = memzoo.info("cifar10-d1")
    fact = entry.facts[0].model_copy(update={"name": "share of\nall |x|", "paper": "|a| or b", "step": None})
    text = render_card(entry.model_copy(update={"facts": [fact]}))
    rows = [line for line in text.splitlines() if line.startswith("| share")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rows[0])[1:-1]]
    assert cells[:2] == [r"share of all \|x\|", r"\|a\| or b"]
    assert len(cells) == 4  # as many as the heading has


def test_a_seal_is_broken_by_any_edit():
    text = add_seal("# Title\n\nWords.\n")
    assert is_ours(text)
    assert is_ours(text.replace("\n", "\r\n"))  # a checkout on Windows is no edit
    assert is_ours(text + "\n\n")
    assert not is_ours(text.replace("Words", "Other words"))
    assert not is_ours(text + "More.\n")
    assert not is_ours(text.rsplit("<!--", 1)[0])
    assert not is_ours("# By hand\n")


def test_drawn_images_are_no_dataset_of_the_hub():
    text = render_card(memzoo.info("table2-1"))
    metadata = yaml.safe_load(text.split("---")[1])
    assert "datasets" not in metadata
    assert metadata["model-index"][0]["results"][0]["dataset"]["type"] == "synthetic"
    assert "![" not in text  # no folder, no pictures


def test_the_card_says_that_the_course_is_that_of_a_second_run():
    folder = home() / "checkpoints/mnist20-fc14x128"
    assert not memzoo.zoo.read_history(folder / "history.json").same_run
    assert "that of a second run of the same recipe and seed" in render_card(memzoo.info("fig3b"), folder)


def test_pictures_are_the_same_every_time(tmp_path):
    history = memzoo.zoo.read_history(home() / "checkpoints/mnist20-fc14x128/history.json")
    model = memzoo.load("mnist20-fc14x128")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw_pictures(model, history, tmp_path / name)
    for picture in ("training.png", "trajectories.png"):
        expected = (tmp_path / "b" / picture).read_bytes()
        assert (tmp_path / "a" / picture).read_bytes() == expected
        with Image.open(tmp_path / "a" / picture) as opened:
            assert opened.mode == "P"  # few colours, half the bytes


def test_pictures_show_the_orbits_and_the_measurements():
    figure = draw_trajectories(memzoo.load("table2-1"))  # one row a member
    assert len(figure.axes) == 5 * 8
    expected = [
        "start",
        *(f"t = {t}" for t in (1, 2, 5, 10, 20, 200)),
        "nearest\nimage",
    ]
    assert [axes.get_title() for axes in figure.axes[:8]] == expected
    history = memzoo.zoo.read_history(home() / "checkpoints/mnist20-fc14x128/history.json")
    above, below = draw_training(history, several=False).axes
    expected = history.loss[-1][1]
    assert above.lines[0].get_ydata()[-1] == expected
    assert below.lines[0].get_ydata()[-1] == history.measured[-1]["attractor/fraction"] == 1


def test_in_a_picture_of_an_ensemble_a_member_that_diverges_does_not_end_the_orbits_of_the_others():
    model = memzoo.load("pixels2-conv5x1-half")
    start = model.probes[:1]
    assert iterate(model, start, 200).diverged.all()  # all members as one point
    columns = dict(pictures._compute_columns(model, (1, 200)))
    for row in range(3):
        alone = iterate(model.member(row), start[:, row], 200).points
        assert alone.isfinite().all()
        assert torch.equal(columns["t = 200"][row], alone[0])
