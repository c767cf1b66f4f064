"""The shapes that signatures and results declare: beartype checks them on ordinary calls."""

from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from memzoo import dynamics

EXAMPLES = torch.rand(4, 1, 3, 3)
STARTS = torch.rand(6, 1, 3, 3)
CALLS = {
    "iterate": (torch.tanh, STARTS, 3),
    "spectrum": (torch.tanh, STARTS),
    "recovery_curve": (torch.tanh, STARTS, EXAMPLES, 3),
    "certify": (torch.tanh, EXAMPLES),
    "local_dimension": (torch.tanh, STARTS),
    "recover": (torch.tanh, STARTS, STARTS > 0.5, EXAMPLES),
    "census": (torch.tanh, STARTS, EXAMPLES),
    "radius_bracket": (torch.tanh, STARTS),
    "operator": (torch.nn.Linear(4, 4),),
    "basin_radius": (torch.tanh, EXAMPLES, 0.1),
    "output_range": (torch.nn.Sequential(torch.nn.Linear(9, 2), torch.nn.Linear(2, 9)), STARTS.flatten(1)),
    "nearest": (STARTS, EXAMPLES),
    "close_pairs": (STARTS, EXAMPLES, 0.1),
    "default_eps": (EXAMPLES,),
    "example_eps": (EXAMPLES,),
    "group_near_copies": (EXAMPLES,),
}


@pytest.mark.parametrize("name", CALLS)
def test_declared_shapes_hold(name):
    function = getattr(dynamics, name)
    inner = getattr(function, "__wrapped__", function)
    result = jaxtyped(typechecker=beartype)(inner)(*CALLS[name])
    if hasattr(result, "__dataclass_fields__"):
        hints = get_type_hints(type(result))

        @jaxtyped(typechecker=None)
        def sizes_agree():
            for field in fields(result):
                if hasattr(hints[field.name], "dtypes"):
                    assert isinstance(getattr(result, field.name), hints[field.name]), field.name

        sizes_agree()
