"""A sweep of four variants and two seeds, for tests of what is done with it."""

import dataclasses

from realm_jax.config import Config, Finetune, Index, Pretrain, WarmUp
from realm_jax.workdir import Workdir, write_json, write_text

BASE = Config(
    index=Index(refresh="inline"),
    warm_up=WarmUp(steps=2),
    pretrain=Pretrain(steps=4, checkpoint_every=2),
    finetune=Finetune(steps=4),
)


EXPERIMENT = """
from dataclasses import replace
from realm_jax.config import *

def get_sweep():
    base = Config(
        index=Index(refresh="inline"),
        warm_up=WarmUp(steps=2),
        pretrain=Pretrain(steps=4, checkpoint_every=2),
        finetune=Finetune(steps=4),
    )
    none = replace(base, warm_up=WarmUp(), pretrain=replace(base.pretrain, steps=0))
    variants = {
        "realm": base,
        "slow": replace(base, finetune=replace(base.finetune, learning_rate=1e-5)),
        "stale": replace(base, index=replace(base.index, refresh_every=2)),
        "none": none,
    }
    return Sweep(variants, SEEDS, "realm")
"""


def change(config: Config = BASE, **parts) -> Config:
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()}
    )


def finish(workdir: Workdir) -> None:
    """Leaves what tells that a run is finished."""
    write_json(workdir.results, {})
    write_text(workdir.report / "index.html", "")
