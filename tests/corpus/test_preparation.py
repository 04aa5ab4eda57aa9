"""Everything that training reads, prepared from a toy corpus, agrees with everything else."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest

from realm_jax.config import Config, Data, Masking, Pretrain
from realm_jax.corpus import preparation, shards, tfds_files
from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.corpus.sentence_source import SentenceSource
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageText, PassageTexts
from realm_jax.errors import UserError
from realm_jax.workdir import DataDir, read_json, write_json
from tests.corpus import toy

CONFIG = Config(data=Data(passage_length=32, heldout_fraction=0.2))
TOKENIZER = toy.tokenizer()
SPLITS = ("train", "heldout")


def prepared(root, articles=toy.ARTICLES, config=CONFIG, say=lambda line: None):
    data = DataDir(root)
    return data, prepare_corpus(config, data, TOKENIZER, iter(articles), say)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("prepared"))[0]


def sources(data, **masking):
    return [SentenceSource(data, split, Masking(**masking)) for split in SPLITS]


def every_sentence(data):
    return [source[i] for source in sources(data, kind="tokens") for i in range(len(source))]


def test_record_i_is_row_i(data):
    store, passages = PassageStore.open(data.store), tfds_files.read(data.tfds, "passages", "train")
    texts = PassageTexts(data)
    assert len(passages) == len(texts) == store.num_passages and texts[len(texts)] == PassageText("", "")
    for i in range(len(passages)):
        record = passages[i]
        article = toy.ARTICLES[record["article"]]
        text = article.text.encode()[record["start"] : record["limit"]]
        assert record["text"] == text and record["title"].decode() == article.title
        assert texts[i] == PassageText(article.title, text.decode())
        row = [
            TOKENIZER.cls_id,
            *TOKENIZER.encode(article.title).ids,
            TOKENIZER.sep_id,
            *TOKENIZER.encode(text.decode()).ids,
            TOKENIZER.sep_id,
        ]
        assert store.rows(np.array(i)).tolist() == row + [0] * (32 - len(row))


def test_splits_part_the_articles(data):
    titles = [{record["title"].decode() for record in _records(data, split)} for split in SPLITS]
    assert len(titles[1]) == 1 and not titles[0] & titles[1]
    assert titles[0] | titles[1] == {article.title for article in toy.ARTICLES}


def test_sentences_stand_where_they_say(data):
    store, passages = PassageStore.open(data.store), tfds_files.read(data.tfds, "passages", "train")
    for sentence in every_sentence(data):
        passage = passages[sentence.origin]
        assert passage["title"].decode() == sentence.title and sentence.text in passage["text"].decode()
        row, (first, limit) = store.rows(np.array(sentence.origin)), sentence.place
        np.testing.assert_array_equal(row[first:limit], TOKENIZER.encode(sentence.text).ids)


def test_spans_are_the_taggers_and_holders_hold_them(data):
    passages = tfds_files.read(data.tfds, "passages", "train")
    expected = {
        article.text.encode()[start:limit].decode() for article in toy.ARTICLES for start, limit, _ in article.spans
    }
    spans = [(sentence, span) for sentence in every_sentence(data) for span in sentence.spans]
    assert {sentence.text[span.start : span.limit] for sentence, span in spans} == expected
    assert any(span.holder_count for _, span in spans)
    for sentence, span in spans:
        rows = [row for row in span.holders.tolist() if row >= 0]
        assert len(rows) == span.holder_count and sentence.origin not in rows
        text = sentence.text[span.start : span.limit].lower()
        assert all(text in passages[row]["text"].decode().lower() for row in rows)
    paris = next(
        s for sentence, s in spans if sentence.text[s.start : s.limit] == "Paris" and "capital" in sentence.text
    )
    assert paris.holder_count >= 2


def test_masking_options_choose_sentences_and_spans(data):
    everything = sum(map(len, sources(data)))
    held = [source[i] for source in _nonempty(data, min_holders=1) for i in range(len(source))]
    assert 0 < len(held) < everything < len(every_sentence(data))
    assert all(span.holder_count >= 1 for sentence in held for span in sentence.spans)
    assert all(sentence.spans for sentence in held)
    few = [source[i] for source in _nonempty(data, min_holders=1, max_holders=1) for i in range(len(source))]
    assert all(span.holder_count == 1 for sentence in few for span in sentence.spans)
    with pytest.raises(UserError, match=r"masking\.min_holders 99"):
        SentenceSource(data, "train", Masking(min_holders=99))


def test_long_types_of_spans_are_told_apart(tmp_path):
    types = ["WORK_OF_ART/LITERATURE", "WORK_OF_ART/PAINTING", "Kunst_und_Künstler"]
    articles = [
        dataclasses.replace(toy.article(f"Town {i}", ["It is Paris."]), spans=[(6, 11, type_)])
        for i, type_ in enumerate(types)
    ]
    data, _ = prepared(tmp_path, articles)
    found = [
        s for source in _nonempty(data, types=(types[1], types[2])) for s in map(source.__getitem__, range(len(source)))
    ]
    assert sorted((s.title, span.kind) for s in found for span in s.spans) == [
        ("Town 1", types[1]),
        ("Town 2", types[2]),
    ]
    assert {kind for source in sources(data, kind="tokens") for kind in source.kinds()} == set(types)


def test_a_type_that_no_span_has(data):
    with pytest.raises(UserError, match=r"of type 'names', which masking\.types names; there are date, name, number$"):
        SentenceSource(data, "train", Masking(types=("name", "names")))
    assert len(SentenceSource(data, "train", Masking(kind="tokens", types=("names",)))), "of no account there"


def test_a_source_survives_pickling(data):
    source = SentenceSource(data, "train", Masking())
    source[0]
    again = pickle.loads(pickle.dumps(source))
    assert repr(again) == repr(source)
    assert [again[i].text for i in range(len(again))] == [source[i].text for i in range(len(source))]


def test_manifest_says_what_there_is(data):
    manifest = read_json(data.manifest)
    assert manifest["articles"] == len(toy.ARTICLES)
    assert manifest["passages"] == PassageStore.open(data.store).num_passages
    assert manifest["sentences"] == len(every_sentence(data))
    assert manifest["spans"] == sum(len(sentence.spans) for sentence in every_sentence(data))
    assert manifest["fingerprint"] == PassageStore.open(data.store).fingerprint


def test_a_second_run_does_nothing_again(tmp_path):
    data, manifest = prepared(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*record*")}
    said = []

    def unread():
        raise AssertionError("the source was read again")
        yield

    assert prepare_corpus(CONFIG, data, TOKENIZER, unread(), said.append) == manifest
    assert said == [] and before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    "part", ["write_store", "_write_queries", "tfds_files.Passages", "tfds_files.Queries", "_record"]
)
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path, monkeypatch, data, part):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stop_in(patch, part)
        prepared(tmp_path / "disturbed")
    assert not (tmp_path / "disturbed" / "manifest.json").exists()
    disturbed, found = prepared(tmp_path / "disturbed")
    assert found == read_json(data.manifest)
    assert [s.text for s in every_sentence(disturbed)] == [s.text for s in every_sentence(data)]


@pytest.mark.parametrize(
    "pattern",
    ["store", "store/tokens.npy", "tfds/passages", "tfds/*/*/features.json", "tfds/queries/*/*-train.array_record*"]
    + ["sentences/heldout_spans.npy", "sentences/counts.json", "manifest.json"],
)
def test_what_was_deleted_is_made_again(tmp_path, data, pattern):
    shutil.copytree(data.root, tmp_path / "data", dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    found = list((tmp_path / "data").glob(pattern))
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _, manifest = prepared(tmp_path / "data", ())
    assert found and manifest == read_json(data.manifest)
    assert set(before) == {path for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert all(path.read_bytes() == content for path, content in before.items() if "record" not in path.name)


def _stop_in(patch, part):
    def stop(*_, **__):
        raise KeyboardInterrupt

    if part.startswith("tfds_files."):
        original, builder = tfds_files.write, getattr(tfds_files, part.removeprefix("tfds_files."))
        patch.setattr(tfds_files, "write", lambda kind, *rest: stop() if kind is builder else original(kind, *rest))
    elif part == "_record":  # while a shard is being cut
        patch.setattr(shards, part, stop)
    else:
        patch.setattr(preparation, part, stop)


@pytest.mark.parametrize(
    ("data", "option"),
    [(Data(passage_length=40, heldout_fraction=0.2), "data.passage_length 32"), (Data(passage_length=32), "0.2")],
)
def test_data_of_other_settings_are_left_alone(tmp_path, data, option):
    prepared(tmp_path)
    before = read_json(tmp_path / "manifest.json")
    with pytest.raises(UserError, match=option):
        prepared(tmp_path, config=Config(data=data))
    assert read_json(tmp_path / "manifest.json") == before


def test_data_of_an_earlier_version_are_as_the_defaults_of_what_it_lacked(tmp_path):
    prepared(tmp_path)
    written = read_json(tmp_path / "settings.json")
    del written["holders"]
    write_json(tmp_path / "settings.json", written)
    with pytest.raises(UserError, match="data.holders True, this experiment has False"):
        prepared(tmp_path, config=Config(data=dataclasses.replace(CONFIG.data, holders=False)))
    prepared(tmp_path)


def test_a_record_without_text_harms_nothing(tmp_path):
    bad = dataclasses.replace(toy.ARTICLES[1], text="", sentences=[], spans=[])
    with pytest.raises(UserError, match=r"record 1 .*has no text"):
        prepared(tmp_path, [toy.ARTICLES[0], bad])
    assert not (tmp_path / "store").exists()
    prepared(tmp_path, config=Config(data=Data(passage_length=40)))


def test_an_empty_corpus_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no passage"):
        prepared(tmp_path, [])


@pytest.mark.parametrize(
    ("text", "skip", "seen"),
    [("", False, ""), ("\n", False, "0 records were seen"),
     ("{}\n{}\n", True, "2 records were seen, 2 of them left out"),
     ('{"title": "T", "text": "\u200b"}\n', False, "1 records were seen, 0 of them")],
)  # fmt: skip
def test_a_source_that_has_become_empty_harms_no_prepared_data(tmp_path, text, skip, seen):
    source, data = tmp_path / "a.jsonl", DataDir(tmp_path / "data")
    source.write_text('{"title": "T", "text": "The river is in the city."}\n')
    settings = dataclasses.replace(CONFIG.data, source="jsonl", path=str(source), skip_faulty=skip)
    config = dataclasses.replace(CONFIG, data=settings)
    prepare_corpus(config, data, toy.tokenizer(), say=lambda line: None)
    before = {p: p.read_bytes() for p in sorted(data.root.rglob("*")) if p.is_file()}
    source.write_text(text)
    with pytest.raises(UserError, match=rf"data\.path: {source}.*no passage.*{seen}"):
        prepare_corpus(config, data, toy.tokenizer(), say=lambda line: None)
    assert before.items() <= {p: p.read_bytes() for p in data.root.rglob("*") if p.is_file()}.items()


def test_one_article_has_nothing_to_hold_out(tmp_path):
    data, _ = prepared(tmp_path, toy.ARTICLES[:1])
    assert len(SentenceSource(data, "train", Masking())) > 0
    with pytest.raises(UserError, match="heldout"):
        SentenceSource(data, "heldout", Masking())


def test_what_is_not_prepared_is_missed(tmp_path, data):
    with pytest.raises(UserError, match="run `prepare` first"):
        SentenceSource(DataDir(tmp_path), "train", Masking())
    with pytest.raises(UserError, match="splits are"):
        SentenceSource(data, "dev", Masking())
    with pytest.raises(UserError, match="no split 'dev'"):
        tfds_files.read(data.tfds, "queries", "dev")


def _records(data, split):
    source = tfds_files.read(data.tfds, "queries", split)
    return [source[i] for i in range(len(source))]


def _nonempty(data, **masking):
    for split in SPLITS:
        try:
            yield SentenceSource(data, split, Masking(**masking))
        except UserError:
            continue


def rows_by_id(data):
    """{id: (text, tokens)} of every passage."""
    store, passages = PassageStore.open(data.store), tfds_files.read(data.tfds, "passages", "train")
    records = [passages[i] for i in range(len(passages))]
    return {r["id"].decode(): (r["text"].decode(), store.rows(i).tolist()) for i, r in enumerate(records)}


def folder(root, **documents):
    root.mkdir(exist_ok=True)
    for name, text in documents.items():
        (root / f"{name}.md").write_text(text)
    return Config(data=Data(source="folder", path=str(root), passage_length=16, heldout_fraction=0.2, processes=1))


def prepare_folder(tmp_path, config, say=lambda line: None):
    return prepare_corpus(config, DataDir(tmp_path / "data"), TOKENIZER, say=say)


DOCUMENTS = {
    "paris": "The capital is Paris. It is on the river Seine.",
    "oslo": "The capital is Oslo. The lake is in the city.",
    "rome": "The capital is Rome and the river is the Tiber.",
}


def test_only_changed_documents_are_cut_again(tmp_path, monkeypatch):
    config, data = folder(tmp_path / "docs", **DOCUMENTS), DataDir(tmp_path / "data")
    first = prepare_folder(tmp_path, config)
    before = rows_by_id(data)
    written, write = [], shards.write_shard
    monkeypatch.setattr(shards, "write_shard", lambda *args: written.append(write(*args)) or written[-1])

    assert prepare_folder(tmp_path, config) == first and not written
    folder(tmp_path / "docs", oslo="The capital is Oslo. It is cold in the city.", accra="Accra is a city.")
    (tmp_path / "docs" / "rome.md").unlink()
    second = prepare_folder(tmp_path, config)
    after = rows_by_id(data)
    assert len(written) == 2 and second["fingerprint"] != first["fingerprint"]
    texts = {text for text, _ in after.values()}
    assert any("Accra" in text for text in texts) and any("cold" in text for text in texts)
    assert not any("Rome" in text or "lake" in text for text in texts)
    kept = before.keys() & after.keys()
    assert {before[i][0] for i in kept} >= {text for text, _ in before.values() if "Seine" in text}
    assert all(before[i] == after[i] for i in kept)
    assert len(list((data.root / "shards").glob("*.jsonl"))) == 3

    undisturbed = DataDir(tmp_path / "other")
    prepare_corpus(config, undisturbed, TOKENIZER, say=lambda line: None)
    assert rows_by_id(undisturbed) == after


def files(root):
    """But the shards, which are never wrong."""
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.suffix != ".jsonl"}


@pytest.mark.parametrize("part", ["write_store", "_write_queries", "read_json"])
@pytest.mark.parametrize("killed", [False, True])
def test_what_cannot_be_written_leaves_the_data_of_before(tmp_path, monkeypatch, part, killed):
    config = folder(tmp_path / "docs", **DOCUMENTS)
    prepare_folder(tmp_path, config)
    before = files(tmp_path / "data")
    folder(tmp_path / "docs", oslo="The capital is Oslo. It is cold in the city.")
    monkeypatch.setattr(preparation, "_claim", lambda *_: {})
    monkeypatch.setattr(preparation.Corpus, "is_assembled", lambda corpus: False)
    for kind in [KeyboardInterrupt, OSError] if killed else [OSError]:
        with monkeypatch.context() as context, pytest.raises(kind):
            context.setattr(preparation, part, lambda *_, kind=kind: (_ for _ in ()).throw(kind))
            prepare_folder(tmp_path, config)
    assert files(tmp_path / "data") == before
    prepare_folder(tmp_path, config)
    assert not (tmp_path / "data" / ".before").exists()
    assert any("cold" in text for text, _ in rows_by_id(DataDir(tmp_path / "data")).values())


def test_data_that_other_runs_have_links_to_are_left_alone(tmp_path):
    """As those of a sweep: runs that are done would be measured, and compared, on passages they never saw."""
    config, shared = folder(tmp_path / "docs", **DOCUMENTS), DataDir(tmp_path / "shared")
    shared.root.mkdir()
    (tmp_path / "data").symlink_to(shared.root)
    first = prepare_folder(tmp_path, config)
    assert prepare_folder(tmp_path, config) == first
    folder(tmp_path / "docs", oslo="The capital is Oslo. It is cold in the city.")
    with pytest.raises(UserError, match=f"^{tmp_path}/docs: has changed since {shared.root} was prepared from it"):
        prepare_folder(tmp_path, config)
    assert read_json(shared.manifest) == first
    assert PassageStore.open(shared.store).fingerprint == first["fingerprint"]
    folder(tmp_path / "docs", **DOCUMENTS)  # put back
    assert prepare_folder(tmp_path, config) == first


def test_faulty_records_are_listed_and_the_rest_is_kept(tmp_path, monkeypatch):
    config = folder(tmp_path / "docs", **DOCUMENTS, empty="\n")
    (tmp_path / "docs" / "bad.txt").write_bytes(b"one\ntw\xffo")
    with pytest.raises(UserError, match=r"2 faulty records") as error:
        prepare_folder(tmp_path, config)
    assert "bad.txt:2" in str(error.value) and "empty.md" in str(error.value) and "skip_faulty" in str(error.value)
    skipping = dataclasses.replace(config, data=dataclasses.replace(config.data, skip_faulty=True))
    monkeypatch.setattr(shards, "write_shard", lambda *_: pytest.fail("cut again"))
    said = []
    manifest = prepare_folder(tmp_path, skipping, said.append)
    assert manifest["faulty"] == 2 and manifest["articles"] == 3 and any("left out 2 faulty" in line for line in said)


def test_a_duplicate_id_is_named(tmp_path):
    rows = [{"id": i, "title": f"T{n}", "text": f"The city {n} is on the lake."} for n, i in enumerate((1, 2, 1, 3, 2))]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = Config(data=Data(source="jsonl", path=str(path), passage_length=16, skip_faulty=True))
    said = []
    assert prepare_folder(tmp_path, config, said.append)["articles"] == 3
    assert any(f"{path}:3: its id '1'" in line and f"{path}:5" in line for line in said)
    titles = {r["title"].decode() for r in _records(DataDir(tmp_path / "data"), "train")}
    assert titles <= {"T0", "T1", "T3"}


def test_several_processes_make_what_one_makes(tmp_path):
    config = folder(tmp_path / "docs", **DOCUMENTS, **{f"d{i}": f"The city {i} is in the lake." for i in range(9)})
    results = []
    for processes in (1, 2):
        data = DataDir(tmp_path / str(processes))
        settings = dataclasses.replace(config, data=dataclasses.replace(config.data, processes=processes))
        results.append((prepare_corpus(settings, data, TOKENIZER, say=lambda line: None), rows_by_id(data)))
    assert results[0] == results[1]


def test_text_of_another_corpus_bans_by_content(tmp_path):
    """X is not Z: a sentence that a passage holds bans that passage; others ban none."""
    config = folder(tmp_path / "docs", **DOCUMENTS)
    same, other = "The capital is Oslo.", "Accra is a city."
    news = [{"title": f"News {i}", "text": f"{other} {same}"} for i in range(3)]
    (tmp_path / "news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in news))
    settings = dataclasses.replace(config.data, text_source="jsonl", text_path=str(tmp_path / "news.jsonl"))
    data = DataDir(tmp_path / "data")
    prepare_folder(tmp_path, dataclasses.replace(config, data=settings))
    passages = tfds_files.read(data.tfds, "passages", "train")
    sentences = every_sentence(data)
    assert {s.title for s in sentences} == {"News 0", "News 1", "News 2"} and len(passages) < 9
    for sentence in sentences:
        if sentence.text == same:
            assert same in passages[sentence.origin]["text"].decode()
            paris = [s for s in sentence.spans if sentence.text[s.start : s.limit] == "Oslo"]
            assert paris and all(sentence.origin not in span.holders for span in sentence.spans)
        else:
            assert sentence.text == other and sentence.origin == -1


def test_holders_may_be_left_out(tmp_path):
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, holders=False), pretrain=Pretrain())
    data, manifest = prepared(tmp_path, config=config)
    assert manifest["spans_with_few_holders"] == 0 and manifest["spans"] > 0
    spans = [span for source in sources(data) for i in range(len(source)) for span in source[i].spans]
    assert spans and all(span.holder_count == 0 and (span.holders == -1).all() for span in spans)
    with pytest.raises(UserError, match="data.holders.*masking.min_holders"):
        Config(data=Data(holders=False), masking=Masking(min_holders=1))


def test_a_block_stays_one_passage(tmp_path):
    """ORQA's blocks are not cut; what is past the row has no sentence."""
    text = "The capital is Paris. " + "It is on the lake. " * 9
    block = dataclasses.replace(toy.article("France", []), text=text.strip(), sentences=None, spans=None, whole=True)
    data, manifest = prepared(tmp_path, [block, toy.ARTICLES[0]], Config(data=Data(passage_length=20)))
    passages = tfds_files.read(data.tfds, "passages", "train")
    assert passages[0]["text"].decode() == text.strip() and passages[1]["title"] == b"France: Places"
    row = PassageStore.open(data.store).rows(0)
    assert row[19] == TOKENIZER.sep_id and (row != 0).all()
    mine = [s for s in every_sentence(data) if s.origin == 0]
    assert 0 < len(mine) < 10 and all(s.place[1] <= 19 for s in mine)
