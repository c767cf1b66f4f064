"""States of checkpoints that earlier versions wrote are read, and states are written in the same form."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from their_runs import HELD_OUT, IMAGES, Plain, in_order, train

from memzoo.callbacks import (
    AttractorCallback,
    ContractionCallback,
    KeepGenerators,
    KeepSteps,
    StopBeforeMemorized,
    StopWhenMemorized,
    TrajectoryLogger,
)
from memzoo.fitting.course import LossCourse
from memzoo.runs import KeepLast

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create"),
]

CADENCE = {"next_step": 8, "measuring_s": 0.25, "training_s": 0.5, "steps": 6}
ATTRACTOR_ROW = {
    "step": 2,
    "epoch": 0,
    "loss": 0.5,
    "attractor/fraction": 0.0,
    "attractor/recovered": 0.25,
    "attractor/converged": 0.125,
    "attractor/radius_median": 0.5,
    "attractor/radius_max": 0.75,
    "attractor/residual": 0.9,
    "attractor/radius_q25": 0.4,
    "attractor/radius_q75": 0.6,
    "seconds": 0.0236,
}
CONTRACTION_ROW = {
    "step": 2,
    "epoch": 0,
    "loss": 0.5,
    "contraction/contracting": 1.0,
    "contraction/radius_median": 0.5,
    "contraction/radius_max": 0.75,
    "contraction/sigma_median": 0.8,
    "contraction/residual": 0.9,
    "contraction/radius_q25": 0.4,
    "contraction/radius_q75": 0.6,
    "seconds": 0.0241,
}
EXAMPLES = IMAGES.flip(0)  # another order than that of the data: it can only come from the state
STARTS = HELD_OUT[:4].flip(0)
WEIGHTS = {name: value + 1 for name, value in Plain().state_dict().items()}


def state_of_measuring(row, **kept):
    return {"history": [row], "cadence": CADENCE, "turn": 3, "whole": True, "kept": kept}


def generator_states():
    return {
        "torch": torch.get_rng_state(),
        "cuda": [],
        "numpy": {
            # the form in which numpy names the state of its global generator
            "bit_generator": "MT19937",
            "key": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # noqa: NPY002
            "pos": 624,
            "has_gauss": 0,
            "gauss": 0.0,
        },
        "python": {"version": 3, "words": torch.tensor(random.getstate()[1]), "gauss": None},
    }


def states():
    """Return the state of each callback by its key, as it stands in a checkpoint."""
    row = {"step": 3, "epoch": 0, "loss": 0.5, "seconds": 0.5642}
    return {
        "AttractorCallback{'name': 'attractor'}": state_of_measuring(ATTRACTOR_ROW, examples=EXAMPLES, starts=STARTS),
        "ContractionCallback{'name': 'contraction'}": state_of_measuring(CONTRACTION_ROW, examples=EXAMPLES),
        "TrajectoryLogger{'name': 'trajectories'}": state_of_measuring(row, examples=EXAMPLES, starts=STARTS),
        "StopWhenMemorized{'name': 'attractor'}": {"in_a_row": 1},
        "StopBeforeMemorized{'name': 'attractor'}": {"clean": WEIGHTS, "clean_step": 6},
        "KeepSteps": {"kept": {3: WEIGHTS}, "epochs": {3: 1}},
        "KeepGenerators": {"within": False, "processes": [generator_states()]},
        "KeepLast": {"saved": 6, "stopped": None},
        "LossCourse": {"course": [[0, 0.5], [2, 0.25]]},
    }


def callbacks(folder):
    return [
        AttractorCallback(every_n_steps=2, steps=20, verbose=False),
        ContractionCallback(every_n_steps=2, verbose=False),
        TrajectoryLogger(every_n_epochs=1, folder=folder / "pictures"),
        StopWhenMemorized(measurements=10**6),
        StopBeforeMemorized(0.99),
        KeepSteps([3, 9]),
        KeepGenerators(),
        KeepLast(folder),
        LossCourse(),
    ]


def are_same(one, other):
    """Tell whether two states have the same keys in the same order, types, shapes and values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(are_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(are_same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def test_every_state_has_its_key_and_is_written_as_it_was_read(tmp_path):
    earlier = states()
    own = {callback.state_key: callback for callback in callbacks(tmp_path)}
    assert own.keys() == earlier.keys()
    for key, callback in own.items():
        callback.load_state_dict(earlier[key])
        written = callback.state_dict()
        if key == "KeepGenerators":  # writes the states of the moment: those that were just put back
            written["within"] = earlier[key]["within"]
        assert are_same(written, earlier[key]), key


def check_measured_on(callback, row):
    """Check that the history goes on behind ``row``, with the same keys and the same examples."""
    assert callback.history[0] == row
    assert [line["step"] for line in callback.history] == [2, 8, 9]
    assert [key for key in callback.history[-1] if key in row] == list(row)  # later versions measure more
    assert torch.equal(callback.examples, EXAMPLES)
    assert callback.cadence.steps == 9


def test_a_checkpoint_of_an_earlier_version_is_resumed(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    train(Plain, lambda: [saver], in_order, enable_checkpointing=True)
    checkpoint = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    checkpoint["callbacks"] = states()
    torch.save(checkpoint, tmp_path / "earlier.ckpt")

    own = callbacks(tmp_path)
    options = {"max_epochs": 3, "enable_checkpointing": True}
    trainer, *_ = train(Plain, lambda: own, in_order, resume=tmp_path / "earlier.ckpt", **options)
    attractor, contraction, trajectories, when, before, keeper, _, _, course = own
    assert trainer.global_step == 9
    check_measured_on(attractor, ATTRACTOR_ROW)
    check_measured_on(contraction, CONTRACTION_ROW)
    assert torch.equal(attractor.starts, STARTS)
    assert torch.equal(trajectories.starts, STARTS)
    # the checkpoint was written in the validation that ends an epoch: the resumed run ends this epoch first
    assert [line["step"] for line in trajectories.history] == [3, 6, 9]
    assert when.in_a_row == 0  # the network memorizes nothing in so few steps
    assert before.clean_step == 9
    assert list(keeper.kept) == [3, 9]
    assert course.course[:2] == [(0, 0.5), (2, 0.25)]
