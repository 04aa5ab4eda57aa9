"""A sweep whose runs answered a second test set, of kinds of question that training had none of."""

import dataclasses
import shutil

from realm_jax.config import Pretrain
from realm_jax.evaluation.recall import ranks_file
from realm_jax.qa.predictions import write_predictions
from realm_jax.qa.questions import write_questions
from realm_jax.reports.sweep_elsewhere import with_reports
from realm_jax.reports.sweep_record import read_sweep
from realm_jax.reports.sweep_report import write_sweep_report
from realm_jax.reports.sweep_tables import tables
from realm_jax.workdir import DataDir, read_json, write_json
from tests.reports import made_up


def test_answers_of_new_kinds_are_compared_by_themselves_and_carried_along(tmp_path):
    """Half of those of the reference are right, none of the other's, whatever else they answered."""
    root = tmp_path / "sweep"
    base = made_up.base_of(tmp_path)
    variants = {"reference": base, "no_warm_up": dataclasses.replace(base, pretrain=Pretrain(steps=10))}
    folder = made_up.make(root, variants, {"reference": (0.5,), "no_warm_up": (0.5,)})
    asked = made_up.questions("test_new_kinds")
    splits = {split: made_up.questions(split) for split in (*made_up.ASKED, *made_up.NEW_KINDS)}
    shutil.rmtree(tmp_path / "mine")
    write_questions(DataDir(tmp_path / "mine").tfds, splits)
    for variant, right in (("reference", 2), ("no_warm_up", 0)):
        workdir = folder.run(variant, 0)
        said = [question.answers[0] if i < right else "wrong" for i, question in enumerate(asked)]
        write_predictions(workdir.evaluation, "predictions_test_new_kinds", asked, said, "nq_open")
        write_json(ranks_file(workdir), {"test": [0] * 8, "test_new_kinds": [1, 5, 6 - right, 0]})
        results = read_json(workdir.results)
        counts = results["counts"] | made_up.NEW_KINDS
        write_json(workdir.results, results | {"qa/exact_match_new_kinds": right / 4, "counts": counts})
    here = read_sweep(root)
    recall = here.difference("no_warm_up", "reference", "retrieval/recall@5_new_kinds")
    assert recall.mean == -0.25 and here.difference("no_warm_up", "reference", "retrieval/recall@5").mean == 0.0
    difference = here.difference("no_warm_up", "reference", "qa/exact_match_new_kinds")
    assert difference.mean == -0.5 and here.difference("no_warm_up", "reference").mean == 0.0
    write_sweep_report(root)
    (table,) = [table for table in tables(here) if table.name == "variants"]
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert (
        row["exact match, test of new kinds"] == "0.000"
        and "−0.500" in row["exact_match_new_kinds less the reference's"]
    )
    shutil.copytree(folder.report, tmp_path / "report")
    shutil.rmtree(root / "runs" / "reference" / "0" / "report")
    there = with_reports(read_sweep(root), [tmp_path / "report"])
    assert there.of("reference")[0].state == "elsewhere"
    assert there.difference("no_warm_up", "reference", "qa/exact_match_new_kinds").mean == -0.5
    assert there.difference("no_warm_up", "reference", "retrieval/recall@5_new_kinds").mean == -0.25
