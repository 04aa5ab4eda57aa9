"""Answers, fillings and explanations: what they say agrees with itself, and with the parts that made it."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from realm_jax.answering import masks
from realm_jax.answering.model import Model
from realm_jax.answering.opening import load
from realm_jax.answering.results import if_sure
from realm_jax.errors import UserError
from realm_jax.evaluation.confidence import BELOW
from realm_jax.evaluation.evaluate import Evaluation
from realm_jax.qa.predictions import read_predictions
from realm_jax.training import open_qa
from realm_jax.workdir import write_json
from tests.answering.finished import STEP, finish, save

READ = 4
CAPITAL = "What is the capital of Jura?"
MASKED = "The capital of Jura is [MASK]."


def changed(experiment, **changes):
    """The model of the run, had it other settings."""
    parts = {name: dataclasses.replace(getattr(experiment.config, name), **of) for name, of in changes.items()}
    return Model(type(experiment)(dataclasses.replace(experiment.config, **parts), experiment.workdir))


def gains(result):
    return [passage.gain for passage in result.passages]


def test_a_question_is_answered_from_its_passages(experiment, model):
    answer = model.answer(CAPITAL)
    assert answer.question == CAPITAL and answer.cut == 0
    source = answer.passages[answer.source]
    assert answer.text == source.says and answer.probability == source.p_reading > 0
    assert source.p_reading == max(passage.p_reading for passage in answer.passages)
    assert len({passage.id for passage in answer.passages}) == len(answer.passages) == READ
    p_z = [passage.p_retrieval for passage in answer.passages]
    assert sum(p_z) == pytest.approx(1) and p_z == sorted(p_z, reverse=True)
    for passage in answer.passages:
        text = experiment.texts[passage.id]
        assert (passage.title, passage.text, passage.origin) == (text.title, text.text, text.where)
        assert passage.says and passage.text[slice(*passage.span)] == passage.says and passage.gain is None


def test_answers_are_those_that_evaluate_scores(world, experiment, model):
    learned = model._stages["finetune"]
    Evaluation(experiment)._open_qa(learned.embedder, learned.index, np.zeros((4, 5), int))
    for split in ("dev", "test"):
        questions = experiment.questions(split).questions
        said = read_predictions(experiment.workdir.evaluation / f"predictions_{split}.jsonl", questions)
        assert [answer.text for answer in model.answer([q.question for q in questions])] == said
        assert len(set(said)) > 1


def test_of_a_list_each_is_answered_as_alone(experiment, model):
    texts = experiment.questions("train").texts
    assert len(texts) == 14 and model.answer([]) == []
    for one, answer in zip(map(model.answer, texts), model.answer(texts), strict=True):
        assert (one.text, one.source) == (answer.text, answer.source) and one.question == answer.question
        assert one.probability == pytest.approx(answer.probability, rel=1e-4)


def test_a_question_with_its_truth(experiment, model):
    answer = model.answer(CAPITAL)
    truth = answer.passages[1].text.split()[-1].rstrip(".")  # it stands in a passage read
    explained = model.explain(CAPITAL, truth)
    assert explained.found.text == answer.text and explained.truth == truth and explained.utility is None
    assert 0 < explained.probability < 1 and explained.log_probability == pytest.approx(np.log(explained.probability))
    assert sum(gains(explained)) == pytest.approx(0, abs=1e-5) and max(gains(explained)) > 0


@pytest.mark.parametrize("truth", ["zzz zzz", "river " * 7])
def test_a_truth_that_no_passage_read_holds(model, truth):
    """As one that is longer than any span."""
    explained = model.explain(CAPITAL, truth)
    assert explained.probability == 0 and explained.log_probability is None and gains(explained) == [None] * READ


def test_masks_are_filled(experiment, model):
    sentence = "The capital of Jura is [MASK] [MASK] [MASK] [MASK]."
    filling = model.fill(sentence)
    null, *others = filling.passages
    assert null.is_null and not null.text and filling.p_null == null.p_retrieval
    assert len({passage.id for passage in others}) == READ and None not in {passage.id for passage in others}
    assert sum(passage.p_retrieval for passage in filling.passages) == pytest.approx(1)
    assert gains(filling) == [None] * (READ + 1) and filling.probability == pytest.approx(
        np.exp(filling.log_probability)
    )
    assert len(filling.words) == 4
    for words in filling.words:
        p = [word.probability for word in words]
        assert len(p) == masks.ALTERNATIVES and p == sorted(p, reverse=True) and 0 < sum(p) < 1
    best = [experiment.tokenizer.encode(words[0].text.removeprefix("##")).ids for words in filling.words]
    assert filling.text and all(map(len, best))


def test_it_says_where_it_does_not_know(world, tmp_path):
    """Below what was chosen on dev, and where the null passage has the most of p(z|x); else nothing changes."""
    model = load(finish(world.experiment(tmp_path, evaluation={"read": READ})).workdir.root)
    with pytest.raises(UserError, match="run `evaluate`"):
        model.answer(CAPITAL, unknown=True)
    asked = [CAPITAL, "What is the capital of Kelt?"]
    answers = model.answer(asked)
    low, high = sorted(answers, key=lambda answer: answer.probability)
    assert low.probability < high.probability
    write_json(model.workdir.unknown, {BELOW: (low.probability + high.probability) / 2})
    for known, found in zip(answers, model.answer(asked, unknown=True), strict=True):
        silent = dataclasses.replace(known, text="", unknown=True)
        assert found == (known if known is high else silent)
    assert "answer: unknown" in str(silent) and high.text in str(high)
    for shown, found in zip(model.stream([(text, "Jena") for text in asked], unknown=True), answers, strict=True):
        assert shown.found.unknown == (found is low) and shown.truth == "Jena"
    filling = model.fill(MASKED)
    assert model.fill(MASKED, unknown=True) == (
        dataclasses.replace(filling, text="", unknown=True) if filling.p_null > 0.5 else filling
    )
    sure = dataclasses.replace(filling.passages[0], p_retrieval=0.51)
    vain = dataclasses.replace(filling, passages=(sure, *filling.passages[1:]))
    assert if_sure(vain, 0.0).unknown and not if_sure(vain, 0.0).text and if_sure(vain, None) is vain


def test_the_mixture_is_the_sum_over_passages(model):
    """p(y|x) = sum of p(y|z,x) p(z|x); of a single mask, the likeliest word's own probability."""
    filling = model.fill(MASKED)
    total = sum(passage.p_reading * passage.p_retrieval for passage in filling.passages)
    assert filling.probability == pytest.approx(total, rel=1e-4)
    assert filling.probability == pytest.approx(filling.words[0][0].probability, rel=1e-4)
    assert filling.text == filling.words[0][0].text.removeprefix("##") or filling.text == filling.words[0][0].text
    null = filling.passages[0]
    assert filling.utility == pytest.approx(np.log(total) - np.log(null.p_reading), abs=1e-3)


def test_the_reader_reads_once(experiment, monkeypatch):
    """Whatever is asked about a sentence; counted where the program is traced."""
    model, read = changed(experiment, pretrain={"score_scale": 0.9}), []
    real = masks.candidate_logits
    monkeypatch.setattr(masks, "candidate_logits", lambda *given: read.append(1) or real(*given))
    model.explain(MASKED, "Jena")
    assert read == [1]
    model.fill(MASKED)  # the same program
    assert read == [1]


def test_a_single_mask_stands_for_all_wordpieces_of_the_truth(world, model):
    assert len(world.tokenizer.encode("Jena").ids) == 4
    explained, whole = model.explain([MASKED, MASKED.replace("[MASK]", "[MASK]" * 4)], ["Jena", "Jena"])
    assert explained.found.text == whole.found.text and gains(explained) == pytest.approx(gains(whole), abs=1e-5)
    assert len(explained.found.words) == 4 and sum(gains(explained)) == pytest.approx(0, abs=1e-5)
    assert explained.p_null == explained.passages[0].p_retrieval


def test_what_is_filled_in_is_as_likely_as_the_same_wordpieces_given_as_the_truth(experiment):
    """And a whole span is one draw of a passage, where training takes it so."""
    likely = []
    for kind in ("token", "span"):
        model = changed(experiment, pretrain={"marginalize": kind})
        (encoding,) = experiment.tokenizer.encode_batch(["Jura is [MASK] [MASK] of [MASK]."], mask=True)
        row = experiment.tokenizer.row(encoding.ids, 32)
        given = (model.config, model._models, model._stages["pretrain"], experiment.store, row[None])
        places = np.flatnonzero(row == experiment.tokenizer.mask_id)
        assert len(places) == 3
        (found,) = masks.read_masks(*given, [places], [places[:0]])
        (told,) = masks.read_masks(*given, [places], [found.best[: len(places)]])
        assert told.log_p_truth == pytest.approx(found.log_p_best, abs=1e-4)
        assert told.utility_of_truth == pytest.approx(found.utility, abs=1e-4)
        likely.append(found.log_p_best)
    assert likely[0] != pytest.approx(likely[1], abs=1e-4)


def test_neighbouring_masks_are_one_span_where_training_takes_them_so(experiment, model):
    by_token = gains(model.explain(MASKED, "Jena"))
    by_span = gains(changed(experiment, pretrain={"marginalize": "span"}).explain(MASKED, "Jena"))
    assert sum(by_span) == pytest.approx(0, abs=1e-5) and by_span != pytest.approx(by_token, abs=1e-4)
    # One draw of a passage for all four wordpieces moves p(z|x) less than four draws do.
    assert sum(map(abs, by_span)) < sum(map(abs, by_token))


def test_of_many_sentences_each_is_filled_as_alone(model):
    sentences = [
        "The [MASK] of Jura.",
        "The river of Arland is [MASK] [MASK].",
        "[MASK] " * 9,
        "Kelt is in [MASK].",
    ] * 2
    for sentence, filling in zip(sentences, model.fill(sentences), strict=True):
        alone = model.fill(sentence)
        assert filling.text == alone.text and filling.sentence == sentence
        assert filling.log_probability == pytest.approx(alone.log_probability, abs=1e-3)
        assert filling.utility == pytest.approx(alone.utility, abs=1e-3)


def test_stream_keeps_the_order(model):
    asked = [(CAPITAL, ""), (MASKED, ""), (MASKED, "Jena"), (CAPITAL, ""), (CAPITAL, "Jena"), *[(CAPITAL, "")] * 9]
    names = [type(result).__name__ for result in model.stream(asked)]
    assert names == ["Answer", "Filling", "Explanation", "Answer", "Explanation", *["Answer"] * 9]
    with pytest.raises(UserError, match="truth: 'Jena' is 4 wordpieces, but 2"):
        model.stream([(CAPITAL, ""), ("[MASK] and [MASK]", "Jena")])


@pytest.mark.parametrize(
    "text, truth, message",
    [
        ("The [MASK] of [MASK].", "Jena", "truth: 'Jena' is 4 wordpieces, but 2"),
        ("river " * 40 + "[MASK]", "", r"\[MASK\] is past the query's 32 wordpieces; shorten the sentence"),
        ("river " * 29 + "[MASK] [MASK]", "", r"\[MASK\] is past the query's 32 wordpieces; shorten the sentence"),
        ("river " * 29 + "[MASK]", "Jena", r"\[MASK\] is past the query's 32 wordpieces; shorten the sentence"),
        (CAPITAL, "\u200b", r"truth: '\\u200b' has no wordpieces; give the words of the answer, or leave it out"),
        ("  ", "", r"text: '  ' is empty; ask a question"),
        ("The [mask].", "", r"the words to find are written \[MASK\], in capitals"),
        ("What \ud800?", "", "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_asked(model, text, truth, message):
    for ask in (lambda: model.check(text, truth), lambda: next(model.stream([(text, truth)]))):
        with pytest.raises(UserError, match=message):
            ask()


def test_each_is_told_what_it_is_for(model):
    with pytest.raises(UserError, match=r"has no \[MASK\]; write one for each wordpiece to find, or use `answer`"):
        model.fill(CAPITAL)
    with pytest.raises(UserError, match="truth: give one for each text"):
        model.explain([CAPITAL], "Jena")
    with pytest.raises(UserError, match="truth: '' is empty"):
        model.explain(CAPITAL, "")
    with pytest.raises(UserError, match="text: 7 is no string"):
        model.answer([CAPITAL, 7])


@pytest.mark.parametrize("count", [30, 31, 33])
def test_how_much_of_a_text_is_cut_is_said(model, count):
    for result in (
        model.answer("river " * count),
        model.retrieve("river " * count),
        model.fill("[MASK]" + "river " * count),
    ):
        masked = type(result).__name__ == "Filling"
        assert result.cut == max(0, count + masked - 30)


def test_retrieval_by_hand(experiment, model):
    found = model.retrieve([CAPITAL, "Which river?"], k=7)
    for result in found:
        scores = [passage.score for passage in result.passages]
        assert len(scores) == 7 and scores == sorted(scores, reverse=True)
        assert sum(passage.p_retrieval for passage in result.passages) == pytest.approx(1)
    # The vectors of passages are those of the index, which pre-training made.
    start = model.at("start").retrieve(CAPITAL, k=7)
    by_hand = model.at("start").embed([p.text for p in start.passages], [p.title for p in start.passages])
    products = by_hand @ model.at("start").embed(CAPITAL)
    scale = experiment.config.pretrain.score_scale
    np.testing.assert_allclose(scale * products, [p.score for p in start.passages], rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match=f"k: 999 passages, but there are {model.num_passages}"):
        model.retrieve(CAPITAL, k=999)


def test_stages_can_be_compared(model):
    scores = {
        stage: [p.score for p in model.at(stage).retrieve(CAPITAL).passages] for stage in ("start", "pretrain", STEP)
    }
    assert scores["pretrain"] == scores[STEP] != scores["start"]
    assert model.at("finetune").answer(CAPITAL).text == model.answer(CAPITAL).text
    assert model.at("pretrain").fill(MASKED).text == model.fill(MASKED).text
    assert model.at("start").fill(MASKED).passages != model.fill(MASKED).passages
    with pytest.raises(UserError, match=r"at\('start'\): the fine-tuned model alone reads answers"):
        model.at("start").answer(CAPITAL)
    with pytest.raises(UserError, match=r"at\('finetune'\): the pre-trained model alone fills \[MASK\]"):
        model.at("finetune").fill(MASKED)
    with pytest.raises(UserError, match="no stage 'end'; there are start, pretrain, finetune"):
        model.at("end")
    with pytest.raises(UserError, match=f"no checkpoint of step 1 with an index of it .* there are {STEP}"):
        model.at(1)


def test_threads_share_what_one_has_loaded(experiment, monkeypatch):
    loaded = []
    model = load(experiment.workdir.root)
    original = type(model._stages)._load
    monkeypatch.setattr(type(model._stages), "_load", lambda self, stage: loaded.append(stage) or original(self, stage))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(model.answer(CAPITAL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert loaded == ["finetune"] and len(answers) == 4 and len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize("text, job", [("Which?", "finetune"), ("A [MASK].", "pretrain")])
def test_a_stage_that_is_not_finished_is_named(world, tmp_path, text, job):
    with pytest.raises(UserError, match=f"finish the job `{job}` in this workdir first"):
        next(Model(world.experiment(tmp_path)).stream([(text, "")]))


def test_a_run_that_was_not_fine_tuned_says_so(world, tmp_path):
    with pytest.raises(UserError, match=r"nothing was fine-tuned \(finetune.steps 0\); ask it a sentence"):
        next(Model(world.experiment(tmp_path, finetune={"steps": 0})).stream([("Which?", "")]))


def test_what_a_job_makes_anew_is_read_without_compiling(world, tmp_path):
    experiment = finish(world.experiment(tmp_path, evaluation={"read": 3}))
    model = load(tmp_path)
    before, compiled = model.answer(CAPITAL), open_qa._read._cache_size()
    assert model.newest() is model
    params = {"embedder": model._stages["finetune"].embedder, "reader": model._stages["finetune"].reader}
    save(experiment, "finetune", jax.tree.map(lambda leaf: -leaf, params), step=3)
    fresh = model.newest()
    assert fresh is not model and fresh.newest() is fresh and fresh._stages.loaded() == ["finetune"]
    after = fresh.answer(CAPITAL)
    assert [p.score for p in after.passages] != [p.score for p in before.passages]
    assert open_qa._read._cache_size() == compiled and model.answer(CAPITAL) == before
    # Passages are prepared, but not embedded yet: the model that is there goes on.
    manifest = experiment.workdir.stage("pretrain").snapshots / str(STEP) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(experiment.store.fingerprint, "0" * 32))
    assert fresh.newest() is fresh


def test_a_batch_of_few_sizes_is_compiled_once(experiment):
    model = changed(experiment, finetune={"score_scale": 0.3})
    before = open_qa._read._cache_size()
    for count in (1, 3, 4, 2, 5, 6, 13):
        model.answer([CAPITAL] * count)
    assert open_qa._read._cache_size() == before + 3  # 1, 4, and evaluation.batch_size 6
