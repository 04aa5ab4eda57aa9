"""Bad inputs end with one message, exit code 2 and no harm: a share of those of `make fuzz`, and its own judge."""

import dataclasses
import math
import random
import sys
import time

import pytest

from realm_jax.errors import PREFIX
from tests.robustness import damaged_workdirs, driver, odd_machines, odd_options, odd_texts, odd_weights
from tests.robustness.driver import Case, judge

SHARES = {
    "numbers": 25, "words": 8, "launcher": 8, "experiments": 20, "questions": 8, "predictions": 3, "question sets": 3,
    "documents": 4, "weights": 5, "damaged workdirs": 25, "permissions": 6, "full disks": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root = tmp_path_factory.mktemp("robustness")
    template, vocab = damaged_workdirs.finished(root), root / "world" / "vocab.txt"
    return [
        *odd_options.cases(template),
        *odd_texts.cases(template, vocab),
        *odd_weights.cases(odd_weights.weights(root)),
        *damaged_workdirs.cases(template),
        *odd_machines.permissions(template, vocab),
        *odd_machines.full_disks(template, vocab),
    ]


@pytest.mark.parametrize("category", SHARES)
def test_bad_inputs_end_as_promised(cases, category, tmp_path):
    of = [case for case in cases if case.category == category]
    verdicts = [judge(case, tmp_path) for case in random.Random(5).sample(of, SHARES[category])]
    assert [(verdict.case.name, verdict.fault, verdict.said) for verdict in verdicts if verdict.fault] == []


def test_there_are_two_thousand(cases):
    assert len(cases) > 2000 and {case.category for case in cases} == set(SHARES)


@pytest.mark.parametrize("job", odd_options.kinds())
def test_every_number_has_a_lower_and_an_upper_end(job):
    for name, (_, bounds) in odd_options.numbers(odd_options.kinds()[job]).items():
        assert bounds is not None and bounds.low <= bounds.high, name
        assert math.isfinite(bounds.low) and math.isfinite(bounds.high), name


def test_there_are_numbers_among_the_options_of_jobs():
    kinds = odd_options.kinds()
    assert {"ask", "run", "sweep", "experiment"} <= {job for job in kinds if odd_options.numbers(kinds[job])}


def refuses(argv):
    print(f"{PREFIX}a.txt: no", file=sys.stderr)
    return 2


def raises(argv):
    raise KeyError("bug")


def sleeps(argv):
    while True:
        time.sleep(0.1)


def silent(argv):
    return 2


def harms(argv):
    with open(argv[0], "w") as file:
        file.write("other")
    return refuses(argv)


def crashes(argv):
    return 1


@pytest.mark.parametrize(
    ("main", "fault"),
    [
        (refuses, ""),
        (raises, "traceback"),
        (sleeps, "hang"),
        (silent, "no message"),
        (harms, "harm"),
        (crashes, "wrong exit code"),
        (lambda argv: 0, "accepted nonsense"),
    ],
)
def test_the_judge_sees_what_is_not_as_promised(main, fault, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "LIMIT_S", 0.05)

    def lay(place):
        (place / "a.txt").write_text("text")
        return [str(place / "a.txt")]

    verdict = judge(Case("own", "own", lay, refused=True, main=main), tmp_path)
    assert verdict.fault == fault
    assert f"1 {fault}" in driver.table([verdict]) or not fault
    assert judge(dataclasses.replace(verdict.case, says="nowhere said"), tmp_path).fault


def test_an_exit_code_of_0_is_right_where_the_input_may_be_good(tmp_path):
    assert not judge(Case("own", "own", lambda place: [], main=lambda argv: 0), tmp_path).fault
