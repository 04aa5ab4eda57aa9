"""`python -m tests.robustness`: all bad inputs, and a table of how they ended; some minutes. `make fuzz` calls it."""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.robustness import damaged_workdirs, odd_machines, odd_options, odd_processes, odd_texts, odd_weights
from tests.robustness.driver import Case, judge, report


def cases(root: Path) -> Iterator[Case]:
    """All, over templates that are made in a folder."""
    template, vocab = damaged_workdirs.finished(root), root / "world" / "vocab.txt"
    yield from odd_options.cases(template)
    yield from odd_texts.cases(template, vocab)
    yield from odd_weights.cases(odd_weights.weights(root))
    yield from damaged_workdirs.cases(template)
    yield from odd_machines.permissions(template, vocab)
    yield from odd_machines.full_disks(template, vocab)
    yield from odd_processes.cases(template)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=(), metavar="CATEGORY", help="these alone; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs, drawn by --seed (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="realm-fuzz-") as name:
        root = Path(name)
        chosen = [case for case in cases(root) if not options.only or case.category in options.only]
        chosen = random.Random(options.seed).sample(chosen, round(len(chosen) * options.share))
        chosen.sort(key=lambda case: case.category)
        verdicts = []
        for number, case in enumerate(chosen):
            verdicts.append(judge(case, root))
            if verdicts[-1].fault:
                print(f"{case.category}: {case.name}: {verdicts[-1].fault}", file=sys.stderr, flush=True)
            elif number % 100 == 0:
                print(f"{number} of {len(chosen)}: {case.category}", file=sys.stderr, flush=True)
        report(verdicts)
    return int(any(verdict.fault for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
