"""``memzoo fit``: any architecture from a configuration file."""

from jsonargparse import Namespace

from memzoo.cli.command import Command, CommandParser

TEXT = "Train any architecture from a configuration file."


def fit_command(words: list[str] | None) -> Command:
    """Describe ``memzoo fit``.

    Args:
        words: The words after ``fit``. None if another command is asked for: then the parser of ``fit``, which imports
            torch, is not built.

    Raises:
        UsageError: A configuration file cannot be read.
    """
    if words is None:
        return Command("fit", TEXT, CommandParser(description=TEXT), lambda _: 0)

    from memzoo.fitting import FitSetup, explain, fit, fit_parser, read_given

    if not {"-h", "--help"} & {*words}:
        read_given(words)  # raises for a file with which the parser would never end
    parser = fit_parser()

    def run(arguments: Namespace) -> int:
        report = fit(FitSetup(parser, arguments))
        if report:
            print(report, flush=True)
        return 0

    return Command("fit", TEXT, CommandParser(parser), run, lambda words, error: explain(words, parser, error))
