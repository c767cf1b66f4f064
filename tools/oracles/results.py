"""Keep the outcomes of cases in a file, so that a run that was stopped continues; print them as a table."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tools.oracles.outcomes import FAULTS, WORDS, Outcome


class Results:
    """Keep the outcomes of one part of this tool, a line of JSON for each case.

    They hold only while memzoo and this tool are the same: a change of either begins a new file.
    """

    def __init__(self, root: Path, part: str) -> None:
        self.file = root / ".oracles" / f"{part}-{_digest_sources(root)}.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may have been cut off
        self.known = {row["case"]: [Outcome(**outcome) for outcome in row["outcomes"]] for row in rows}

    def add(self, case: str, outcomes: Sequence[Outcome]) -> None:
        """Add the outcomes of a case, and write them to the file."""
        self.known[case] = list(outcomes)
        self.file.parent.mkdir(exist_ok=True)
        row = {"case": case, "outcomes": [asdict(outcome) for outcome in outcomes]}
        with self.file.open("a") as file:
            # a line break on both sides: the last line of a run that was stopped may have none
            file.write(f"\n{json.dumps(row)}\n")


def _digest_sources(root: Path) -> str:
    """Compute one digest of the files of memzoo and of this tool."""
    digest = hashlib.sha256()
    for folder in ("memzoo", "tools/oracles"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(str(file.relative_to(root)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def format_table(outcomes: Iterable[Outcome]) -> str:
    """Format how often each word was said, by kind and by measure."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        for key in ((outcome.kind, outcome.measure), ("all", "")):
            counts.setdefault(key, Counter())[outcome.word] += 1
    said = [word for word in WORDS if any(count[word] for count in counts.values())]
    width = max([4, *(len(kind) for kind, _ in counts)])
    lines = [f"{'kind':<{width}}  {'measure':<14}{'number':>8}" + "".join(f"{word:>11}" for word in said)]
    for kind, measure in sorted(counts, key=lambda key: (key[0] == "all", key)):
        count = counts[kind, measure]
        number = count.total()
        cells = [f"{count[word]:>5}{100 * count[word] / number:>5.0f}%" if count[word] else "" for word in said]
        lines.append(f"{kind:<{width}}  {measure:<14}{number:>8}" + "".join(f"{cell:>11}" for cell in cells).rstrip())
    return "\n".join(lines)


def select_faults(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Select the outcomes that must not occur."""
    return [outcome for outcome in outcomes if outcome.word in FAULTS]
