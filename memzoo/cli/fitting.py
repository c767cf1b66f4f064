"""``memzoo fit``: any architecture from a configuration file."""

from jsonargparse import Namespace

from memzoo.cli.command import Command, CommandParser

TEXT = "Train any architecture from a configuration file."


def fit_command(*, asked: bool) -> Command:
    """Describe ``memzoo fit``; its parser is built, which imports torch, only where the command is asked for."""
    if not asked:
        return Command("fit", TEXT, CommandParser(description=TEXT), lambda _: 0)

    from memzoo.fitting import FitSetup, explain, fit, fit_parser

    parser = fit_parser()

    def run(arguments: Namespace) -> int:
        report = fit(FitSetup(parser, arguments))
        if report:
            print(report, flush=True)
        return 0

    return Command("fit", TEXT, CommandParser(parser), run, lambda words, error: explain(words, parser, error))
