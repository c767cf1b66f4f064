"""Each measured quantity is one row of one table: what is logged, printed, drawn and documented is compared with it."""

import inspect
import math
import re
from pathlib import Path

import pytest
from fake_runs import Corners, Net, X, after_batch, begin_run, trainer
from their_runs import in_single_process
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.callbacks.history import format_history
from memzoo.callbacks.quantities import QUANTITIES, QUARTILES, Quantity, quantities_of
from memzoo.callbacks.reporting import Reporter
from memzoo.errors import InvalidArgumentError

README = Path(__file__).parents[2] / "README.md"
ENTRY = re.compile(r"^``(\w+)/(\w+)``\n((?: +.*\n)+)", re.MULTILINE)
"""A key in the docstring of a callback, and the indented lines below it."""


def attractor(**settings):
    return AttractorCallback(X, X + 0.1, eps=0.1, steps=2, verbose=False, **settings)


def contraction(**settings):
    return ContractionCallback(X, verbose=False, **settings)


def make_values(kind):
    """Give every quantity of a callback another value, so that none is taken for another."""
    return {f"{kind}/{quantity.key}": 0.125 * index for index, quantity in enumerate(quantities_of(kind), 1)}


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
    expected = [*keys, *(f"{kind}/{key}" for key in QUARTILES)]
    assert list(found) == expected, (
        f"combine_parts in memzoo/callbacks/{kind}.py returns {', '.join(sorted(set(found) - set(expected)))}: add a "
        "row to QUANTITIES in memzoo/callbacks/quantities.py"
    )
    assert make().keys == tuple(keys)


@KINDS
def test_a_quantity_without_a_value_is_named_with_its_file(kind, make, monkeypatch):
    callback = make()
    new = Quantity("new", "new", "g", "New", (kind,))
    monkeypatch.setattr(type(callback), "QUANTITIES", (*callback.QUANTITIES, new))
    message = rf"combine_parts in memzoo\.callbacks\.{kind} returns .*residual.*, but no new, which QUANTITIES"
    with pytest.raises(InvalidArgumentError, match=message):
        callback.measure(Net(Corners()))


def test_every_quantity_is_computed_a_second_time_from_the_dynamics():
    callback = attractor()
    callback.measure(Net(Corners()))
    assert in_single_process(lambda: Net(Corners()), {}, callback)  # it compares its keys with the table


@KINDS
def test_every_quantity_is_logged_and_those_of_the_progress_bar_are_shown_there(kind, make):
    callback, run, module = begin_run(make(every_n_epochs=1), trainer(max_epochs=1), Net(Corners()))
    after_batch(callback, run, module, 1)
    callback.on_train_epoch_end(run, module)
    shown = {key: options["prog_bar"] for key, _, options in module.logged}
    assert shown == {f"{kind}/{quantity.key}": kind in quantity.progress_bar for quantity in quantities_of(kind)}
    assert any(shown.values())


@KINDS
def test_a_network_that_is_not_finite_has_the_values_of_the_table(kind, make):
    callback, run, module = begin_run(make(every_n_steps=1))
    nn.init.constant_(module.layer.weight, math.nan)
    with pytest.warns(UserWarning, match="nothing is measured on a network that is not finite"):
        after_batch(callback, run, module, 1)
    for quantity in quantities_of(kind):
        value = callback.history[-1][f"{kind}/{quantity.key}"]
        assert value == pytest.approx(quantity.if_not_finite, nan_ok=True), quantity.key
        is_share = quantity.format.endswith("%") and quantity.key != "measured"
        assert math.isnan(quantity.if_not_finite) is not is_share  # nothing is memorized, nothing contracts


def test_a_row_of_an_earlier_version_is_logged_without_what_it_lacks():
    # A resumed run logs the last row of its checkpoint again.
    module = begin_run(attractor(), module=Net(Corners()))[2]
    quantities = quantities_of("attractor")
    row = {f"attractor/{quantity.key}": 0.5 for quantity in quantities[1:]}
    Reporter("attractor", "attractor", quantities).log_after_epoch(trainer(), module, [row], is_new=True)
    assert {key: value for key, value, _ in module.logged} == row


@KINDS
def test_every_quantity_is_a_column_of_the_printed_table(kind, make):
    callback = make()
    values = make_values(kind)
    row = {"step": 1, "loss": 1.0} | values
    callback.history = [row]
    _, heading, _, line = callback.table().splitlines()
    expected = ["step", "loss", *(quantity.heading for quantity in quantities_of(kind))]
    assert heading.split() == " ".join(expected).split()
    found = line.split()[2:]
    assert found == [format(values[f"{kind}/{quantity.key}"], quantity.format) for quantity in quantities_of(kind)]
    assert format_history([row], kind, "title").splitlines()[1] == heading


@KINDS
def test_every_quantity_with_a_panel_is_a_curve_of_the_plot(kind, make):
    callback = make()
    shown = [quantity for quantity in quantities_of(kind) if quantity.panel]
    values = make_values(kind)
    callback.history = [{"step": step, "loss": 1.0} | values for step in (1, 2)]
    curves = {line.get_label(): list(line.get_ydata()) for axes in callback.plot().axes for line in axes.lines}
    expected = {quantity.label: [values[f"{kind}/{quantity.key}"]] * 2 for quantity in shown}
    assert {label: heights for label, heights in curves.items() if not label.startswith("_")} == expected


@KINDS
def test_every_quantity_is_documented_with_the_line_of_the_table(kind, make):
    entries = ENTRY.findall(inspect.getdoc(type(make())) + "\n")
    keys = [f"{kind}/{quantity.key}" for quantity in quantities_of(kind)]
    where = f"the docstring of {type(make()).__name__} in memzoo/callbacks/{kind}.py"
    assert [f"{name}/{key}" for name, key, _ in entries] == keys, (
        f"{where} must have an entry of each key, in the order of memzoo/callbacks/quantities.py: {', '.join(keys)}"
    )
    for quantity, (_, key, text) in zip(quantities_of(kind), entries, strict=True):
        assert " ".join(text.split()).startswith(quantity.description), (
            f"the entry of {kind}/{key} in {where} must begin with '{quantity.description}', its line in "
            "memzoo/callbacks/quantities.py"
        )


def test_the_readme_names_all_keys_of_the_attractor_callback():
    named = set(re.findall(r"`attractor/(\w+)`", README.read_text()))
    logged = {quantity.key for quantity in quantities_of("attractor")}
    missing = [f"`attractor/{key}`" for key in sorted(logged - named)]
    assert not missing, f"README.md does not name {', '.join(missing)}: add it to the keys of the AttractorCallback"
    unknown = [f"`attractor/{key}`" for key in sorted(named - logged)]
    assert not unknown, f"README.md names {', '.join(unknown)}, which memzoo/callbacks/quantities.py does not have"
