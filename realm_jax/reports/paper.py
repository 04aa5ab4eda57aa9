"""The paper's figures (arXiv 2002.08909v1), beside which a sweep's tables put ours; docs/paper.md has it too."""

REALM = "reference"
"""Stands for a sweep's reference variant, of any name."""

TABLE_1 = (
    # system, test exact match on NaturalQuestions, WebQuestions and CuratedTREC, the variants that do the same here
    ("ORQA", (33.3, 36.4, 30.1), ("no_pretraining", "webquestions_no_pretraining", "curatedtrec_no_pretraining")),
    ("REALM, X = Wikipedia", (39.2, 40.2, 46.8), (REALM, "webquestions", "curatedtrec")),
    ("REALM, X = CC-News", (40.4, 40.7, 42.9), ("cc_news", "cc_news_webquestions", "cc_news_curatedtrec")),
)
BASELINES = {
    variant: baseline
    for baseline, *others in list(zip(*(variants for _, _, variants in TABLE_1), strict=True))[1:]
    for variant in others
}
"""Of the variants that answer other questions than the reference: the one without pre-training on the same questions,
which they are compared with."""
TABLE_2 = (
    # ablation, exact match and zero-shot recall@5 on NaturalQuestions' dev questions, the variant
    ("REALM", (38.2, 38.5), REALM),
    ("REALM retriever + baseline encoder", (37.4, 38.5), "realm_retriever_baseline_encoder"),
    ("baseline retriever + REALM encoder", (35.3, 13.9), "baseline_retriever_realm_encoder"),
    ("baseline (ORQA)", (31.3, 13.9), "no_pretraining"),
    ("REALM with random uniform masks", (32.3, 24.2), "random_uniform_masks"),
    ("REALM with random span masks", (35.3, 26.1), "random_span_masks"),
    ("30 times stale index", (28.7, 15.1), "stale_index"),
)
TABLE_3 = {
    "text": "An equilateral triangle is easily constructed using a straightedge and compass, because 3 is a [MASK] "
    "prime.",
    "truth": "Fermat",
    "null": 1.1e-14,  # BERT, which reads no passage
    "best": 1.0,
    "marginal": 0.129,
}
ORDERINGS = (
    # what the paper's tables 2 and 1 say is better, what worse
    (REALM, "no_pretraining"),
    (REALM, "realm_retriever_baseline_encoder"),
    (REALM, "baseline_retriever_realm_encoder"),
    ("realm_retriever_baseline_encoder", "no_pretraining"),
    ("baseline_retriever_realm_encoder", "no_pretraining"),
    (REALM, "random_span_masks"),
    ("random_span_masks", "random_uniform_masks"),
    (REALM, "stale_index"),
    ("cc_news", "no_pretraining"),
    *BASELINES.items(),
)
