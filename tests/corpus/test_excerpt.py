"""A piece of the real Wikipedia, which pip fetches, from dump to passages, spans, index and answer."""

import bz2
import collections
import dataclasses
import itertools
import re

import jax
import pytest

from realm_jax.answering.model import Model
from realm_jax.config import Data, Index, Masking, Pretrain
from realm_jax.corpus import shards, tfds_files
from realm_jax.corpus.preparation import Corpus, prepare_corpus
from realm_jax.corpus.wikipedia import EXCERPT, WikipediaDump
from realm_jax.packages import fetch
from realm_jax.training.index_builder import build_one
from realm_jax.training.open_run import OpenRun
from realm_jax.training.results import start_of_pretraining
from realm_jax.workdir import Workdir
from tests import world as small
from tests.answering.finished import save

MARKUP = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\||''|</?[a-z]+[ >]|&[a-z]+;|__[A-Z]+__|https?://|\bISBN\b")


@pytest.fixture(scope="module")
def dump():
    return fetch(EXCERPT, "data.path") / EXCERPT.files[0]


@pytest.fixture(scope="module")
def prepared(dump, world, tmp_path_factory):
    """An experiment whose data are made of the dump."""
    tmp_path = tmp_path_factory.mktemp("excerpt")
    words = collections.Counter(re.findall("[a-z]+", bz2.decompress(dump.read_bytes()).decode().lower()))
    pieces = dict.fromkeys([*small.VOCAB, *(word for word, _ in words.most_common(6000))])
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    settings = Data(source="wikipedia", path="excerpt", taggers=("dates", "links"), passage_length=128, query_length=64)
    bert = dataclasses.replace(world.config.model.bert, vocab_size=len(pieces), max_positions=192)
    config = world.settings(
        data=dataclasses.replace(settings, joint_length=192, holders=False, processes=1),
        model={"vocab": str(tmp_path / "vocab.txt"), "bert": bert},
        masking=Masking(max_masks=9, subject=False),
        pretrain=Pretrain(steps=0, probe_queries=0),
        index=Index(kind="exact", rows_per_batch=256),
        finetune={"joint_length": 192},
    )
    experiment = OpenRun(config, Workdir(tmp_path / "run"))
    manifest = prepare_corpus(config, experiment.data, experiment.tokenizer, say=lambda line: None)
    assert manifest["articles"] == 96 and manifest["faulty"] == 0 and manifest["spans"] > 20_000
    return experiment


@pytest.mark.filterwarnings("default")  # Beam's own affairs
def test_beam_cuts_the_dump_as_prepare_does(prepared, dump, tmp_path):
    pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")
    from realm_jax.corpus.beam import cut_with_beam

    (cutter,) = Corpus(prepared.config.data, prepared.data, prepared.tokenizer).cutters
    (shard,) = cutter.source.shards()
    # The dump's beginning, up to the page of the 13th article: Beam would be minutes over all of it.
    following = next(itertools.islice(cutter.source.read(shard), 12, None))
    pages = bz2.decompress(dump.read_bytes())[: int(following.origin.rpartition(" ")[2])]
    (tmp_path / dump.name).write_bytes(bz2.compress(pages + b"</mediawiki>"))
    cutter = dataclasses.replace(cutter, source=WikipediaDump(str(tmp_path / dump.name)))
    (shard,) = cutter.source.shards()
    told = shards.write_shard(tmp_path / "cut", cutter.key(shard), cutter.lines(shard))
    assert told["articles"] == 12 and not told["bad"]
    cut_with_beam(str(tmp_path / "made"), [cutter])
    (made,) = (tmp_path / "made").iterdir()
    assert made.read_bytes() == (tmp_path / "cut" / made.name).read_bytes()


def test_from_dump_to_answers(prepared):
    passages = tfds_files.read(prepared.data.tfds, "passages", "train")
    records = [passages[i] for i in range(len(passages))]
    texts = [record["text"].decode() for record in records]
    lines = {line for text in texts for line in text.split("\n")}
    assert not [line for line in lines if MARKUP.search(line) or line.startswith(("|", "!", "*", "=="))]
    assert not lines & {"References", "See also", "External links", "Further reading", "Notes"}
    assert any("The Lunar Module was named Eagle" in text for text in texts)
    (first,) = [r for r in records if r["title"] == b"Albedo" and r["start"] == 0]
    assert re.fullmatch(rb"enwiki.*\.bz2: unpacked byte \d+", first["where"]) and len(first["id"]) == 32

    tagged, queries = set(), tfds_files.read(prepared.data.tfds, "queries", "train")
    for record in (queries[i] for i in range(len(queries))):
        spans = record["spans"]
        places = zip(spans["start"], spans["limit"], spans["type"], strict=True)
        tagged |= {(record["text"][a:b].decode(), kind) for a, b, kind in places}
    assert {("Confederate States of America", b"entity"), ("July 20, 1969", b"date")} <= tagged

    params = start_of_pretraining(prepared)(jax.random.key(0))
    save(prepared, "pretrain", params)
    build_one(prepared, 0, params["embedder"])
    shown = str(Model(prepared).explain("The capital of Angola is [MASK].", "Luanda"))
    assert shown.startswith("answer: ") and shown.count("p(z|x)") == 6 and not re.search(r"\bnan\b", shown)
