"""``memzoo audit``: a leak report for anyone's autoencoder."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

import memzoo
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import AuditInputError, NotASelfMapError, UsageError

if TYPE_CHECKING:  # these import torch
    from torch import nn

    from memzoo.auditing import Audit, AuditData, BatteryOptions
    from memzoo.modules import Adapter

MOST_DIGITS = 10
"""Digits and spaces of a side of an image."""


def audit_command() -> Command:
    """Describe ``memzoo audit``."""
    text = "Report which training images come out of an autoencoder when it is iterated."
    parser = CommandParser(description=text)
    parser.add_argument(
        "source",
        type=str,
        nargs="?",
        metavar="CHECKPOINT",
        help="a .ckpt file of a LightningModule or a folder with config.json and safetensors, with --class; or a "
        "checkpoint of the zoo",
    )
    parser.add_argument("--checkpoint", type=str, help="the same")
    parser.add_argument(
        "--class", "--model", dest="model", type=str, metavar="PKG.CLASS", help="the class that was trained"
    )
    parser.add_argument(
        "--data",
        type=str,
        help="training images, controls and starts: a .npz or .safetensors file, a folder of images, or pkg.DataModule "
        "(default: those of a zoo checkpoint, else attractors from noise alone)",
    )
    parser.add_argument(
        "--self-map", type=str, metavar="PKG.FUNCTION", help="function(module, x): the reconstruction of x"
    )
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that the network was trained on, such as --range -1 1: images in [0, 1] are brought there "
        "(default: what the folder says)",
    )
    parser.add_argument("--eps", type=float, help="radius of recovery, L2 (default: from the images)")
    parser.add_argument("--steps", type=int, default=200, help="iterations")
    parser.add_argument("--count", type=int, default=100, help="most members, most controls")
    parser.add_argument("--starts", type=int, default=200, help="most starts")
    parser.add_argument("--shape", type=str, help="shape of one image, e.g. 1,28,28, without --data")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    parser.add_argument(
        "--no-attacks", action="store_true", help="only iterate: leave out the battery of attacks, which needs controls"
    )
    parser.add_argument(
        "--reference",
        type=str,
        metavar="CHECKPOINT",
        help="a network of the same class that was trained on none of these images",
    )
    parser.add_argument(
        "--drawn-by-coin",
        action="store_true",
        help="each member and each control was put into the training set, or left out, by a fair coin: bound epsilon",
    )
    parser.add_argument("--delta", type=float, default=0.0, help="the delta of the privacy that is bounded")
    parser.add_argument("--out", type=Path, default=Path("audit"), help="folder of the report")
    return Command("audit", text, parser, _audit)


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as ``1,28,28``.

    Raises:
        UsageError: The text is not a shape.
    """
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and len(part) < MOST_DIGITS and int(part) > 0 for part in parts):
        raise UsageError(f"--shape takes whole numbers such as 1,28,28, got {text!r}.")
    return tuple(map(int, parts))


def _audit(arguments: Namespace) -> int:
    source = _find_source(arguments)
    if arguments.shape is not None:
        parse_shape(arguments.shape)
    if arguments.range is not None and not -float("inf") < arguments.range[0] < arguments.range[1] < float("inf"):
        raise UsageError(f"--range takes two finite numbers, the smaller first, got {arguments.range}.")
    if arguments.eps is not None and not 0 < arguments.eps < float("inf"):
        raise UsageError(f"--eps takes a finite number above 0, got {arguments.eps}.")
    if not 0 <= arguments.delta < 1:
        raise UsageError(f"--delta takes a number from 0 to below 1, got {arguments.delta}.")
    if min(arguments.steps, arguments.count, arguments.starts) < 1:
        raise UsageError("--steps, --count and --starts take whole numbers above 0.")

    from memzoo.auditing import check_free, load_module, load_self_map  # imports torch

    check_free(arguments.out)
    module = load_module(source, arguments.model)
    adapter = load_self_map(arguments.self_map)
    data, shape = _read_images(arguments, source, module)
    found = _run_audit(arguments, module, adapter, data, shape)
    found = replace(found, notes=(*found.notes, *data.notes))
    found.save(arguments.out)
    print(f"{found}\n  -> {arguments.out / 'report.html'}, {arguments.out / 'report.json'}")
    return 0  # also if the network leaks: the report says so, and the command itself did not fail


def _run_audit(
    arguments: Namespace,
    module: "nn.Module",
    adapter: "Adapter | None",
    data: "AuditData",
    shape: tuple[int, ...] | None,
) -> "Audit":
    """Audit the network; errors name the options of the command line."""
    battery = _choose_battery(arguments, has_controls=data.controls is not None)
    try:
        with warnings.catch_warnings():
            # The report itself says this.
            warnings.filterwarnings("ignore", message="Members and controls are of different kinds")
            return memzoo.audit(
                module,
                data.members,
                data.starts,
                controls=data.controls,
                self_map=adapter,
                eps=arguments.eps,
                steps=arguments.steps,
                noise=arguments.starts,
                shape=shape,
                seed=arguments.seed,
                battery=battery,
            )
    except NotASelfMapError as error:
        message = f"{error} On the command line: --self-map package.function."
        raise NotASelfMapError(message) from error
    except ValueError as error:
        raise AuditInputError(str(error)) from error


def _choose_battery(arguments: Namespace, *, has_controls: bool) -> "BatteryOptions | bool":
    """Return what the battery of attacks is given, or that none is run."""
    asked = arguments.reference is not None or arguments.drawn_by_coin
    if asked and (arguments.no_attacks or not has_controls):
        raise UsageError("--reference and --drawn-by-coin are of the attacks, which need controls, not --no-attacks.")
    if arguments.no_attacks or not has_controls:
        return False
    from memzoo.auditing import BatteryOptions, load_module

    reference = None if arguments.reference is None else load_module(arguments.reference, arguments.model)
    return BatteryOptions(reference=reference, drawn_by_coin=arguments.drawn_by_coin, delta=arguments.delta)


def _find_source(arguments: Namespace) -> str:
    """Return the checkpoint, which is given with the name of its option or without."""
    given = [name for name in (arguments.source, arguments.checkpoint) if name is not None]
    if len(given) != 1:
        came = f"got {' and '.join(given)}" if given else "the following arguments are required: CHECKPOINT"
        raise UsageError(f"audit takes one checkpoint; {came}. See memzoo audit --help.")
    return given[0]


def _read_images(arguments: Namespace, source: str, module: "nn.Module") -> "tuple[AuditData, tuple[int, ...] | None]":
    """Return the images of an audit in the range that the network was trained on, and the shape of one if it is known.

    Without members, the starts are noise in this range if it is known.
    """
    from memzoo.auditing import Scaling, draw_noise, examples_of, find_scaling, find_shape, read_data

    is_named = arguments.model is not None
    if arguments.range is not None:
        low, high = arguments.range
        scaling = Scaling.to_range(low, high, "--range")
    else:
        scaling = find_scaling(source) if is_named else None
    trained_shape = find_shape(source) if is_named else None
    if arguments.data is not None:
        return read_data(arguments.data, arguments.count, arguments.starts, module, scaling, trained_shape), None
    data = examples_of(module, arguments.count, arguments.starts)
    if data.members is not None:
        return data, None
    shape = trained_shape if arguments.shape is None else parse_shape(arguments.shape)
    if shape is None:
        raise UsageError("audit needs --data, or --shape C,H,W to look for attractors from noise alone.")
    return (data if scaling is None else draw_noise(shape, arguments.starts, arguments.seed, scaling)), shape
