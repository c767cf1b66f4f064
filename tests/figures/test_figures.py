import json

import pytest
import torch
from matplotlib.image import imread

import memzoo
from memzoo.errors import UnknownCheckpointError
from memzoo.figures import FIGURES, draw_trajectories, reproduce
from memzoo.models import FullyConnected


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_writes_a_picture_and_its_numbers(name, tmp_path):
    result = reproduce(name, tmp_path)
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert sorted(content["checkpoint"].split(", ")) == sorted(memzoo.list_models(figure=name))
    assert content["holds"] == result.holds
    assert [row["quantity"] for row in content["rows"]] == [row.quantity for row in result.rows]
    assert all({"paper", "ours", "holds"} <= row.keys() for row in content["rows"])
    picture = imread(tmp_path / f"{name}.png")
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.1  # something is drawn


def test_numbers_of_figure_7_are_the_facts_of_its_checkpoint(tmp_path):
    rows = reproduce("fig7", tmp_path).rows
    facts = {fact.measure: fact.ours for fact in memzoo.info("cifar10-d1").facts if fact.measure != "eigenvalue"}
    assert rows[1].ours == pytest.approx(facts["relative_error"], rel=1e-3)
    assert rows[2].ours == pytest.approx(facts["span_residual_median"], rel=0.05)
    assert all(row.holds for row in rows)


def test_another_checkpoint_can_take_its_place_and_falls_short(tmp_path):
    from memzoo.zoo import train

    folder, _ = train("mnist20-fc14x128", tmp_path, max_steps=5, enable_progress_bar=False, enable_model_summary=False)
    result = reproduce("fig3b", tmp_path / "out", checkpoint=f"local-dir:{folder}")
    assert not result.holds
    assert result.rows[0].ours == "0"
    assert "FALLS SHORT" in str(result)


def test_trajectories_show_start_iterates_and_nearest_example():
    model = FullyConnected(shape=(1, 3, 3), depth=2, width=2).eval()
    examples, starts = torch.rand(4, 1, 3, 3), torch.rand(2, 1, 3, 3)
    figure = draw_trajectories(model, starts, examples)
    assert len(figure.axes) == 2 * 8
    shown = [torch.tensor(axes.images[0].get_array().data) for axes in figure.axes]
    torch.testing.assert_close(shown[0], starts[0, 0])
    with torch.no_grad():
        torch.testing.assert_close(shown[1], model(starts)[0, 0].clamp(0, 1))
    assert any(torch.equal(shown[7], example[0]) for example in examples)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"fig3b is drawn from a FullyConnected, and cifar10-d1 is a D1"):
        reproduce("fig3b", tmp_path, checkpoint="cifar10-d1")


def test_unknown_figure_names_the_nearest(tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"no figure 'fig3'\. Did you mean fig3b"):
        reproduce("fig3", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_tables_show_the_facts_of_their_rows(table, tmp_path):
    result = reproduce(table, tmp_path)
    ids = FIGURES[table].checkpoints()
    assert len(ids) == {"table1": 12, "table2": 9}[table]
    assert result.checkpoint == ", ".join(ids)
    for id, row in zip(ids, result.rows, strict=True):
        fact = memzoo.info(id).facts[0]
        if table == "table2":
            assert row.paper == fact.paper
            assert row.holds == (fact.ours >= 4)
        else:
            assert row.paper == f"1, 1, {fact.paper:.2f}, ..."
            assert row.holds == (abs(fact.ours - fact.paper) <= 0.1)
            assert f", {fact.ours:.2f}, ..." in row.ours


def test_a_table_is_not_made_from_one_checkpoint(tmp_path):
    with pytest.raises(UnknownCheckpointError, match=r"table2 is made from 9 checkpoints, so that cifar10-d1 cannot"):
        reproduce("table2", tmp_path, checkpoint="cifar10-d1")
