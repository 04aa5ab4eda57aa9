"""Every source gives the articles that stand in its files, whatever the shards, and names what is faulty."""

import bz2
import gzip
import itertools
import json
import os
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus import tensorflow_corpora, tfds_files, wikipedia
from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.files import JsonLines, WikiExtractor
from realm_jax.corpus.folder import Folder
from realm_jax.corpus.shards import Cutter
from realm_jax.corpus.source import MAX_RECORD
from realm_jax.corpus.table_files import TableFiles
from realm_jax.corpus.taggers import Rules
from realm_jax.corpus.tfrecord import masked_crc
from realm_jax.corpus.wikipedia import WikipediaDump
from realm_jax.errors import UserError
from realm_jax.qa.squad import SquadFiles
from tests.corpus import toy

HEAD = "<mediawiki><siteinfo><sitename>W</sitename></siteinfo>\n"


def page(title, text, ns=0, more=""):
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"<page><title>{title}</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>\n"


def prose(i):
    return page(f"Page {i}", f"Page number {i} tells of the town of [[Oslo]] and of its many rivers.")


def everything(source):
    return [found for shard in source.shards() for found in source.read(shard)]


def titles(found):
    return [article.title for article in found if isinstance(article, Article)]


def faults(found):
    return [str(bad) for bad in found if isinstance(bad, Bad)]


def streams(path, pages, size=3, head=HEAD):
    """A dump of many streams; returns where each begins."""
    parts = [head, *("".join(pages[i : i + size]) for i in range(0, len(pages), size)), "</mediawiki>"]
    packed = [bz2.compress(part.encode()) for part in parts]
    path.write_bytes(b"".join(packed))
    return np.cumsum([0, *map(len, packed)])


def test_a_dump_gives_its_articles_alone(tmp_path):
    pages = [
        prose(1),
        page("Old", "#REDIRECT [[New]]", more='<redirect title="New" />'),
        page("Talk:Old", "This is a talk about whether the page is any good at all.", ns=1),
        page("Mercury", "Mercury may refer to one of several things:\n* [[A]]\n{{Disambiguation}}"),
        page("List of towns", "* [[Oslo]] is a town in the country of Norway.\n"),
        page("Nothing", "{| class=x\n| a\n|}"),
        prose(2),
    ]
    dump = tmp_path / "dump.xml.bz2"
    dump.write_bytes(bz2.compress((HEAD + "".join(pages) + "</mediawiki>").encode()))
    found = everything(WikipediaDump(str(dump)))
    assert titles(found) == ["Page 1", "Page 2"] and not faults(found)
    article = found[0]
    assert article.text == "Page number 1 tells of the town of Oslo and of its many rivers."
    assert [article.text[a:b] for a, b in article.links] == ["Oslo"]
    assert "unpacked byte" in article.origin and article.id == "Page 1"


def test_a_dump_names_its_language_and_namespaces(tmp_path):
    names = '<namespaces><namespace key="0" /><namespace key="6" case="first-letter">Datei</namespace></namespaces>'
    head = HEAD.replace("<mediawiki>", '<mediawiki xml:lang="de">').replace("</siteinfo>", f"{names}</siteinfo>")
    pages = [
        prose(0),
        page("Mühle", "[[Datei:A.jpg|mini|Bild]]Die Mühle hat {{formatnum:12345}} Räder. So in [[CSI: Wien]]."),
    ]
    at = streams(tmp_path / "d.xml.bz2", pages, head=head)
    for size in (1, int(at[-1])):  # whichever streams a shard has
        assert everything(WikipediaDump(str(tmp_path), size))[1].text == "Die Mühle hat 12345 Räder. So in CSI: Wien."


@pytest.mark.parametrize("shard_bytes", [1, 300, 1 << 20])
def test_streams_are_shards(tmp_path, shard_bytes):
    at = streams(tmp_path / "d.xml.bz2", [prose(i) for i in range(20)])
    source = WikipediaDump(str(tmp_path), shard_bytes)
    assert titles(everything(source)) == [f"Page {i}" for i in range(20)]
    shards = source.shards()
    assert shards[0].start == 0 and shards[-1].limit == at[-1]
    for shard, following in itertools.pairwise(shards):  # as few streams each as have the bytes
        assert shard.limit == following.start == min(at[at >= shard.start + shard_bytes])
    assert at[-2] < shards[-1].start + shard_bytes
    assert len(shards) == 1 if shard_bytes > 1000 else len(shards) > 2


def test_a_page_may_span_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(wikipedia, "BLOCK", 37)
    (tmp_path / "d.xml").write_text(HEAD + "".join(prose(i) for i in range(9)) + "</mediawiki>")
    assert titles(everything(WikipediaDump(str(tmp_path / "d.xml")))) == [f"Page {i}" for i in range(9)]
    streams(tmp_path / "e.xml.bz2", [prose(i) for i in range(9)])
    assert len(titles(everything(WikipediaDump(str(tmp_path / "e.xml.bz2"))))) == 9


def test_damage_in_a_dump_costs_no_more_than_its_place(tmp_path):
    pages = [prose(i) for i in range(12)]
    pages[2] = pages[2].replace("</text>", "<b></text>")
    pages[5] = pages[5].replace("</page>", "")
    pages[7] = "<page><title>\x00</title></page>\n"
    pages[9] = page("", "no title")
    dump = tmp_path / "d.xml.bz2"
    at = streams(dump, pages)
    found = everything(WikipediaDump(str(dump)))
    assert titles(found) == [f"Page {i}" for i in (0, 1, 3, 4, 6, 8, 10, 11)]
    assert len(faults(found)) == 4 and all("d.xml.bz2: unpacked byte " in fault for fault in faults(found))

    data = bytearray(dump.read_bytes())
    data[at[2] + 40 : at[2] + 60] = b"x" * 20  # the second stream of pages
    dump.write_bytes(data)
    found = everything(WikipediaDump(str(dump)))
    assert titles(found) == [f"Page {i}" for i in (0, 1, 6, 8, 10, 11)]
    assert any(f"byte {at[2]}" in fault and "damaged" in fault for fault in faults(found))

    dump.write_bytes(dump.read_bytes()[: at[4] - 5])
    found = everything(WikipediaDump(str(dump)))
    assert titles(found)[:2] == ["Page 0", "Page 1"] and "ends too early" in faults(found)[-1]


def test_invalid_utf8_in_a_dump(tmp_path):
    bad = prose(1).encode().replace(b"town", b"t\xff\xfen")
    (tmp_path / "d.xml").write_bytes(HEAD.encode() + prose(0).encode() + bad + prose(2).encode())
    found = everything(WikipediaDump(str(tmp_path / "d.xml")))
    assert titles(found) == ["Page 0", "Page 2"] and "UTF-8" in faults(found)[0]


lines = st.lists(
    st.one_of(
        st.builds(lambda t: json.dumps({"title": "T", "text": t + "."}, ensure_ascii=False), st.text(max_size=40)),
        st.just(""),
    ),
    max_size=12,
)


@given(lines, st.integers(1, 200))
def test_any_shards_of_json_lines_give_all_lines_in_order(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    found = everything(JsonLines(str(path), shard_bytes=size))
    expected = [(f"{path}:{i}", json.loads(row)["text"]) for i, row in enumerate(rows, 1) if row]
    assert [(article.origin, article.text) for article in found] == expected


@given(st.lists(st.text("ab", min_size=1, max_size=20), min_size=1, max_size=6), st.data(), st.integers(1, 200))
def test_a_shard_that_seems_unchanged_is_unchanged(tmp_path_factory, texts, data, size):
    """A shard whose file has the same name reads the same, wherever a letter was exchanged, added or taken away."""
    path, states = tmp_path_factory.mktemp("lines") / "a.jsonl", []
    row, at = data.draw(st.integers(0, len(texts) - 1)), data.draw(st.integers(0, 19))
    edited = texts[row][:at] + data.draw(st.sampled_from(["", "c", "cc"])) + texts[row][at + 1 :]
    for state in (texts, [*texts[:row], edited, *texts[row + 1 :]]):
        path.write_text("".join(json.dumps({"title": "T", "text": f"{text}."}) + "\n" for text in state))
        source = JsonLines(str(path), shard_bytes=size)
        states.append({(s.name, s.digest, s.first_line): list(source.read(s)) for s in source.shards()})
    assert all(states[0][key] == states[1][key] for key in states[0].keys() & states[1].keys())


def test_only_the_edited_shard_of_json_lines_changes(tmp_path):
    path, rows = tmp_path / "a.jsonl", [json.dumps({"title": "T", "text": f"The river {i} is cold."}) for i in range(9)]
    source, states = JsonLines(str(path), shard_bytes=110), []
    for word in ("cold", "warm", "very cold"):
        path.write_text("\n".join(row.replace("3 is cold", f"3 is {word}") for row in rows))
        states.append([(shard.name, shard.digest, shard.first_line) for shard in source.shards()])
    assert all([a == b for a, b in zip(states[0], state)] == [True, False, True] for state in states[1:])


def test_faulty_lines_are_named(tmp_path):
    good = json.dumps({"title": "A", "text": "It is good.", "id": 7, "other": [1]}).encode()
    rows = [
        good,
        b'{"title": "B"}',
        b"{nope",
        b'{"title": "\xff", "text": "x"}',
        b'["list"]',
        b'{"title": "C", "text": "  "}',
        b'{"title": "D", "text": 5}',
        b'{"title": "E", "text": "' + b"x" * (MAX_RECORD + 9) + b'"}',
        good,
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(rows))
    found = everything(JsonLines(str(tmp_path), shard_bytes=1 << 22))
    assert titles(found) == ["A", "A"] and found[0].id == "7" and found[-1].origin == f"{path}:9"
    for number, word in (
        (2, "'text'"),
        (3, "JSON"),
        (4, "UTF-8"),
        (5, "object"),
        (6, "empty"),
        (7, "'text'"),
        (8, "MiB"),
    ):
        (fault,) = [fault for fault in faults(found) if fault.startswith(f"{path}:{number}:")]
        assert word in fault


def test_packed_lines_and_wikiextractor(tmp_path):
    row = json.dumps({"id": "12", "url": "u", "title": "Oslo", "text": "Oslo\n\nOslo is a town."}) + "\n"
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "wiki_00.bz2").write_bytes(bz2.compress((row * 3).encode()))
    (tmp_path / "AA" / "wiki_01").write_text(row)
    found = everything(WikiExtractor(str(tmp_path)))
    assert [article.text for article in found] == ["Oslo is a town."] * 4
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress((row * 3).encode())[:-12])
    assert faults(everything(JsonLines(str(packed)))) and "damaged" in faults(everything(JsonLines(str(packed))))[0]


def test_damage_within_a_packed_file_is_named(tmp_path):
    packed = tmp_path / "a.jsonl.gz"
    data = bytearray(gzip.compress(b'{"title": "T", "text": "It is long."}\n' * 9))
    data[10:12] = b"\xff\xff"  # where the compressed data begin
    packed.write_bytes(data)
    (fault,) = faults(everything(JsonLines(str(packed))))
    assert fault.startswith(f"{packed}:1: ") and "damaged" in fault


def test_a_null_id_is_none_and_half_a_character_harms_nothing(tmp_path):
    path, rows = tmp_path / "a.jsonl", [{"title": "T", "text": "It.", "id": i} for i in (None, None, 0, "a\ud83d")]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [article.id for article in everything(JsonLines(str(path)))] == ["", "", "0", "a?"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Oslo\n\nOslo is a town.", "Oslo is a town."),
        ("Oslo\r\nIt is a town.", "It is a town."),
        ("Oslo is a town.", "Oslo is a town."),
        ("Oslofjord is long.", "Oslofjord is long."),
        ("\nIt is a town.\nOslo", "It is a town.\nOslo"),
    ],
)
def test_wikiextractors_title_goes_only_where_it_is_a_line(tmp_path, text, kept):
    (tmp_path / "wiki_00").write_text(json.dumps({"title": "Oslo", "text": text}))
    (article,) = everything(WikiExtractor(str(tmp_path)))
    assert article.text == kept


def test_lines_in_a_file_whose_name_is_no_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"donn\xe9es.JSONL")).write_text('{"title": "T", "text": "It is."}\n{}')
    found = everything(JsonLines(str(tmp_path)))
    assert found[0].origin == rf"{tmp_path}/donn\xe9es.JSONL:1" and r"donn\xe9es.JSONL:2: " in faults(found)[0]


def test_utf16_without_a_mark_is_a_fault(tmp_path):
    (tmp_path / "a.txt").write_bytes("The river.".encode("utf-16-le"))
    (tmp_path / "b.jsonl").write_bytes('{"title": "T", "text": "It."}'.encode("utf-16-be"))
    assert "UTF-16" in faults(everything(Folder(str(tmp_path))))[0]
    assert "UTF-16" in faults(everything(JsonLines(str(tmp_path))))[0]


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a": ' * 50_000, "9" * 5000])
def test_json_that_the_parser_gives_up_is_a_fault(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(f'{{"title": "T", "text": "It.", "more": {value}\n')
    (fault,) = faults(everything(JsonLines(str(tmp_path))))
    assert fault.startswith(f"{tmp_path}/a.jsonl:1: not valid JSON")


SOURCES = [WikipediaDump, JsonLines, Folder, TableFiles, SquadFiles, tensorflow_corpora.TfdsArticles]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_not_there_is_a_users_mistake(tmp_path, source):
    for path in ("", str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(UserError, match="data.path"):
            source(path).shards()


class Annotated(tfds_files.LocalBuilder):
    """The schema of TFDS's salient_span_wikipedia."""

    name = "annotated"

    def features(self):
        place = {"start": np.int32, "limit": np.int32}
        text = tfds.features.Text()
        return {
            "title": text,
            "text": text,
            "sentences": tfds.features.Sequence(place),
            "spans": tfds.features.Sequence(place | {"type": text}),
        }


def test_a_tfds_set_keeps_its_sentences_and_spans(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_corpora, "RECORDS", 2)
    text = "Zürich is a town. It has a lake."
    record = {
        "title": "Zürich",
        "text": text,
        "sentences": [{"start": 0, "limit": 18}, {"start": 19, "limit": 33}],
        "spans": [{"start": 0, "limit": 7, "type": "LOC"}],
    }
    records = [record, record | {"title": "B", "spans": []}, record | {"text": " "}]
    tfds_files.write(Annotated, tmp_path, {"train": lambda: records})
    source = tensorflow_corpora.TfdsArticles(str(tmp_path))
    found = everything(source)
    assert len(source.shards()) == 2 and titles(found) == ["Zürich", "B"] and "record 2" in faults(found)[0]
    assert found[0].sentences == [(0, 18), (19, 33)] and found[0].spans == [(0, 7, "LOC")] and found[1].spans == []


@pytest.mark.parametrize("harm", ["cut", "flip", "info"])
def test_a_damaged_tfds_set_is_a_fault_that_says_where(tmp_path, harm):
    """Of articles, and of records that are read beside each other, as questions are."""
    text = "Zürich is a town."
    rows = [{"title": f"Z {i}", "text": text, "sentences": [], "spans": []} for i in range(40)]
    tfds_files.write(Annotated, tmp_path, {"train": lambda: rows})
    (folder,) = [path.parent for path in tmp_path.glob("**/dataset_info.json")]
    damaged = folder / "dataset_info.json" if harm == "info" else next(folder.glob("*.array_record*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content[: len(content) * 3 // 4] if harm != "flip" else content)
    for read in (
        lambda: faults(everything(tensorflow_corpora.TfdsArticles(str(tmp_path)))),
        lambda: list(tfds_files.open_prepared(folder, "train", "x/1.0.0:train")[1]),
    ):
        try:
            found = read()
        except UserError as error:
            found = [str(error)]
        assert str(folder) in found[0] and ("TFDS prepare" in found[0] or "no data set that TFDS" in found[0])


class Sentences(tfds_files.LocalBuilder):
    """The schema of its first config, `sentences`: a sentence a record, without its place."""

    name = "sentences"

    def features(self):
        features = Annotated.features(self)
        del features["sentences"]
        return features


def test_spans_are_kept_where_no_sentences_are_given(tmp_path):
    text = "Zürich is a town by the lake."
    spans = [{"start": 0, "limit": 7, "type": "LOC"}, {"start": 25, "limit": 29, "type": "WATER"}]
    tfds_files.write(Sentences, tmp_path, {"train": lambda: [{"title": "Zürich", "text": text, "spans": spans}]})
    source = tensorflow_corpora.TfdsArticles(str(tmp_path))
    cutter = Cutter(source, toy.tokenizer(), 32, [Rules()])
    (shard,) = source.shards()
    cut = json.loads(next(cutter.lines(shard)))
    assert cut["sentences"] == [[0, 30]] and cut["spans"] == [[0, 7, "LOC"], [25, 29, "WATER"]]
    assert len(cut["span_tokens"]) == 2 and cut["span_tokens"][1] == toy.tokenizer().encode("lake").ids.tolist()


def record(data):
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def test_orqas_blocks_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_corpora, "RECORDS", 3)
    texts = [f"The block {i} is here. It has two sentences." for i in range(8)]
    (tmp_path / "blocks.tfr").write_bytes(b"".join(record(text.encode()) for text in texts))
    (tmp_path / "titles.tfr").write_bytes(b"".join(record(f"T{i}".encode() * (i + 1)) for i in range(8)))
    source = tensorflow_corpora.OrqaBlocks(str(tmp_path))
    found = everything(source)
    assert [(a.title, a.text, a.whole) for a in found] == [(f"T{i}" * (i + 1), texts[i], True) for i in range(8)]
    assert len(source.shards()) == 3 and found[7].origin == "blocks.tfr: record 7"
    data = bytearray((tmp_path / "blocks.tfr").read_bytes())
    data[-20] ^= 1
    (tmp_path / "blocks.tfr").write_bytes(data)
    found = everything(source)
    assert len(titles(found)) == 7 and "checksum" in faults(found)[0]
