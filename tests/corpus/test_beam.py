"""Beam's local runner makes the shards that `prepare` makes, once each, and `prepare` goes on from them."""

import dataclasses
import json
import struct

import pytest

from realm_jax.config import Config, Data
from realm_jax.corpus import files, shards, tensorflow_corpora
from realm_jax.corpus.preparation import Corpus, prepare_corpus
from realm_jax.corpus.shards import Cutter, path_of
from realm_jax.corpus.tfrecord import masked_crc
from realm_jax.errors import UserError
from realm_jax.jobs.prepare_with_beam import Arguments, main, root_of
from realm_jax.workdir import DataDir, Workdir
from tests.corpus import toy

pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # Beam's own affairs


def test_beam_cuts_what_prepare_cuts(tmp_path, monkeypatch):
    from apache_beam.options.pipeline_options import PipelineOptions

    from realm_jax.corpus.beam import cut_with_beam

    monkeypatch.setattr(files, "SHARD_BYTES", 300)
    rows = [json.dumps({"title": f"T{i}", "text": f"The city {i} is on the lake. It is in Oslo."}) for i in range(40)]
    documents, copy, remote = tmp_path / "documents", tmp_path / "copy", tmp_path / "remote"
    documents.mkdir()
    (documents / "a.jsonl").write_text("\n".join(rows))
    config = Config(data=Data(source="jsonl", path=str(documents), passage_length=24, processes=1))
    tokenizer = toy.tokenizer()
    plain = prepare_corpus(config, DataDir(tmp_path / "plain"), tokenizer, say=lambda line: None)

    data = DataDir(tmp_path / "beam")
    corpus = Corpus(config.data, data, tokenizer)
    (cutter,) = corpus.cutters
    made = cutter.source.shards()
    monkeypatch.setattr(files.JsonLines, "shards", lambda source: made)
    documents.rename(copy)  # workers see a copy alone
    for _ in range(2):
        cut_with_beam(str(remote), [cutter], PipelineOptions(["--runner", "DirectRunner"]), str(copy), str(documents))
        names = sorted(path.name for path in remote.iterdir())
        assert names == sorted(f"{cutter.key(shard)}.jsonl" for shard in made) and len(made) > 5
    data.root.mkdir()
    remote.rename(corpus.folder)
    monkeypatch.setattr(shards, "write_shard", lambda *_: pytest.fail("cut again"))
    assert prepare_corpus(config, data, tokenizer, say=lambda line: None) == plain


def record(text):
    head = struct.pack("<Q", len(text))
    return head + struct.pack("<I", masked_crc(head)) + text + struct.pack("<I", masked_crc(text))


def test_workers_fetch_of_two_files_what_stands_beside_each_other(tmp_path, monkeypatch):
    from apache_beam.options.pipeline_options import PipelineOptions

    from realm_jax.corpus.beam import cut_with_beam

    monkeypatch.setattr(tensorflow_corpora, "RECORDS", 4)
    blocks, copy, remote = tmp_path / "blocks", tmp_path / "copy", tmp_path / "remote"
    blocks.mkdir()
    (blocks / "blocks.tfr").write_bytes(b"".join(record(b"The river %d is in Oslo." % i) for i in range(20)))
    (blocks / "titles.tfr").write_bytes(b"".join(record(b"R%d" % i) for i in range(20)))
    cutter = Cutter(tensorflow_corpora.OrqaBlocks(str(blocks)), toy.tokenizer(), 32)
    *_, last = cutter.source.shards()
    expected = "".join(cutter.lines(last))
    monkeypatch.setattr(tensorflow_corpora.OrqaBlocks, "shards", lambda source: [last])  # a worker that gets no other
    blocks.rename(copy)
    cut_with_beam(str(remote), [cutter], PipelineOptions(["--runner", "DirectRunner"]), str(copy), str(blocks))
    assert last.first_line == 16 and path_of(remote, cutter.key(last)).read_text() == expected
    assert '"articles": 4' in expected
    assert not any((blocks / "titles.tfr").read_bytes()[: last.beside[0]])  # which other shards read


def test_a_copy_that_workers_could_not_read_is_refused_before_anything_is_done(tmp_path):
    for name in ("corpus", "news"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text('{"title": "T", "text": "It is."}')
    corpus, news = tmp_path / "corpus", tmp_path / "news"
    data = Data(source="jsonl", path=str(corpus / "a.jsonl"))
    both = dataclasses.replace(data, path=str(tmp_path), text_source="jsonl", text_path=str(news))
    assert root_of(data) == str(corpus) and root_of(both) == str(tmp_path)
    for wrong, complaint in (
        (dataclasses.replace(data, source="tfds_wikipedia"), r"data\.source 'tfds_wikipedia' from a copy"),
        (dataclasses.replace(data, source="factbook", path=""), r"data\.source 'factbook'"),
        (dataclasses.replace(data, source="wikipedia", path="excerpt"), r"data\.path 'excerpt' is no file"),
        (dataclasses.replace(data, text_source="jsonl", text_path=str(news)), r"data\.text_path '.*news' is no file"),
    ):
        with pytest.raises(UserError, match=f"^--inputs: .*{complaint}"):
            main(Config(data=wrong), Workdir(tmp_path / "run"), Arguments(inputs="copy"))
    assert not (tmp_path / "run").exists()
