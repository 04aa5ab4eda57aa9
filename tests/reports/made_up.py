"""Sweeps of made-up runs, with shares of right answers that a test chooses."""

import dataclasses
import json
from pathlib import Path

from realm_jax.config import Config, Data, Finetune, Pretrain, Sweep
from realm_jax.qa.predictions import write_predictions
from realm_jax.qa.questions import Question, write_questions
from realm_jax.runtime.sharing import link
from realm_jax.workdir import DataDir, SweepDir, write_json

EVIL = "<script>alert('x')</script> | and a bar"


ASKED = {"train": 8, "dev": 4, "test": 8}
NEW_KINDS = {"test_new_kinds": 4}


def questions(split: str, name: str = "") -> list[Question]:
    return [
        Question(f"{split}-{i}", f"What{name} is {i}?", (f"answer {i}",), f"country {i // 2}")
        for i in range((ASKED | NEW_KINDS)[split])
    ]


def base_of(root: Path) -> Config:
    """An experiment, whose questions are written."""
    data = DataDir(root / "mine")
    write_questions(data.tfds, {split: questions(split) for split in ASKED})
    return Config(data=Data(directory=str(data.root)), finetune=Finetune(steps=3), pretrain=Pretrain(steps=20))


def make(root: Path, variants: dict[str, Config], right: dict[str, tuple]) -> SweepDir:
    """Runs with seeds 0, 1, ... of which each has a share of its questions right; None: it failed."""
    seeds = range(len(right["reference"]))
    sweep, folder = Sweep(variants, tuple(seeds), "reference"), SweepDir(root)
    write_json(folder.manifest, {"reference": "reference", "variants": list(reversed(right)), "seeds": list(seeds)})
    for variant, shares in right.items():
        for seed, share in enumerate(shares):
            workdir, config = folder.run(variant, seed), sweep.run(variant, seed)
            write_json(workdir.config, {"config": dataclasses.asdict(config)})
            link(config, workdir, folder)
            if share is None:
                write_json(workdir.usage, {"failed": "finetune", "stages": {"finetune": 6.0}})
                workdir.log.write_text(f"run: finetune\n{EVIL}\n\nrun: finetune failed with exit code 2; see above.\n")
                continue
            times = {"prepare": 30.0, "pretrain": 600.0} if variant != "slow" else {}
            times |= {"finetune": 60.0}
            write_json(workdir.usage, {"stages": times, "time/minutes": 11.0})
            asked = questions("test", config.questions.test[0] if config.questions.test else "")
            said = [q.answers[0] if i < 8 * share else "wrong" for i, q in enumerate(asked)]
            write_predictions(workdir.evaluation, "predictions_test", asked, said, "nq_open")
            reading = {"text": "the [MASK] of x", "truth": "y", "null": 0.1, "best": 0.9, "marginal": 0.5, "p_z": 0.25}
            results = {
                "qa/exact_match": share,
                "qa/exact_match_dev": share / 2,
                "counts": {"passages": 100} | ASKED,
                "retrieval/recall@5_zero_shot": 0.5,
                "index/max_staleness_steps": 100.0 if variant == "stale_index" else 40.0 * bool(config.pretrain.steps),
                "index/snapshots_used": 1 if variant == "stale_index" else (3 + seed) * bool(config.pretrain.steps),
                "readings": [reading | {"title": "T", "body": EVIL, "query": 0, "row": 3}],
            }
            write_json(workdir.evaluation / "results.json", results)
            lines = [
                {"step": s, "probe/span_recall@5": s / 100 + seed / 10, "retrieval/utility": share * s}
                for s in range(0, 21, 10)
            ]
            if config.pretrain.steps:
                stage = workdir.stage("pretrain")
                # Of one, all but the metrics was removed.
                done = stage.forgotten if variant == "stale_index" else stage.done
                write_json(done, {"step": 0 if seed else 15, "last_step": 20})
                metrics = stage.metrics
                metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
            (workdir.report).mkdir()
            (workdir.report / "index.html").touch()
    return folder
