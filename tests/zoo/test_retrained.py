"""Small entries made again from their recipes: every fact within its tolerance, every bound met."""

import pytest

import memzoo
from memzoo.zoo import train
from memzoo.zoo.loading.locating import read_entry

SMALL = [
    "line2-fc2x100",
    "line2-fc3x50",
    "line2-fc10x50",
    "uniform1-4x4-widerelu10000",
    "mnist10-piecewise",
]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_entry_is_made_again_from_its_recipe(name, shared_facts, tmp_path):
    folder, rows = train(name, tmp_path, enable_progress_bar=False, enable_model_summary=False)
    assert len(rows) == len(memzoo.info(name).facts)
    assert all(row.ok for row in rows), "\n".join(map(str, rows))
    assert read_entry(folder / "entry.yaml").recipe.wall_time_s > 0  # that of a closed form is no training's
    assert not (tmp_path / f"{name}.unfinished").exists()
    assert memzoo.verify(f"local-dir:{folder}").verdict == "verified"


def test_of_the_networks_of_figure_1a_the_deep_one_contracts_most(shared_facts):
    """Check that panel 1 does not contract, panel 2 does, and the deep network of panel 4 contracts more."""
    radii = [memzoo.verify(f"fig1a-{panel}").rows[0].measured for panel in (1, 2, 4)]
    assert radii[0] >= 1 > radii[1] > radii[2]
