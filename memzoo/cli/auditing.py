"""``memzoo audit``: a leak report for anyone's autoencoder."""

from pathlib import Path

from jsonargparse import Namespace

import memzoo
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import AuditInputError, NotASelfMapError, UsageError


def audit_command() -> Command:
    """Describe ``memzoo audit``."""
    text = "Report which training images come out of an autoencoder when it is iterated."
    parser = CommandParser(description=text)
    parser.add_argument(
        "--checkpoint", type=str, required=True, help="a .ckpt file with --model, or a checkpoint of the zoo"
    )
    parser.add_argument("--model", type=str, metavar="PKG.CLASS", help="the LightningModule class that the .ckpt is of")
    parser.add_argument(
        "--data",
        type=str,
        help="training images, controls and starts: a .npz or .safetensors file, a folder of images, or pkg.DataModule "
        "(default: those of a zoo checkpoint, else attractors from noise alone)",
    )
    parser.add_argument(
        "--self-map", type=str, metavar="PKG.FUNCTION", help="function(module, x): the reconstruction of x"
    )
    parser.add_argument("--eps", type=float, help="radius of recovery, L2 (default: from the images)")
    parser.add_argument("--steps", type=int, default=200, help="iterations")
    parser.add_argument("--count", type=int, default=100, help="most members, most controls")
    parser.add_argument("--starts", type=int, default=200, help="most starts")
    parser.add_argument("--shape", type=str, help="shape of one image, e.g. 1,28,28, without --data")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    parser.add_argument("--out", type=Path, default=Path("audit"), help="folder of the report")
    return Command("audit", text, parser, _audit)


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as ``1,28,28``.

    Raises:
        UsageError: The text is not a shape.
    """
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--shape takes whole numbers such as 1,28,28, got {text!r}.")
    return tuple(map(int, parts))


def _audit(arguments: Namespace) -> int:
    shape = None if arguments.shape is None else parse_shape(arguments.shape)
    if arguments.eps is not None and not 0 < arguments.eps < float("inf"):
        raise UsageError(f"--eps takes a finite number above 0, got {arguments.eps}.")
    if min(arguments.steps, arguments.count, arguments.starts) < 1:
        raise UsageError("--steps, --count and --starts take whole numbers above 0.")

    from memzoo.auditing import check_free, examples_of, load_module, load_self_map, read_data  # imports torch

    check_free(arguments.out)
    module = load_module(arguments.checkpoint, arguments.model)
    adapter = load_self_map(arguments.self_map)
    if arguments.data is not None:
        data = read_data(arguments.data, arguments.count, arguments.starts, module)
    else:
        data = examples_of(module, arguments.count, arguments.starts)
    if data.members is None and shape is None:
        raise UsageError("audit needs --data, or --shape C,H,W to look for attractors from noise alone.")
    try:
        found = memzoo.audit(
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
        )
    except NotASelfMapError as error:
        message = f"{error} On the command line: --self-map package.function."
        raise NotASelfMapError(message) from error
    except ValueError as error:
        raise AuditInputError(str(error)) from error
    found.save(arguments.out)
    print(f"{found}\n  -> {arguments.out / 'report.html'}, {arguments.out / 'report.json'}")
    return 0  # also if the network leaks: the report says so, and the command itself did not fail
