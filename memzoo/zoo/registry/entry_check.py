"""Check the parts of an entry that need the architectures and the measures; this check imports torch."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from memzoo._reading import show_text
from memzoo.errors import RegistryError
from memzoo.zoo.entry import Entry, Fact


def check_entry(entry: Entry, path: Path) -> Entry:
    """Check that the network of an entry can be built, and that its facts can be measured.

    The schema alone cannot check this. Entries can be listed without torch; for everything else they are checked here
    first.

    Args:
        entry: Entry that follows the schema.
        path: File of the entry, for the message.

    Returns:
        The entry.

    Raises:
        RegistryError: There is no such architecture or measure, or its configuration or arguments are wrong; the
            message names file, entry and field.
    """
    try:
        entry.architecture_config()
        problems = "; ".join(_find_wrong_facts(entry))
    except RegistryError as error:
        raise RegistryError(f"{path}: {error}") from error
    except RecursionError as error:
        raise RegistryError(f"{path}: entry {entry.id!r} is nested too deeply.") from error
    if problems:
        raise RegistryError(f"{path}: entry {entry.id!r} does not follow the schema: {problems}.")
    return entry


def _find_wrong_facts(entry: Entry) -> Iterator[str]:
    """Yield a message for each wrong fact, with the place of the fact in the entry."""
    from memzoo.zoo.measures import OF_A_PART

    for place, fact in enumerate(entry.facts):
        problem = _find_wrong_measure(fact)
        if problem is not None:
            yield f"facts.{place}{problem}"
    if entry.training_set is not None:
        wrong = sorted({fact.measure for fact in entry.facts} - OF_A_PART)
        if wrong:
            yield f"measures {wrong} speak of all training images, of which only some travel; take {sorted(OF_A_PART)}"


def _find_wrong_measure(fact: Fact) -> str | None:
    """Say what is wrong with the measure of a fact or with its arguments; None if nothing is."""
    from memzoo.zoo.measures import MEASURES

    measure = MEASURES.get(fact.measure)
    if measure is None:
        return f".measure: no measure '{show_text(fact.measure)}', there are {', '.join(sorted(MEASURES))}"
    try:
        inspect.signature(measure).bind(None, **fact.args)  # None in the place of the measurements
    except TypeError as error:
        return f": args do not fit the measure {fact.measure!r}: {show_text(str(error))}"
    return None
