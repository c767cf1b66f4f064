"""The command line: parse arguments, call the rest.

Exit status: 0 when it did what was asked, 1 when a check failed or something was missing, 2 for wrong usage.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

import memzoo
from memzoo.errors import AuditInputError, CheckpointMissingError, MemzooError, NotASelfMapError


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    ours, theirs = _without_trainer(sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(ours)
    if rest and arguments.run is not _fit:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if theirs and arguments.run is not _train:
        parser.error(f"unrecognized arguments: {' '.join(theirs)}")
    arguments.rest = rest or theirs
    try:
        for path in arguments.registry:
            memzoo.register(path)
        return arguments.run(arguments)
    except (MemzooError, OSError) as error:
        print(f"memzoo: {error}", file=sys.stderr)
        return 1


def _without_trainer(argv: list[str]) -> tuple[list[str], list[str]]:
    """The options of ``train`` that are Lightning's, each with its value, apart from ours."""
    ours, theirs = [], []
    training = _command_of(argv) == "train"
    values = iter(argv)
    for word in values:
        if not training or not word.startswith("--trainer."):
            ours.append(word)
        else:
            theirs += [word] if "=" in word else [word, *([] if (value := next(values, None)) is None else [value])]
    return ours, theirs


def _command_of(argv: list[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    words = iter(argv)
    for word in words:
        if word == "--registry":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memzoo",
        description="Memorization in overparameterized autoencoders: a zoo of trained networks.",
        allow_abbrev=False,  # --trainer is not short for --trainer.NAME
    )
    parser.add_argument("--version", action="version", version=memzoo.__version__)
    parser.add_argument(
        "--registry", type=Path, action="append", default=[], help="one more registry file (also MEMZOO_REGISTRIES)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    listing = command("list", _list, "List the checkpoints.")
    listing.add_argument("pattern", nargs="?", default="*", help="as in a shell, e.g. 'cifar10-*'")
    listing.add_argument("--json", action="store_true", help="entries as JSON")

    about = command("info", _info, "Show the entry of a checkpoint: recipe, facts, hashes, rights.")
    about.add_argument("id")
    about.add_argument("--json", action="store_true", help="as JSON instead of YAML")

    training = command("train", _train, "Train a checkpoint, or all of a figure, from the recipe.")
    training.add_argument("id", help="a checkpoint, or a figure or table such as table2: all of its checkpoints")
    training.add_argument("--out", type=Path, default=Path("runs"), help="folder that receives ID/ (default: runs)")
    training.add_argument("--seed", type=int, help="of the initial values (default: the recipe's)")
    training.add_argument("--data", type=Path, help="where the dataset lies (default: the checkpoint's own images)")
    training.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    training.add_argument("--record", type=Path, metavar="ROOT", help="then put it into the source tree at ROOT")
    training.add_argument("--trainer.NAME", metavar="VALUE", help="an option of Lightning's Trainer, e.g. devices")

    checking = command("verify", _verify, "Recompute every fact of a checkpoint from its files.")
    checking.add_argument("id", nargs="?")
    checking.add_argument("--all", action="store_true", help="every checkpoint")
    checking.add_argument(
        "--hub", action="store_true", help="compare registry and Hub instead: missing, extra, changed"
    )
    checking.add_argument("--data", type=Path, help="where the datasets lie, for facts of whole training sets")
    checking.add_argument("--json", action="store_true", help="as JSON")

    publishing = command("publish", _publish, "Publish a checkpoint to the Hugging Face Hub, in one commit.")
    publishing.add_argument("id", nargs="?", help="of a registry, or local-dir:PATH as `memzoo train` writes it")
    publishing.add_argument("repository", nargs="?", help="organisation/name")
    publishing.add_argument("--all", action="store_true", help="every checkpoint, each to NAMESPACE/ID")
    publishing.add_argument("--namespace", help="user or organisation, with --all")
    publishing.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    publishing.add_argument("--private", action="store_true", help="make a new repository private")
    publishing.add_argument("--overwrite-card", action="store_true", help="replace a card that was edited by hand")
    publishing.add_argument(
        "--record", type=Path, metavar="FILE", help="registry file that receives repository and commit"
    )

    fetching = command("download", _download, "Put whole checkpoints into a folder, for machines without network.")
    fetching.add_argument("id", nargs="?")
    fetching.add_argument("--all", action="store_true", help="every checkpoint")
    fetching.add_argument("--to", type=Path, required=True, metavar="DIR", help="use it with MEMZOO_DIR=DIR")

    command("schema", _schema, "Print the JSON Schema of registry files, for editors.")

    fitting = commands.add_parser("fit", add_help=False, help="Train any architecture from a configuration file.")
    fitting.set_defaults(run=_fit)  # its own parser has its own --help

    figure = command("reproduce", _reproduce, "Reproduce a figure or table of the paper from its checkpoints.")
    figure.add_argument("figure", nargs="?", help="fig1a to fig12, table1, table2, and others beyond the paper: --list")
    figure.add_argument("--all", action="store_true", help="every figure, and a page that shows them")
    figure.add_argument("--list", action="store_true", help="name them all, and make none")
    figure.add_argument("--out", type=Path, default=Path("reproduced"), help="folder for PNG, PDF, JSON and the page")
    figure.add_argument(
        "--checkpoint", help="another checkpoint of the same kind, e.g. local-dir:runs/mnist20-fc14x128"
    )

    auditing = command("audit", _audit, "Report which training images come out of an autoencoder when it is iterated.")
    auditing.add_argument("--checkpoint", required=True, help="a .ckpt file with --model, or a checkpoint of the zoo")
    auditing.add_argument("--model", metavar="PKG.CLASS", help="the LightningModule class that the .ckpt is of")
    auditing.add_argument(
        "--data",
        help="training images, controls and starts: a .npz or .safetensors file, a folder of images, or pkg.DataModule "
        "(default: those of a zoo checkpoint, else attractors from noise alone)",
    )
    auditing.add_argument("--self-map", metavar="PKG.FUNCTION", help="function(module, x): the reconstruction of x")
    auditing.add_argument("--eps", type=float, help="radius of recovery, L2 (default: from the images)")
    auditing.add_argument("--steps", type=int, default=200, help="iterations (default: 200)")
    auditing.add_argument("--count", type=int, default=100, help="most members, most controls (default: 100)")
    auditing.add_argument("--starts", type=int, default=200, help="most starts (default: 200)")
    auditing.add_argument("--shape", help="shape of one image, e.g. 1,28,28, without --data")
    auditing.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    auditing.add_argument("--out", type=Path, default=Path("audit"), help="folder of the report (default: audit)")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    entries = [memzoo.info(name) for name in memzoo.list_models(arguments.pattern)]
    if arguments.json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return 0
    width = max((len(entry.id) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.id:<{width}}  {entry.title}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from memzoo.zoo import entry_yaml

    entry = memzoo.info(arguments.id)
    print(json.dumps(entry.model_dump(mode="json"), indent=2) if arguments.json else entry_yaml(entry), end="")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from memzoo.zoo import checkpoints_of, record
    from memzoo.zoo.trainer_options import TrainerOptionError, trainer_options
    from memzoo.zoo.training import train_recipe

    ids, status = checkpoints_of(arguments.id), 0
    for id in ids:
        if len(ids) > 1 and (arguments.out / id).exists() and not arguments.overwrite:
            print(f"{arguments.out / id} is there already, and is kept; --overwrite trains it again.")
            continue
        try:  # loggers and callbacks are made anew for each
            done = train_recipe(
                id,
                arguments.out,
                seed=arguments.seed,
                data_root=arguments.data,
                overwrite=arguments.overwrite,
                **trainer_options(arguments.rest),
            )
        except TrainerOptionError as error:
            return _usage(str(error))
        if done.rows is None:
            continue  # another process of a distributed run writes
        print(f"wrote {done.folder}; load it with memzoo.load('local-dir:{done.folder}')")
        for row in done.rows:
            print(f"  {row}", flush=True)
        reached = all(row.holds for row in done.rows)
        refused = arguments.record is not None and bool(done.deviations)
        status = max(status, 0 if reached and not refused else 1)
        if arguments.record is not None and not reached:
            print(f"memzoo: {id} is not recorded, a required bound is not met.", file=sys.stderr)
        elif refused:
            print(
                f"memzoo: {id} is not recorded, trained with other Trainer options than the recipe: "
                f"{', '.join(done.deviations)}.",
                file=sys.stderr,
            )
        elif arguments.record is not None:
            record(done.folder, arguments.record)
            print(f"recorded {id} in {arguments.record / 'checkpoints.yaml'}")
    return status


def _chosen(one: str | None, everything: bool, names: list[str]) -> list[str]:
    if (one is None) != everything:
        print("memzoo: give one name, or --all; see --help.", file=sys.stderr)
        raise SystemExit(2)
    return names if everything else [one or ""]


def _here(one: str | None, everything: bool) -> list[str]:
    """The names to work on; of all, those whose files are in this installation or on the Hub.

    Raises:
        CheckpointMissingError: All were asked for, and there are none.
    """
    from memzoo.zoo import is_available

    names = _chosen(one, everything, memzoo.list_models())
    absent = [name for name in names if everything and not is_available(name)]
    if len(absent) == len(names):
        raise CheckpointMissingError(
            f"none of the {len(names)} checkpoints of the registry is in this installation or on the Hub, so there is "
            "nothing to do; make one with memzoo train ID."
        )
    if absent:
        print(
            f"memzoo: {len(absent)} checkpoints of the registry are neither in this installation nor on the Hub, and "
            f"are left out: {', '.join(absent)}.",
            file=sys.stderr,
        )
    return [name for name in names if name not in absent]


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.hub:
        return _compare(arguments)
    results, broken = [], False
    for name in _here(arguments.id, arguments.all):
        try:
            results.append(memzoo.verify(name, data_root=arguments.data))
        except MemzooError as error:  # one damaged checkpoint does not hide the others
            if not arguments.all:
                raise
            print(f"{name}: FAILED\n  {error}", file=sys.stderr, flush=True)
            broken = True
            continue
        if not arguments.json:
            print(results[-1], flush=True)
    if arguments.json:
        content = [
            {
                "id": result.id,
                "verdict": result.verdict,
                "ok": result.ok,
                "recorded_with": result.recorded,
                "versions": result.versions,
                "facts": [
                    {
                        **row.fact.model_dump(),
                        "measured": row.measured if row.recomputed else None,
                        "ok": row.ok,
                    }
                    for row in result.rows
                ],
            }
            for result in results
        ]
        print(json.dumps(content, indent=2))
    return 1 if broken or not all(result.ok for result in results) else 0


def _compare(arguments: argparse.Namespace) -> int:
    from memzoo.zoo import compare_with_hub, extra_repositories

    differences = {name: compare_with_hub(name) for name in _chosen(arguments.id, arguments.all, memzoo.list_models())}
    found = [(name, difference) for name, own in differences.items() for difference in own]
    if arguments.all:
        hubs = [entry.hub for entry in map(memzoo.info, differences) if entry.hub is not None]
        spaces = {hub.repository.split("/")[0] for hub in hubs}
        found += [("", difference) for difference in extra_repositories(spaces)]
    if arguments.json:
        print(json.dumps([{"id": name, "kind": d.kind, "what": d.what} for name, d in found], indent=2))
    else:
        for _, difference in found:
            print(difference)
        same = sum(not own for own in differences.values())
        print(f"{same} of {len(differences)} are the same in the registry and on the Hub.")
    return 1 if any(difference.fails for _, difference in found) else 0


def _publish(arguments: argparse.Namespace) -> int:
    options = {
        "dry_run": arguments.dry_run,
        "private": arguments.private,
        "overwrite_card": arguments.overwrite_card,
        "record": arguments.record,
    }
    if arguments.all:
        if arguments.id is not None or arguments.namespace is None:
            return _usage("publish --all takes --namespace NAME, and no id.")
        pairs = [(id, f"{arguments.namespace}/{id}") for id in _here(None, True)]
    elif arguments.id is None or arguments.repository is None or arguments.namespace is not None:
        return _usage("publish takes an id and a repository such as someone/cifar10-d1, or --all --namespace NAME.")
    else:
        pairs = [(arguments.id, arguments.repository)]
    failed = 0
    for count, (id, repository) in enumerate(pairs, 1):
        if len(pairs) > 1:
            print(f"[{count}/{len(pairs)}]", end=" ")
        try:
            result = memzoo.publish(id, repository, **options)
        except MemzooError as error:  # one that cannot be published does not keep the others
            if len(pairs) == 1:
                raise
            print(f"{id}: FAILED\n  {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(result, flush=True)
        if not arguments.dry_run and arguments.record is None:
            print(f"\nThe entry for the registry:\n\n{result.yaml}")
    return 1 if failed else 0


def _download(arguments: argparse.Namespace) -> int:
    names = _here(arguments.id, arguments.all)
    failed = 0
    for count, name in enumerate(names, 1):
        try:
            folder = memzoo.download(name, arguments.to)
        except MemzooError as error:  # one that cannot be had does not keep the others
            if len(names) == 1:
                raise
            print(f"[{count}/{len(names)}] {name}: FAILED\n  {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(f"[{count}/{len(names)}] {name} -> {folder}", flush=True)
    print(f"{len(names) - failed} of {len(names)} are there; to use them: export MEMZOO_DIR={arguments.to.absolute()}")
    return 1 if failed else 0


def _schema(_: argparse.Namespace) -> int:
    from memzoo.zoo.registry_file import json_schema_text

    print(json_schema_text(), end="")
    return 0


def _usage(message: str) -> int:
    print(f"memzoo: {message} See --help.", file=sys.stderr)
    return 2


def _reproduce(arguments: argparse.Namespace) -> int:
    from memzoo.figures import FIGURES, reproduce

    if arguments.list:
        for name, figure in FIGURES.items():
            print(f"{name:<14} {figure.title}")
        return 0
    names = _chosen(arguments.figure, arguments.all, list(FIGURES))
    if arguments.all:
        if arguments.checkpoint is not None:
            return _usage("--checkpoint goes with the name of one figure, not with --all.")
        return _reproduce_all(arguments.out, names)
    result = reproduce(names[0], arguments.out, checkpoint=arguments.checkpoint)
    print(f"{result}\n  -> {arguments.out / names[0]}.png, .pdf and .json", flush=True)
    return 0  # a claim that falls short is an answer, in the table and in the JSON


def _reproduce_all(out: Path, names: list[str]) -> int:
    from memzoo.figures import reproduce_all, write_report

    results = []
    with tqdm(total=len(names), unit="figure", file=sys.stderr, disable=None) as bar:
        for result in reproduce_all(out, names, begins=bar.set_description):
            results.append(result)
            bar.update()
            bar.write(str(result), file=sys.stdout)
    print(f"-> {write_report(results, out)}", flush=True)
    failed = [result.figure for result in results if result.failed]
    if failed:
        print(f"memzoo: {', '.join(failed)} could not be made; the page says why.", file=sys.stderr)
    return 1 if failed else 0  # a claim that falls short is an answer


def _fit(arguments: argparse.Namespace) -> int:
    from memzoo.fitting import UsageError, fit

    try:
        report = fit(arguments.rest)
    except UsageError as error:
        print(f"memzoo fit: {error}", file=sys.stderr)
        return 2
    if report:
        print(report, flush=True)
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from memzoo.auditing import check_free, examples_of, load_module, load_self_map, parse_shape, read_data

    shape = None if arguments.shape is None else parse_shape(arguments.shape)
    if shape is None and arguments.shape is not None:
        return _usage(f"--shape takes whole numbers such as 1,28,28, got {arguments.shape!r}.")
    if arguments.eps is not None and not 0 < arguments.eps < float("inf"):
        return _usage(f"--eps takes a finite number above 0, got {arguments.eps}.")
    if min(arguments.steps, arguments.count, arguments.starts) < 1:
        return _usage("--steps, --count and --starts take whole numbers above 0.")
    check_free(arguments.out)
    module, adapter = load_module(arguments.checkpoint, arguments.model), load_self_map(arguments.self_map)
    if arguments.data is not None:
        data = read_data(arguments.data, arguments.count, arguments.starts)
    else:
        data = examples_of(module, arguments.count, arguments.starts)
    if data.members is None and shape is None:
        return _usage("audit needs --data, or --shape C,H,W to look for attractors from noise alone.")
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
    return 0  # a leak is an answer, in the report


if __name__ == "__main__":
    sys.exit(main())
