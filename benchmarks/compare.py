"""Ratios that fell between two outputs of `benchmarks/cpu.py`: a guard against slow code.

    python benchmarks/cpu.py > new.txt
    python benchmarks/compare.py docs/results/bench-cpu-epyc.txt new.txt

Absolute times of two machines say nothing about the code; ratios to a baseline of the same run do. A ratio of speeds
and a recall fall when they are smaller, a ratio of times when it is larger. The exit code is 1 if one fell by more than
5 %.
"""

import argparse
import re
import sys
from pathlib import Path

WORSE = 0.05
ROW = re.compile(
    r"(?P<name>\S.*?)  +(?P<measured>[\d.,]+)\b.*?  +(?P<kind>speed|time|recall), .*?(?P<ratio>  [\d.]+)? *$"
)


def ratios(path: Path) -> dict[str, tuple[str, float]]:
    """What each row compares, and its ratio."""
    rows = (ROW.match(line) for line in path.read_text().splitlines())
    return {row["name"]: (row["kind"], float(row["ratio"] or row["measured"])) for row in rows if row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    old, new = ratios(options.old), ratios(options.new)
    if not old.keys() & new.keys():
        parser.error(f"{options.old} and {options.new} have no row of benchmarks/cpu.py in common")
    fell = 0
    for name, (kind, before) in old.items():
        if name not in new:
            print(f"{name}: not in {options.new}")
            continue
        after = new[name][1]
        change = (before / after if kind == "time" else after / before) - 1
        worse = change < -WORSE
        fell += worse
        print(f"{name:<46} {kind:<7} {before:>6.3g} -> {after:>6.3g}  {change:>+5.0%}{'  FELL' * worse}")
    sys.exit(1 if fell else 0)


if __name__ == "__main__":
    main()
