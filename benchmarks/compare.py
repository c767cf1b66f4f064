"""Compare the ratios of a run of the benchmarks with the stored ones.

``ratios.py`` and ``training.py`` write what they found beside themselves. ``stored.json`` keeps, for each case, how
many times as fast as plain PyTorch memzoo was. Ratios of one run depend less on the machine than times do, but they
do depend on it: store them on an idle machine.

    python benchmarks/ratios.py --quick && python benchmarks/training.py
    python benchmarks/compare.py                # exit status 1 where a case has become slower by more than the factor
    python benchmarks/compare.py --store        # keep this run
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
STORED = HERE / "stored.json"
SLOWER = 1.5


def read_ratios(folder: Path = HERE) -> dict[str, float]:
    """Read how many times as fast as plain PyTorch each case was in the last runs, by its name.

    Raises:
        FileNotFoundError: Neither benchmark was run.
    """
    speed = {}
    if (path := folder / "ratios.json").is_file():
        for row in json.loads(path.read_text())["rows"]:
            speed[f"{row['case']} / {row['plain']}"] = row["ratio"]
    if (path := folder / "training.json").is_file():
        for row in json.loads(path.read_text())["rows"]:
            speed[row["case"]] = 1 / row["ratio"]  # this file holds the time of memzoo over that of plain PyTorch
    if not speed:
        raise FileNotFoundError(f"no ratios.json or training.json in {folder}; run ratios.py and training.py first.")
    return speed


def find_slower(stored: dict[str, float], now: dict[str, float], factor: float) -> list[str]:
    """Name the cases of this run that have become slower by more than ``factor``."""
    return [case for case, speed in now.items() if case in stored and stored[case] > factor * speed]


def main(factor: float, *, store: bool) -> int:
    """Print a line for each case, and return the exit status."""
    now = read_ratios()
    if store:
        rounded = {case: float(f"{speed:.3g}") for case, speed in now.items()}
        STORED.write_text(json.dumps(rounded, indent=2) + "\n")
        print(f"{len(now)} ratios stored in {STORED.name}")
        return 0
    stored = json.loads(STORED.read_text())
    worse = find_slower(stored, now, factor)
    for case, speed in now.items():
        before = f"{stored[case]:8.2f}x" if case in stored else "     new "
        mark = "   SLOWER" if case in worse else ""
        print(f"{case:<90} {before} -> {speed:8.2f}x{mark}")
    # cases that were renamed or left out would otherwise vanish without a word
    for case in sorted(stored.keys() - now.keys()):
        print(f"{case:<90} {stored[case]:8.2f}x, not in this run")
    print(f"{len(worse)} of {len(now)} cases are slower by a factor of more than {factor:g}.")
    return 1 if worse else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slower", type=float, default=SLOWER, metavar="FACTOR", help="tolerated (default: 1.5)")
    parser.add_argument("--store", action="store_true", help="keep this run instead")
    given = parser.parse_args()
    sys.exit(main(given.slower, store=given.store))
