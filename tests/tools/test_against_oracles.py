"""A short part of ``make maps``, networks, modules, trainings, kills and faults: memzoo gets nothing wrong."""

import pytest

from tools.oracles import attractor_oracle, known_maps, small_networks
from tools.oracles.fault_checks import check_fault
from tools.oracles.fault_kinds import KINDS
from tools.oracles.fault_places import PLACES
from tools.oracles.foreign_modules import MODULES
from tools.oracles.kill_checks import ACTIONS, draw_kill_cases
from tools.oracles.map_checks import draw_map_cases
from tools.oracles.module_checks import MEASURES, measure_module
from tools.oracles.network_checks import draw_network_cases
from tools.oracles.results import select_faults
from tools.oracles.training_checks import draw_training_cases

MAPS = 20
NETWORKS = 17
TRAININGS = 8
WHOLE = ["LSTM", "quantised", "old autograd function", "gate without gradient", "counter", "batch mean", "noise"]
"""Modules that are measured in every way; the others by their spectrum alone."""


@pytest.fixture
def small(monkeypatch):
    """Let maps be of at most 96 dimensions, trainings short, and orbits of the oracle too."""
    monkeypatch.setattr(known_maps, "LARGEST", 96)
    monkeypatch.setattr(small_networks, "TRAINING", 100)
    monkeypatch.setattr(attractor_oracle, "STEPS", 4000)
    monkeypatch.setattr(attractor_oracle, "PUSHED_STEPS", 1000)


@pytest.mark.filterwarnings("ignore")  # what torch says of a case is no part of the verdict
@pytest.mark.parametrize("number", range(MAPS))
def test_maps_of_known_spectrum(number, small):
    name, measure = list(draw_map_cases(11, MAPS))[number]
    assert select_faults(measure()) == [], name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(NETWORKS))
def test_small_networks(number, small):
    name, measure = list(draw_network_cases(11, NETWORKS))[number]
    assert select_faults(measure()) == [], name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "measure"),
    [(name, measure) for name in MODULES for measure in MEASURES if measure == "spectrum" or name in WHOLE],
)
def test_modules_of_others(name, measure):
    assert select_faults([measure_module(name, MODULES[name], 1, measure)]) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(TRAININGS))
def test_trainings_are_left_as_they_are(number):
    name, measure = list(draw_training_cases(11, TRAININGS))[number]
    assert select_faults(measure()) == [], name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(3))
def test_a_save_that_is_killed_leaves_the_old_folder_or_the_new_one(number):
    name, measure = list(draw_kill_cases(11, 3 * len(ACTIONS)))[len(ACTIONS) * number + list(ACTIONS).index("save")]
    assert name.startswith("save")
    assert select_faults(measure()) == [], name


@pytest.mark.parametrize("place", PLACES)
def test_damaged_files_are_refused_or_do_no_harm(place):
    outcomes = [check_fault(11, number, place, kind)[0] for number, kind in enumerate(KINDS)]
    assert select_faults(outcomes) == []
