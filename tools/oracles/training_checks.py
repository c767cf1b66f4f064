"""Train small modules with callbacks and without, and compare the runs bit for bit."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from torch import Tensor

from memzoo.callbacks import AttractorCallback, ContractionCallback, StopBeforeMemorized, StopWhenMemorized
from tools.oracles.outcomes import Case, Outcome, attempt
from tools.oracles.small_trainings import Choice, Trained, build_data, build_module, draw_choice

EPOCHS = 3
KIND = "training"
RESIDUAL = "attractor/residual"


def draw_training_cases(seed: int, count: int) -> Iterator[Case]:
    """Draw trainings, and run each with callbacks and without."""
    for number in range(count):
        yield f"training {seed}/{number}.", partial(check_training, seed, number)


def check_training(seed: int, number: int) -> list[Outcome]:
    """Run one training with callbacks and without, and compare both."""
    choice = draw_choice(seed, number)
    watch = AttractorCallback(steps=5, max_starts=8, verbose=False, **_choose_cadence(choice))
    others = [ContractionCallback(verbose=False, **_choose_cadence(choice))] if number % 2 else []
    plain = _run(choice, [])
    watched, word, text = attempt(lambda: _run(choice, [watch, *others, *_choose_rules(choice)]))
    if word is not None:
        return [Outcome(KIND, "ends", word, f"{text} {choice}")]
    return [*_compare(choice, plain, watched), *_check_callback(choice, watched, watch)]


def _choose_cadence(choice: Choice) -> dict[str, Any]:
    return {"epochs": {"every_n_epochs": 1}, "steps": {"every_n_steps": 2}, "budget": {}}[choice.cadence]


def _choose_rules(choice: Choice) -> list[Callback]:
    rules = {
        "when": lambda: StopWhenMemorized(0.1, measurements=1),
        "before": StopBeforeMemorized,
        "early stopping": lambda: EarlyStopping("attractor/fraction", mode="max", patience=1),
    }
    return [rules[choice.rule]()] if choice.rule in rules else []


def _list_options(choice: Choice) -> dict[str, Any]:
    """List the arguments of the Trainer."""
    options: dict[str, Any] = {"max_epochs": EPOCHS, "precision": choice.precision, "num_sanity_val_steps": 0}
    extents: dict[str, dict[str, Any]] = {
        "limited": {"limit_train_batches": 2},
        "overfit": {} if choice.sampler == "stream" else {"overfit_batches": 1},
        "reloaded": {"reload_dataloaders_every_n_epochs": 1},
        "sanity": {"num_sanity_val_steps": 2},
    }
    options |= extents.get(choice.extent, {})
    if choice.rule == "max_steps":
        options["max_steps"] = 2
    if choice.optimizer == "accumulated":
        options["accumulate_grad_batches"] = 2
    if choice.validation == "late":
        options["check_val_every_n_epoch"] = 2
    if choice.validation == "within":
        options["val_check_interval"] = 1
    return options


def _run(choice: Choice, callbacks: list[Callback]) -> tuple[Trainer, Trained, dict[str, Tensor]]:
    """Train from one seed; return the Trainer, the module, and the states of the generators of the process."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(4, verbose=False)
    module = build_module(choice)
    data = build_data(choice)
    averaging = [EMAWeightAveraging(decay=0.5)] if choice.optimizer == "averaged" else []
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", callbacks=[*callbacks, *averaging], **_list_options(choice), **quiet)
    with warnings.catch_warnings(), contextlib.suppress(SystemExit):
        warnings.simplefilter("ignore")
        trainer.fit(module, data)
    words = torch.from_numpy(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002  # pyright: ignore
    return trainer, module, {"torch": torch.get_rng_state(), "numpy": words}


def _compare(choice: Choice, plain: Any, watched: Any) -> Iterator[Outcome]:
    """Compare a run without callbacks with the same run with them."""
    _, alone, generators = plain
    trainer, module, generators_watched = watched
    ours, theirs = module.weights.rows, alone.weights.rows
    same = len(ours) <= len(theirs) and all(map(_are_equal, ours, theirs))
    yield Outcome(KIND, "weights", "right" if same else "changed", "" if same else str(choice))
    is_stopped = trainer.should_stop and choice.rule in ("when", "before", "early stopping")
    ended = len(ours) == len(theirs) or is_stopped
    text = f"{len(ours)} of {len(theirs)} batches: {choice}"
    yield Outcome(KIND, "ends", "right" if ended else "wrong", "" if ended else text)
    if is_stopped or len(ours) < len(theirs):
        return
    state = describe_state(module)
    differ = [name for name, value in describe_state(alone).items() if not _are_equal(value, state[name])]
    differ += [name for name, state in generators.items() if not torch.equal(state, generators_watched[name])]
    logged = {name: float(value) for name, value in plain[0].callback_metrics.items()}
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" not in name}
    if logged != found:
        differ.append("what is logged")
    yield Outcome(KIND, "state", "changed" if differ else "right", f"{differ}: {choice}" if differ else "")


def describe_state(module: Trained) -> dict[str, Any]:
    """Return everything that a module keeps, and what it is trained on, as values that can be compared."""
    return {
        **module.state_dict(),
        "calls": module.calls,
        "codes": module.codes,
        "notes": module.notes,
        "counts": torch.from_numpy(module.counts),
        "generator": module.generator.get_state(),
        "numpy": module.numpy.bit_generator.state,
        "slots": module.slotted.calls,
        "training": [part.training for part in module.modules()],
        "attributes": sorted(vars(module)),
        "rows": torch.cat(module.seen.rows),
    }


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    return type(one) is type(other) and one == other


def _check_callback(choice: Choice, watched: Any, watch: AttractorCallback) -> Iterator[Outcome]:
    """Check that what was tracked was trained on, and that the last state was measured."""
    trainer, module, _ = watched
    seen = {tuple(row) for row in torch.cat(module.seen.rows).double().tolist()}
    tracked = [] if watch.examples is None else watch.examples.double().tolist()
    strangers = sum(tuple(row) not in seen for row in tracked)
    is_right = bool(tracked) and not strangers
    text = f"{strangers} of {len(tracked)} rows were never trained on: {choice}"
    yield Outcome(KIND, "tracked", "right" if is_right else "wrong", "" if is_right else text)
    last = watch.history[-1] if watch.history else {"step": -1, RESIDUAL: math.nan}
    residual = watch.measure(module)[RESIDUAL]
    is_closed = last["step"] == trainer.global_step and math.isclose(last[RESIDUAL], residual, rel_tol=1e-5)
    text = f"step {last['step']} of {trainer.global_step}, residual {last[RESIDUAL]}, at the end {residual}: {choice}"
    yield Outcome(KIND, "closed", "right" if is_closed else "wrong", "" if is_closed else text)
