"""Masked queries and ICT pairs: what they hide, where it stands, and that a restored position gives the same
batches."""

import dataclasses
import json
import pickle
import shutil

import jax
import numpy as np
import pytest

from realm_jax.config import Masking
from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.corpus.sentence_source import PlaceSource, Sentence, SentenceSource, Span
from realm_jax.corpus.tables import tables
from realm_jax.errors import UserError
from realm_jax.text.salience import bucket
from realm_jax.training.masked_queries import MaskedQueries, NothingFits, ict_batches, sentence_row, unfiltered, without
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import DataDir, Workdir
from tests.world import articles

B = 5


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    return world.experiment(tmp_path_factory.mktemp("queries"))


def elements(batches, count):
    """`count` rows of an iterator of batches."""
    out = []
    while len(out) < count:
        batch = next(batches)
        out += [
            {key: value[i] for key, value in vars(batch).items() if value is not None} for i in range(len(batch.query))
        ]
    return out[:count]


def equal(a, b):
    (ours, kind), (theirs, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    return kind == other and all(map(np.array_equal, ours, theirs))


def hidden(query):
    return query["mask_targets"][query["mask_weights"] > 0]


def stands(row, pieces):
    """Whether the wordpieces stand in the row, one after another."""
    return any(row[i : i + len(pieces)].tolist() == list(pieces) for i in range(len(row)))


def test_a_query_is_a_sentence_with_one_span_hidden(world, experiment):
    tokenizer, source = world.tokenizer, SentenceSource(world.data, "train", world.config.masking)
    texts = {}
    for sentence in (source[i] for i in range(len(source))):
        ids = [*tokenizer.encode(f"{sentence.subject}:").ids, *tokenizer.encode(sentence.text).ids]
        row = np.array([tokenizer.cls_id, *ids, tokenizer.sep_id])
        texts[tuple(row[:31])] = sentence
    assert len(source) > B
    for query in elements(iter(experiment.masked_queries("train").batches(B, 3)), 3 * len(source)):
        row, masks = query["query"].copy(), query["mask_weights"] > 0
        positions = query["mask_positions"][masks]
        assert (row[positions] == tokenizer.mask_id).all() and (row == tokenizer.mask_id).sum() == masks.sum() > 0
        row[positions] = hidden(query)
        whole = tuple(row[row > 0][:31]) if len(row[row > 0]) < 32 else None
        if whole is None:
            continue  # cut at the query's end
        sentence = texts[whole]
        assert query["origin"] == sentence.origin
        spans = [sentence.text[span.start : span.limit] for span in sentence.spans]
        assert tokenizer.decode(hidden(query)) in [tokenizer.decode(tokenizer.encode(text).ids) for text in spans]


def test_holders_hold_what_is_hidden_and_are_not_the_origin(world, experiment):
    store = experiment.store
    for query in elements(iter(experiment.masked_queries("train").batches(B, 3)), 40):
        rows = query["holders"][query["holders"] >= 0]
        assert len(rows) >= world.config.masking.min_holders and query["origin"] not in rows
        assert all(stands(store.rows(row), hidden(query)) for row in [*rows, query["origin"]])


def test_masks_differ_from_epoch_to_epoch(world, experiment):
    source = SentenceSource(world.data, "train", world.config.masking)
    seen = {}
    for query in elements(iter(experiment.masked_queries("train").batches(B, 3)), 12 * len(source)):
        row = query["query"].copy()
        row[query["mask_positions"][query["mask_weights"] > 0]] = hidden(query)
        seen.setdefault(row.tobytes(), set()).add(hidden(query).tobytes())
    several = [i for i in range(len(source)) if len(source[i].spans) > 1]
    assert several and sum(len(spans) > 1 for spans in seen.values()) >= len(several) // 2
    assert len(seen) == len(source)


@pytest.mark.parametrize("taken", [0, 1, 7])
@pytest.mark.parametrize("kind", ["masked", "tokens", "ict", "questions", "cloze"])
def test_a_restored_position_gives_the_same_batches(world, tmp_path, kind, taken):
    """The position goes through JSON, and into iterators made anew, as in a later process."""

    def batches():
        experiment = world.experiment(tmp_path, ict={"batch_size": B})
        if kind == "ict":
            return ict_batches(experiment.config, world.data, world.tokenizer, experiment.store, 3)
        if kind in ("questions", "cloze"):
            questions = experiment.questions("train")
            return (questions.batches if kind == "questions" else questions.cloze_batches)(B, 3)
        masking = Masking(kind="tokens", max_masks=4) if kind == "tokens" else None
        return experiment.masked_queries("train", masking).batches(B, 3)

    first = iter(batches())
    for _ in range(taken):
        next(first)
    position = json.loads(json.dumps(first.get_state()))
    expected = [next(first) for _ in range(9)]
    again = iter(batches())
    next(again)
    again.set_state(position)
    assert all(equal(next(again), batch) for batch in expected)
    assert not all(equal(a, b) for a, b in zip(expected, expected[1:], strict=False))


def test_what_is_skipped_is_not_drawn_and_the_rest_is_the_same(experiment):
    def drawn(count, **skip):
        return elements(iter(experiment.masked_queries("train").batches(1, 3, **skip)), count)

    everything, later = drawn(40), drawn(20, skip=13)
    (begin,) = [i for i in range(1, 20) if all(equal(a, b) for a, b in zip(later, everything[i:], strict=False))]
    assert begin <= 13  # fewer where sentences gave no query


def test_the_seed_decides_the_order(experiment):
    def order(seed):
        return [query["origin"] for query in elements(iter(experiment.masked_queries("train").batches(B, seed)), 20)]

    assert order(1) == order(1) != order(2)


def test_a_fixed_batch_is_the_same_in_every_run(world, tmp_path):
    a, b = (world.experiment(tmp_path).masked_queries("heldout").fixed(4, seed=7) for _ in range(2))
    assert equal(a, b) and len(a.query) == 4
    everything = world.experiment(tmp_path).masked_queries("heldout").fixed(10_000, seed=7)
    assert len(everything.query) == len(SentenceSource(world.data, "heldout", world.config.masking))
    assert not equal(a, world.experiment(tmp_path).masked_queries("heldout").fixed(4, seed=8))


def test_a_hidden_label_is_neither_in_the_query_nor_hidden(world, tmp_path):
    text = "Capital: Akko is on the river Volla."
    spans = [Span(text.index(name), text.index(name) + len(name), "name", np.arange(16), 16) for name in NAMES]
    sentence = Sentence("Arland: Places", "Arland", text, spans, 0, (0, 5), 0, 0)
    seen = {True: set(), False: set()}
    for hide in seen:
        experiment = world.experiment(tmp_path, masking={"hide_label": hide})
        masked = experiment.masked_queries("train")
        for i in range(30):
            query = masked.mask(sentence, np.random.default_rng(i))
            pieces = query["query"].copy()
            pieces[query["mask_positions"][query["mask_weights"] > 0]] = hidden(query)
            seen[hide].add((world.tokenizer.decode(pieces[pieces > 0]), world.tokenizer.decode(hidden(query))))
    assert {answer for _, answer in seen[False]} == {"capital", "akko", "volla"}
    assert {answer for _, answer in seen[True]} == {"akko", "volla"}
    assert all("capital" in query for query, _ in seen[False]) and not any(
        "capital" in query for query, _ in seen[True]
    )


def test_learned_salience_hides_names_and_other_words(world, tmp_path):
    experiment = world.experiment(tmp_path, masking={"kind": "learned"}, pretrain={"oversample": 2})
    masked, found = experiment.masked_queries("train"), set()
    names = {tokens for span in all_spans(world) for tokens in [tuple(world.tokenizer.encode(span).ids)]}
    assert masked.kinds[-1] == "word" and "name" in masked.kinds
    for query in elements(iter(masked.batches(B, 3)), 60):
        kind, pieces = masked.kinds[query["kind"]], hidden(query)
        assert query["span"] == bucket(pieces) and len(pieces)
        assert (tuple(pieces.tolist()) in names) or kind == "word"
        assert kind != "word" or (query["holders"] == -1).all()
        found.add(kind)
    assert {"word", "name"} <= found


def all_spans(world):
    source = SentenceSource(world.data, "train", Masking(kind="tokens"))
    return {s.text[span.start : span.limit] for s in map(source.__getitem__, range(len(source))) for span in s.spans}


NAMES = ("Capital", "Akko", "Volla")


def test_other_kinds_know_no_holders(world, experiment):
    batch = next(iter(experiment.masked_queries("train", Masking(kind="words", max_masks=4)).batches(B, 1)))
    assert (batch.holders == -1).all() and batch.query.shape == (B, 32)
    assert {key: value.dtype.name for key, value in vars(batch).items() if value is not None} == {
        "query": "int32",
        "mask_positions": "int32",
        "mask_targets": "int32",
        "mask_weights": "float32",
        "mask_spans": "int32",
        "origin": "int32",
        "holders": "int32",
    }


def test_unfiltered_spans_are_the_papers(world):
    masking = unfiltered(Masking(kind="words", min_holders=1, max_holders=3, max_masks=4))
    assert masking == Masking(kind="salient", max_masks=4)
    assert len(SentenceSource(world.data, "train", masking)) > len(
        SentenceSource(world.data, "train", Masking(min_holders=1, max_holders=3, max_masks=4))
    )


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_ict_pairs_a_sentence_with_its_passage(world, tmp_path, keep):
    experiment = world.experiment(tmp_path, ict={"batch_size": B, "keep_sentence": keep})
    store = {row.tobytes() for row in experiment.store.rows(slice(0, -1))}
    pairs = elements(iter(ict_batches(experiment.config, world.data, world.tokenizer, experiment.store, 3)), 60)
    for pair in pairs:
        sentence = pair["query"][pair["query"] > 0]
        assert sentence[0] == world.tokenizer.cls_id and sentence[-1] == world.tokenizer.sep_id
        inside = stands(pair["passage"], sentence[1:-1])
        assert (pair["passage"].tobytes() in store) == inside == (keep == 1.0)
        assert (pair["passage"] == world.tokenizer.sep_id).sum() == 2


def test_ict_keeps_the_share_of_sentences_asked_for(world, tmp_path):
    experiment = world.experiment(tmp_path, ict={"batch_size": 50, "keep_sentence": 0.3})
    batch = iter(ict_batches(experiment.config, world.data, world.tokenizer, experiment.store, 3))
    store = {row.tobytes() for row in experiment.store.rows(slice(0, -1))}
    kept = [pair["passage"].tobytes() in store for pair in elements(batch, 600)]
    assert np.mean(kept) == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / 600) ** 0.5)


def test_ict_draws_from_the_passages_where_the_text_is_another_corpus(world, tmp_path):
    news, data = tmp_path / "news.jsonl", DataDir(tmp_path / "data")
    news.write_text("".join(json.dumps({"title": f"News {i}", "text": "Akko is a city."}) + "\n" for i in range(2)))
    config = world.settings(
        data={"directory": str(data.root), "text_source": "jsonl", "text_path": str(news)},
        ict={"steps": 1, "batch_size": B, "keep_sentence": 1.0},
    )
    prepare_corpus(config, data, world.tokenizer, articles(), lambda line: None)
    experiment = OpenRun(config, Workdir(tmp_path))
    own = [SentenceSource(world.data, split, Masking(kind="tokens")) for split in ("train", "heldout")]
    places = {(s.origin, *s.place) for source in own for s in (source[i] for i in range(len(source)))}
    known = PlaceSource(data)
    assert sorted((origin, *place) for origin, place in (known[i] for i in range(len(known)))) == sorted(places)
    assert len(pickle.loads(pickle.dumps(known))) == len(places)
    pairs = elements(iter(ict_batches(config, data, world.tokenizer, experiment.store, 3)), len(places))
    for pair in pairs:
        assert stands(pair["passage"], pair["query"][pair["query"] > 0][1:-1])
    assert len({pair["query"].tobytes() for pair in pairs}) > len(places) // 2
    shutil.rmtree(tables(data))
    with pytest.raises(UserError, match="places.npy: not there, but ict.steps needs it .* run `prepare` first"):
        PlaceSource(data)
    with pytest.raises(UserError, match="warm_up.steps: 5, but .* data.text_source is another corpus; set it to 0"):
        dataclasses.replace(config, warm_up=dataclasses.replace(config.warm_up, steps=5))


def test_rows_without_a_sentence_close_up(world):
    row = np.array([101, 7, 102, 11, 12, 13, 14, 102, 0], np.int32)
    np.testing.assert_array_equal(without(row, 4, 6), [101, 7, 102, 11, 14, 102, 0, 0, 0])
    np.testing.assert_array_equal(sentence_row(row, 3, 7, 9, world.tokenizer), [101, 11, 12, 13, 14, 102, 0, 0, 0])
    np.testing.assert_array_equal(sentence_row(row, 3, 7, 4, world.tokenizer), [101, 11, 12, 102])


def test_queries_that_none_fits_into_end_with_a_message_instead_of_waiting(experiment, monkeypatch):
    queries = experiment.masked_queries("train")
    monkeypatch.setattr(MaskedQueries, "mask", lambda *_: None)
    message = r"data\.query_length: 32 wordpieces leave no room .* split 'train'; raise it"
    with pytest.raises(NothingFits, match=message):
        queries.fixed(B, 0)
    with pytest.raises(NothingFits, match=message):
        next(iter(queries.batches(B, 3)))
