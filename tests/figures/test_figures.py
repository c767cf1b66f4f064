"""The catalogue of figures, the small figures made from their checkpoints, and the parts of every figure."""

import importlib
import json
import math
import pkgutil
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.image import imread
from small_checkpoint import small_checkpoint
from stand_in import draw_line

import memzoo
from memzoo.errors import UnknownCheckpointError
from memzoo.figures import (
    FIGURES,
    Claim,
    Figure,
    Material,
    beyond,
    draw_trajectories,
    paper,
    reproduce,
    reproduce_all,
)
from memzoo.models import FullyConnected
from memzoo.zoo.registry import registries

SMALL = (
    "fig1a",
    "fig3b",
    "fig4a",
    "fig7",
    "fig9",
    "fig10",
    "table1",
    "table2",
    "along-training",
    "capacity",
    "cycles",
    "activations",
)
"""Figures whose checkpoints are measured in a moment; the facts of all others are recomputed with their checkpoints."""

LIKE_ANOTHER = ("fig4b", "fig5a", "fig11")
"""Figures that are neither small nor have a file of tests: their parts are those of a figure that has."""
BORROWED = ("basins", "recall", "memories")
"""Figures made from networks of the paper's figures, whose entries do not name them."""
ROOT = Path(__file__).parents[2]


def find_figures():
    """Return every figure that a file of memzoo.figures.paper or .beyond defines, with the file, by its name."""
    found = {}
    for folder in (paper, beyond):
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            defined = vars(importlib.import_module(module.name)).values()
            found |= {value.name: (value, module.name) for value in defined if isinstance(value, Figure)}
    return found


class Made(dict):
    """Hold figures by name, each made when it is first asked for."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __missing__(self, name):
        self[name] = reproduce(name, self.folder)
        return self[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory, shared_facts):
    """Make each small figure once, in ``made.folder``."""
    return Made(tmp_path_factory.mktemp("figures"))


@pytest.mark.parametrize("name", sorted(find_figures().keys() | FIGURES.keys()))
def test_every_figure_is_in_the_catalogue_with_its_checkpoints_its_tests_and_its_section(name):
    figure, module = find_figures().get(name, (None, ""))
    assert figure, f"no file of memzoo/figures/paper or memzoo/figures/beyond has a Figure of the name {name}"
    file = f"{module.replace('.', '/')}.py"
    assert FIGURES.get(name) is figure, (
        f"{name} is not in the catalogue: add its import and its row in FIGURES to memzoo/figures/catalogue.py"
    )
    assert figure.ids(), (
        f"{name} has no checkpoints: name it under `figures` in their entries in checkpoints.yaml, or give it a "
        f"function `checkpoints=` in {file}"
    )
    silent = [id for id in figure.ids() if name not in memzoo.info(id).figures]
    assert not silent or name in BORROWED, (
        f"checkpoints.yaml does not name {name} under `figures` of {', '.join(silent)}: add it there, or to BORROWED "
        "in tests/figures/test_figures.py where their entries shall not name it"
    )
    assert figure.title, f"{name} has no title: add it in {file}"
    assert figure.caption, f"{name} has no caption, which says how to read the picture: add it in {file}"
    folder, stem = module.split(".")[-2:]
    tests = f"tests/figures/{folder}/test_{stem}.py"
    assert name in {*SMALL, *LIKE_ANOTHER} or (ROOT / tests).exists(), (
        f"nothing tests {name}: write {tests}, or add it to SMALL in tests/figures/test_figures.py where its "
        "checkpoints are measured in a moment"
    )
    if folder == "beyond":
        pages = [page.read_text() for page in (ROOT / "docs").glob("*.md")]
        command = re.compile(rf"memzoo reproduce {name}(?![\w-])")
        assert any(command.search(page) for page in pages), (
            f"no page shows {name}: add a section with `memzoo reproduce {name} --out out` to docs/beyond.md"
        )


def test_every_figure_of_the_registry_is_there():
    named = {figure for id in memzoo.list_models() for figure in memzoo.info(id).figures}
    unknown = {name for name in named if not name.startswith("theorem")} - FIGURES.keys()
    assert not unknown, (
        f"checkpoints.yaml names {', '.join(sorted(unknown))}: add the figure to FIGURES in memzoo/figures/catalogue.py"
    )
    for name in named & FIGURES.keys():
        left_out = set(memzoo.list_models(figure=name)) - set(FIGURES[name].ids())
        assert not left_out, f"checkpoints.yaml names {name} under {', '.join(left_out)}, not among its `checkpoints=`"


@pytest.mark.parametrize("name", FIGURES)
def test_claims_are_about_facts_of_their_checkpoints(name):
    facts = {fact.name for id in FIGURES[name].ids() for fact in memzoo.info(id).facts}
    unknown = set(FIGURES[name].claims) - facts
    assert not unknown, f"{name} claims {', '.join(sorted(unknown))}, which is no fact of its checkpoints"


@pytest.mark.parametrize("name", SMALL)
def test_a_figure_writes_pictures_and_numbers(made, name):
    result = made[name]
    folder = made.folder
    content = json.loads((folder / f"{name}.json").read_text())
    assert content["checkpoints"] == FIGURES[name].ids()
    assert content["holds"] == result.holds
    expected = [row.quantity for row in result.rows]
    assert [row["quantity"] for row in content["rows"]] == expected
    assert all({"paper", "ours", "holds", "needed", "checkpoint"} <= row.keys() for row in content["rows"])
    small = {key for key, x in result.arrays.items() if x.numel() <= 5000}
    assert set(content["arrays"]) == small
    picture = imread(folder / f"{name}.png")
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.1  # something is drawn
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert not list(folder.glob("*.part*"))


@pytest.mark.parametrize("name", SMALL)
def test_numbers_are_the_facts_of_the_checkpoints(made, name):
    matched = 0
    for id in FIGURES[name].ids():
        for fact in memzoo.info(id).facts:
            step = f" (step {fact.step})" if fact.step else ""
            shown = fact.name + step
            rows = [row for row in made[name].rows if row.checkpoint == id and row.quantity.endswith(shown)]
            for row in rows:
                assert row.ours == pytest.approx(fact.ours, abs=fact.tolerance + 1e-12), (id, shown)
            matched += len(rows)
    assert matched or name.startswith("table")  # of these the rows are medians and ranges: below


def test_figure_4_draws_each_network_at_the_eps_of_its_facts(made):
    result = made["fig4a"]
    facts = [{fact.name: fact for fact in memzoo.info(id).facts} for id in result.checkpoints]
    recorded = torch.tensor([fact["R_200"].ours for fact in facts])
    found = result.arrays["recovery"][:, 200]
    torch.testing.assert_close(found, recorded, atol=2e-3, rtol=0)
    assert {fact["R_200"].args["eps"] for fact in facts} == {0.5, 1.0}
    figure = result.draw()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["200 training images, eps = 0.5", "1000 training images, eps = 1"]
    bounded = [axes for axes in figure.axes if any("starts" in text.get_text() for text in axes.texts)]
    assert [axes.get_title() for axes in bounded] == titles[1:]  # 200 starts for 200 images are no bound
    plt.close(figure)


def test_figure_7_shows_the_bracket_of_the_paper(made):
    first = made["fig7"].rows[0]
    assert (first.paper, first.ours, first.holds) == ("1, 1, [< 2e-2]", "1, 1, [< 2e-3]", True)


def test_figure_3b_takes_arbitrary_inputs_to_images_in_one_iteration(made):
    result = made["fig3b"]
    assert result.holds
    row = {row.quantity: row for row in result.rows}
    for start in ("starts", "Gaussians like the images", "standard Gaussians"):
        assert row[f"{start} at an example by t = 1"].ours > 0.79
        assert row[f"{start} at an example by t = 200"].ours == 1
    assert row["R_1"].ours == 1


def test_figure_10_says_where_it_falls_short(made):
    result = made["fig10"]
    assert not result.holds
    short = [row for row in result.rows if row.holds is False]
    assert [row.quantity for row in short] == ["networks that take 95 % of Gaussian inputs to an image by t = 200"]
    assert "FALLS SHORT" in str(result)
    assert result.notes


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_tables_show_the_facts_of_their_rows(made, table):
    result = made[table]
    ids = FIGURES[table].ids()
    assert len(ids) == {"table1": 12, "table2": 9}[table]
    assert list(result.checkpoints) == ids
    for id, row in zip(ids, result.rows, strict=True):
        fact = memzoo.info(id).facts[0]
        assert row.checkpoint == id
        if table == "table2":
            assert row.paper == fact.paper
            assert row.holds == (fact.ours >= 4)
        else:
            assert row.paper == f"1, 1, {fact.paper:.2f}, ..."
            medians = [fact for fact in memzoo.info(id).facts if fact.measure == "median_eigenvalue"]
            leading = {median.args["rank"]: median.ours for median in medians}
            near = all(abs(leading[rank] - 1) <= 0.1 for rank in (1, 2))
            assert row.holds == (near and abs(fact.ours - fact.paper) <= 0.1)
            assert f", {fact.ours:.2f}, ..." in row.ours


# Another checkpoint in its place -----------------------------------------------------------------------------------


def test_another_checkpoint_can_take_its_place_and_falls_short(tmp_path):
    from memzoo.zoo import train

    folder, _ = train("mnist20-fc14x128", tmp_path, max_steps=5, enable_progress_bar=False, enable_model_summary=False)
    result = reproduce("fig3b", tmp_path / "out", checkpoint=f"local-dir:{folder}")
    assert result.checkpoints == (f"local-dir:{folder}",)
    assert {row.checkpoint for row in result.rows} == {f"local-dir:{folder}"}
    assert result.rows[0].ours == 0.0
    assert result.rows[0].holds is False
    assert not result.holds


def test_what_was_recorded_of_ours_is_not_reported_of_theirs(tmp_path):
    result = reproduce("fig11", tmp_path, checkpoint="mnist10-fc5x32")
    assert not [row for row in result.rows if "as recorded" in row.quantity]
    assert not result.notes
    assert {row.checkpoint for row in result.rows} == {"mnist10-fc5x32"}


def test_too_few_starts_are_said_plainly(tmp_path):
    model = memzoo.load("mnist10-cycle-fc7x64")
    memzoo.save(model, tmp_path / "few", examples=model.examples, probes=model.probes[:5])
    with pytest.raises(UnknownCheckpointError, match=r"few cannot take the place of mnist10-cycle-fc7x64: 5 held-out"):
        reproduce("cycles", tmp_path / "out", checkpoint=f"local-dir:{tmp_path / 'few'}")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    with pytest.raises(
        UnknownCheckpointError, match=r"mnist20-fc14x128-tanh is a FullyConnected, nonlinear.*and cifar10-d1 is a D1"
    ):
        reproduce("fig3b", tmp_path, checkpoint="cifar10-d1")
    assert not list(tmp_path.iterdir())


def test_a_table_is_not_made_from_one_checkpoint(tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"table2 is made from 9 checkpoints, so that cifar10-d1 cannot"):
        reproduce("table2", tmp_path, checkpoint="cifar10-d1")


def test_unknown_figure_names_the_nearest(tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"no figure 'fig3'\. Did you mean fig3"):
        reproduce("fig3", tmp_path)
    assert not list(tmp_path.iterdir())


# Missing and altered checkpoints -----------------------------------------------------------------------------------


@pytest.fixture
def three(monkeypatch, tmp_path):
    """Make figures of a checkpoint that is not there, of one whose weights were altered, and of a sound one."""
    monkeypatch.setattr(registries, "_registered", [])
    (tmp_path / "altered").mkdir()
    memzoo.register(small_checkpoint(tmp_path / "altered"))
    weights = tmp_path / "altered/checkpoints/small-fc/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))

    def figure(name, id):
        return Figure(name, name, lambda m: {"x": m.model().examples}, draw_line, checkpoints=lambda: [id])

    figures = {
        "absent": figure("absent", "no-such-network"),
        "altered": figure("altered", "small-fc"),
        "sound": figure("sound", "uniform1-4x4-widerelu10000"),
    }
    monkeypatch.setattr("memzoo.figures.catalogue.FIGURES", figures)
    return figures


def test_all_go_on_after_a_checkpoint_that_is_missing_or_was_altered(three, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "altered.png").write_bytes(b"of an earlier run")
    begun = []
    absent, altered, sound = reproduce_all(out, begins=begun.append)
    assert begun == list(three)
    assert "no checkpoint 'no-such-network'" in absent.failed
    assert "SHA-256" in altered.failed
    assert not sound.failed
    assert (absent.holds, altered.holds, sound.holds) == (False, False, True)
    assert "NOT MADE" in str(altered)
    assert json.loads((out / "altered.json").read_text())["failed"] == altered.failed
    assert not (out / "altered.png").exists()
    assert (out / "sound.png").exists()
    assert not (out / "absent.png").exists()


def test_all_go_on_after_any_other_error(three, tmp_path, monkeypatch):
    def broken(_):
        raise ValueError("a slip in this figure")

    slip = Figure("slip", "Slip", broken, draw_line, checkpoints=lambda: ["uniform1-4x4-widerelu10000"])
    monkeypatch.setitem(three, "slip", slip)
    found = list(reproduce_all(tmp_path, ["slip", "sound"]))
    assert [one.failed for one in found] == ["ValueError: a slip in this figure", ""]


@pytest.fixture
def light(monkeypatch):
    """Make a figure that loads no checkpoint."""
    figures = {
        "sound": Figure("sound", "Sound", lambda _: {}, draw_line, checkpoints=lambda: ["cifar10-d1"], rows=no_rows)
    }
    monkeypatch.setattr("memzoo.figures.catalogue.FIGURES", figures)
    return figures


def no_rows(*_):
    return []


def test_all_stop_where_the_folder_cannot_be_written(light, tmp_path):
    out = tmp_path / "out"
    out.write_text("a file in the place of the folder")
    with pytest.raises(FileExistsError, match="out"):
        next(reproduce_all(out))
    assert out.read_text() == "a file in the place of the folder"


def test_all_stop_where_a_picture_cannot_be_written(light, tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    light["full"] = Figure("full", "Full", lambda _: {}, full, checkpoints=lambda: ["cifar10-d1"], rows=no_rows)
    with pytest.raises(OSError, match="No space left on device"):
        next(reproduce_all(tmp_path, ["full", "sound"]))
    assert not list(tmp_path.glob("sound*"))


def test_a_name_that_no_figure_has_stops_all(light, tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"no figure 'sounds'\. Did you mean sound"):
        next(reproduce_all(tmp_path, ["sounds", "sound"]))
    assert not list(tmp_path.iterdir())


def test_a_figure_whose_checkpoints_cannot_be_named_says_why(light, tmp_path):
    def missing():
        raise KeyError("table2-1")

    light["slip"] = Figure("slip", "Slip", lambda _: {}, draw_line, checkpoints=missing, notes=("a note",))
    light["none"] = Figure("none", "None", lambda _: {}, draw_line, checkpoints=list)
    slip, none, sound = reproduce_all(tmp_path, ["slip", "none", "sound"])
    expected = ("KeyError: 'table2-1'", (), ("a note",))
    assert (slip.failed, slip.checkpoints, slip.notes) == expected
    assert none.failed == "no checkpoint of the registry is one of none."
    assert not slip.holds
    assert sound.holds


def test_a_single_figure_raises(three, tmp_path):
    with pytest.raises(memzoo.errors.CorruptCheckpointError, match="SHA-256"):
        reproduce("altered", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The parts of every figure ------------------------------------------------------------------------------------------


def test_trajectories_show_start_iterates_and_nearest_example():
    model = FullyConnected(shape=(1, 3, 3), depth=2, width=2).eval()
    examples = torch.rand(4, 1, 3, 3)
    starts = torch.rand(2, 1, 3, 3)
    figure = draw_trajectories(model, starts, examples)
    assert len(figure.axes) == 2 * 8
    shown = [torch.tensor(axes.images[0].get_array().data) for axes in figure.axes]
    torch.testing.assert_close(shown[0], starts[0, 0])
    with torch.no_grad():
        expected = model(starts)[0, 0].clamp(0, 1)
        torch.testing.assert_close(shown[1], expected)
    assert any(torch.equal(shown[7], example[0]) for example in examples)


@pytest.mark.parametrize(
    ("claim", "value", "verdict"),
    [
        (Claim(), 1.0, None),
        (Claim(least=1.0), 1.0, True),
        (Claim(least=1.0), 0.99, False),
        (Claim(most=1.0), 1.01, False),
        (Claim(least=0.0, most=1.0), 0.5, True),
        (Claim(least=0.0), math.nan, False),
    ],
)
def test_a_claim_holds_within_its_bounds(claim, value, verdict):
    assert claim(value) is verdict


def test_what_was_not_recomputed_is_shown_as_recorded():
    (row,) = Material(["mnist50k-fc7x512"]).rows(choose=lambda fact: fact.measure == "whole_error")
    (fact,) = (fact for fact in memzoo.info("mnist50k-fc7x512").facts if fact.measure == "whole_error")
    assert row.ours == fact.ours
    assert row.quantity.endswith("(as recorded)")
