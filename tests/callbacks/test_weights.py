"""The weights that are put in place while a module is measured."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import nn

from memzoo.callbacks.shards import Part
from memzoo.callbacks.weights import (
    compute_fingerprint,
    move_after_averaging,
    use_common_buffers,
    use_delivered_weights,
)


def test_the_fingerprint_of_weights_sees_every_change():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = compute_fingerprint(module)
    expected = 2 * len([t for t in module.state_dict().values() if t.is_floating_point()])
    assert len(before) == expected
    weight = module[0].weight.detach()
    bits = [int.from_bytes(value.numpy().tobytes(), "little", signed=True) for value in weight.flatten()]
    wrapped = [(total + 2**63) % 2**64 - 2**63 for total in (sum(bits), sum(word**2 for word in bits))]
    assert before[:2].tolist() == wrapped
    assert torch.equal(compute_fingerprint(module), before)
    with torch.no_grad():
        weight.copy_(weight.roll(1, 0))
    assert torch.equal(compute_fingerprint(module), before)  # two sums cannot tell an order
    with torch.no_grad():
        weight.neg_()
    assert not torch.equal(compute_fingerprint(module), before)
    module[1].running_mean.fill_(torch.nan)
    found = compute_fingerprint(module)
    assert torch.equal(compute_fingerprint(module), found)
    module.bfloat16()
    assert len(compute_fingerprint(module)) == len(found)
    assert len(compute_fingerprint(nn.LazyLinear(2))) == 0
    assert len(compute_fingerprint(nn.Identity())) == 0


def test_buffers_of_the_first_process_are_lent_to_the_others():
    module = nn.BatchNorm1d(2)
    own = module.running_mean.clone()
    sent = {"running_mean": own + 3, "running_var": module.running_var * 2, "num_batches_tracked": torch.tensor(9)}
    told = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda value: sent))
    with contextlib.suppress(KeyError), use_common_buffers(told, module, Part(1, 2)):
        assert torch.equal(module.running_mean, own + 3)
        assert module.num_batches_tracked == 9
        raise KeyError("within")
    assert torch.equal(module.running_mean, own)
    assert module.num_batches_tracked == 0
    told.strategy.broadcast = lambda value: pytest.fail("nobody to ask")
    with use_common_buffers(told, module, Part()), use_common_buffers(told, nn.Linear(1, 1), Part(0, 2)):
        assert torch.equal(module.running_mean, own)


class Average(WeightAveraging):
    def __init__(self):
        super().__init__()

    def on_save_checkpoint(self, trainer, module, checkpoint):
        checkpoint["state_dict"] = {name: value + 1 for name, value in checkpoint["state_dict"].items()}


def test_averaged_weights_are_put_in_place_and_taken_back():
    module = nn.Linear(2, 2)
    averaging = Average()
    before = module.weight.detach().clone()
    run = SimpleNamespace(callbacks=[averaging])
    with contextlib.suppress(KeyError), use_delivered_weights(run, module):
        torch.testing.assert_close(module.weight.detach(), before + 1)
        raise KeyError("within")
    assert torch.equal(module.weight, before)
    with use_delivered_weights(run, module, ended=True):
        assert torch.equal(module.weight, before)
    with use_delivered_weights(SimpleNamespace(callbacks=[], optimizers=[]), module):
        assert torch.equal(module.weight, before)


def test_callbacks_that_change_weights_act_before_those_that_measure_them():
    class Rule(Callback):
        puts_weights_back = True

    averaging = Average()
    swa = StochasticWeightAveraging(1e-2)
    rule = Rule()
    other = Callback()
    observer = Callback()

    def order(who, *callbacks):
        run = SimpleNamespace(callbacks=list(callbacks))
        move_after_averaging(run, who)
        return run.callbacks

    assert order(observer, observer, other, averaging) == [other, averaging, observer]
    assert order(observer, observer, averaging, other) == [averaging, observer, other]
    assert order(observer, swa, observer, rule, other) == [swa, rule, observer, other]
    assert order(observer, averaging, other, observer) == [averaging, other, observer]  # stands well
    assert order(observer, observer, other) == [observer, other]
    assert order(rule, rule, Rule())[0] is rule  # of two rules none is first
    assert order(rule, rule, averaging) == [averaging, rule]


class Swapping(LightningModule):
    """Validates with other weights, as the users of schedule-free optimizers do; the way back loses bits."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.frozen = nn.BatchNorm1d(2).eval()

    def on_validation_model_eval(self):
        self.eval()
        with torch.no_grad():
            self.layer.weight.mul_(0.3).add_(0.1)

    def on_validation_model_train(self):
        self.train()
        with torch.no_grad():
            self.layer.weight.sub_(0.1).div_(0.3)


def test_weights_with_which_a_module_validates_are_put_in_place_and_taken_back():
    module = Swapping()
    before = module.layer.weight.detach().clone()
    run = SimpleNamespace(callbacks=[], optimizers=[], evaluating=False)
    with contextlib.suppress(KeyError), use_delivered_weights(run, module):
        torch.testing.assert_close(module.layer.weight.detach(), 0.3 * before + 0.1)
        raise KeyError("within")
    assert torch.equal(module.layer.weight, before)
    assert module.training
    assert not module.frozen.training
    # a validation has put them in place already, and a run that has ended has those that it ends with
    for evaluating, ended in ((True, False), (False, True)):
        run = SimpleNamespace(callbacks=[], optimizers=[], evaluating=evaluating)
        with use_delivered_weights(run, module, ended=ended):
            assert torch.equal(module.layer.weight, before)
