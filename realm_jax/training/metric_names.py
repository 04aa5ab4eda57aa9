"""Every metric of `<stage>/metrics.jsonl`: the stages that write it, and its meaning.

The reference of metrics in the documentation is made of this table; `tests/training/test_metric_names.py` holds that
it has every name that a stage writes, and no other.
"""

from typing import NamedTuple

ALL = ("all",)


class Metric(NamedTuple):
    """One name in `metrics.jsonl`. Figures of learning are means over the steps since the last line; those under
    `index/` and `time/` are the worst of them."""

    stages: tuple[str, ...]
    meaning: str


METRICS = {
    "loss/total": Metric(ALL, "The loss that is minimised."),
    "loss/retriever": Metric(("finetune",), "The early loss, over the beam."),
    "loss/reader": Metric(("finetune",), "The span loss, over the passages read."),
    "optimizer/gradient_norm": Metric(ALL, "Norm of the gradient, before clipping."),
    "retrieval/utility": Metric(("pretrain",), "log p(y|x) - log p(y|null, x), in nats per hidden wordpiece."),
    "retrieval/p_null": Metric(("pretrain",), "p(z|x) of the null passage."),
    "retrieval/p_best": Metric(("pretrain",), "p(z|x) of the best other passage."),
    "retrieval/hits": Metric(
        ("pretrain",),
        "Share of the queries drawn with a holder (of the first 16) among the candidates, or among the "
        "`pretrain.answer_within` best passages.",
    ),
    "retrieval/in_batch_accuracy": Metric(("ict",), "Share of sentences that find their passage in the batch."),
    "retrieval/beam_recall": Metric(("finetune",), "Share of questions with an answer in the beam."),
    "retrieval/recall@1": Metric(("finetune",), "Share of questions with an answer in the best passage."),
    "retrieval/recall_read": Metric(("finetune",), "Share of questions with an answer in the passages read."),
    "reader/token_accuracy": Metric(("warm_up",), "Share of hidden wordpieces predicted right."),
    "reader/answer_in_read": Metric(("finetune",), "Share of questions with a span read that equals an answer."),
    "qa/exact_tokens": Metric(("closed_book",), "Share of answers right in every wordpiece."),
    "salience/<kind>": Metric(
        ("pretrain",), "With `masking.kind learned`: retrieval utility as measured for spans of that kind."
    ),
    "index/snapshot": Metric(("pretrain",), "Step of the snapshot in use."),
    "index/staleness_steps": Metric(("pretrain",), "Age of the snapshot in use, in steps."),
    "probe/span_recall@5": Metric(
        ("pretrain",),
        "Recall on fresh vectors of held-out spans (their first 16 holders count), among a fixed pool of "
        "`pretrain.probe_passages`: higher than over all passages.",
    ),
    "probe/question_recall@5": Metric(("pretrain",), "The same of dev questions."),
    "probe/question_new_kinds_recall@5": Metric(
        ("pretrain",), "The same of dev questions of kinds that training does not have."
    ),
    "probe/exact_match": Metric(("finetune", "closed_book"), "Exact match on dev questions."),
    "probe/exact_match_new_kinds": Metric(("finetune",), "The same of kinds that training does not have."),
    "probe/recall@5": Metric(("finetune",), "Recall of the same dev questions, over all passages."),
    "probe/recall@5_new_kinds": Metric(("finetune",), "The same of kinds that training does not have."),
    "probe/entity_f1": Metric(("tagger",), "F1 on dev text, of whole entities of the right type."),
    "probe/score": Metric(("pretrain", "finetune", "closed_book", "tagger"), "The figure that chooses the checkpoint."),
    "tagger/token_accuracy": Metric(("tagger",), "Share of words' wordpieces labelled right."),
    "time/steps_per_s": Metric(ALL, "Rate over the last 30 lines of training, of `log_every` steps each."),
    "time/index_wait_s": Metric(
        ("pretrain",),
        "Seconds waited for snapshots after the first, since the trainer was last started; the report sums all starts.",
    ),
}
