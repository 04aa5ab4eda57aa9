"""The paper's first claim and table 2, from a start that cannot retrieve: see `factbook_paper`.

    realm sweep experiments/factbook_paper_sweep.py --sweep_dir runs/factbook_paper_sweep
    realm report --sweep runs/factbook_paper_sweep

With 100, 400 and all labelled questions: REALM, the reader's warm-up without REALM, and ICT alone, which is the paper's
baseline ORQA. Every arm is fine-tuned until dev questions stop rising. With all questions the rows of table 2 too.

Time: not yet measured as a whole.
Expected: not yet measured.
"""

from dataclasses import replace

import ablations
import factbook_paper
import factbook_transfer_sweep
from ablations import change

from realm_jax.config import ClosedBook, Config, Sweep

FEW = (100, 400)
TABLE_2 = (
    ablations.no_pretraining,
    ablations.realm_retriever_baseline_encoder,
    ablations.baseline_retriever_realm_encoder,
    ablations.random_uniform_masks,
    ablations.random_span_masks,
    ablations.stale_index,
)


def get_base() -> Config:
    base = factbook_paper.get_config()
    base = replace(base, closed_book=ClosedBook(), evaluation=replace(base.evaluation, bm25=False))
    return change(base, finetune=factbook_transfer_sweep.END)


def get_sweep() -> Sweep:
    base = get_base()
    variants = {ablations.REFERENCE: base}
    variants |= {arm.__name__: arm(base) for arm in (*TABLE_2, ablations.warm_up_only)}
    for count in FEW:
        few = change(base, finetune={"questions": count})
        variants[f"realm-{count}"] = few
        variants |= {f"{arm.__name__}-{count}": arm(few) for arm in (ablations.no_pretraining, ablations.warm_up_only)}
    return Sweep(variants=variants, seeds=factbook_transfer_sweep.SEEDS, reference=ablations.REFERENCE)
