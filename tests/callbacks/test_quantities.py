"""Each measured quantity is one row of one table: what is logged, printed, drawn and documented is compared with it."""

import inspect
import math
import re
from pathlib import Path

import pytest
from fake_runs import Corners, Net, X, after_batch, begin_run, trainer

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.callbacks.history import format_history
from memzoo.callbacks.quantities import QUANTITIES, QUARTILES, quantities_of
from memzoo.errors import NonFiniteError

README = Path(__file__).parents[2] / "README.md"
ENTRY = re.compile(r"^``(\w+)/(\w+)``\n((?: +.*\n)+)", re.MULTILINE)
"""A key in the docstring of a callback, and the indented lines below it."""


def attractor(**settings):
    return AttractorCallback(X, X + 0.1, eps=0.1, steps=2, verbose=False, **settings)


def contraction(**settings):
    return ContractionCallback(X, verbose=False, **settings)


KINDS = pytest.mark.parametrize(("kind", "make"), [("attractor", attractor), ("contraction", contraction)])


def test_no_two_quantities_have_one_key_or_one_heading():
    assert len({quantity.key for quantity in QUANTITIES}) == len(QUANTITIES)
    assert len({quantity.heading for quantity in QUANTITIES}) == len(QUANTITIES)
    assert {kind for quantity in QUANTITIES for kind in quantity.logged_by} == {"attractor", "contraction"}
    assert all(set(quantity.progress_bar) <= set(quantity.logged_by) for quantity in QUANTITIES)


@KINDS
def test_every_quantity_is_measured_in_the_order_of_the_table(kind, make):
    found = make().measure(Net(Corners()))
    keys = [f"{kind}/{quantity.key}" for quantity in quantities_of(kind)]
    assert list(found) == [*keys, *(f"{kind}/{key}" for key in QUARTILES)], (
        f"combine_parts of the {kind} callback and the table in memzoo/callbacks/quantities.py name other quantities"
    )
    assert make().keys == tuple(keys)


@KINDS
def test_every_quantity_is_logged_and_those_of_the_progress_bar_are_shown_there(kind, make):
    callback, run, module = begin_run(make(every_n_epochs=1), trainer(max_epochs=1), Net(Corners()))
    after_batch(callback, run, module, 1)
    callback.on_train_epoch_end(run, module)
    shown = {key: options["prog_bar"] for key, _, options in module.logged}
    assert shown == {f"{kind}/{quantity.key}": kind in quantity.progress_bar for quantity in quantities_of(kind)}
    assert any(shown.values())


@KINDS
def test_a_network_that_is_not_finite_has_the_values_of_the_table(kind, make, monkeypatch):
    def diverge(*arguments):
        raise NonFiniteError("it grew")

    callback, run, module = begin_run(make(every_n_steps=1), module=Net(Corners()))
    monkeypatch.setattr(callback, "measure_part", diverge)
    with pytest.warns(UserWarning, match="nothing is measured on a network that is not finite"):
        after_batch(callback, run, module, 1)
    for quantity in quantities_of(kind):
        value = callback.history[-1][f"{kind}/{quantity.key}"]
        assert value == pytest.approx(quantity.if_not_finite, nan_ok=True), quantity.key
        is_share = quantity.format.endswith("%")
        assert math.isnan(quantity.if_not_finite) is not is_share  # nothing is memorized, nothing contracts


@KINDS
def test_every_quantity_is_a_column_of_the_printed_table(kind, make):
    callback = make()
    row = {"step": 1, "loss": 1.0} | {f"{kind}/{quantity.key}": 0.5 for quantity in quantities_of(kind)}
    callback.history = [row]
    _, heading, _, values = callback.table().splitlines()
    expected = ["step", "loss", *(quantity.heading for quantity in quantities_of(kind))]
    assert heading.split() == " ".join(expected).split()
    found = values.split()[2:]
    assert found == [format(0.5, quantity.format) for quantity in quantities_of(kind)]
    assert format_history([row], kind, "title").splitlines()[1] == heading


@KINDS
def test_every_quantity_with_a_panel_is_a_curve_of_the_plot(kind, make):
    callback = make()
    shown = [quantity for quantity in quantities_of(kind) if quantity.panel]
    callback.history = [
        {"step": step, "loss": 1.0} | {f"{kind}/{quantity.key}": 0.5 for quantity in quantities_of(kind)}
        for step in (1, 2)
    ]
    curves = {line.get_label() for axes in callback.plot().axes for line in axes.lines}
    expected = {quantity.label for quantity in shown}
    assert {label for label in curves if not label.startswith("_")} == expected


@KINDS
def test_every_quantity_is_documented_with_the_line_of_the_table(kind, make):
    entries = ENTRY.findall(inspect.getdoc(type(make())) + "\n")
    assert [(name, key) for name, key, _ in entries] == [(kind, quantity.key) for quantity in quantities_of(kind)], (
        f"the docstring of {type(make()).__name__} has other keys than the table, or has them in another order"
    )
    for quantity, (_, key, text) in zip(quantities_of(kind), entries, strict=True):
        assert " ".join(text.split()).startswith(quantity.description), f"{kind}/{key} begins with other words"


def test_the_readme_names_all_keys_of_the_attractor_callback():
    named = set(re.findall(r"`attractor/(\w+)`", README.read_text()))
    assert named == {quantity.key for quantity in quantities_of("attractor")}
