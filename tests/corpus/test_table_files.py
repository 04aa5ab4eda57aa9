"""Tables give an article a row, whatever the shards, and name what is faulty by file and row."""

import bz2
import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from realm_jax.config import Data
from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.files import JsonLines
from realm_jax.corpus.source import open_data
from realm_jax.corpus.table_files import TableFiles
from realm_jax.errors import UserError
from realm_jax.settings import check as check_settings

NAMED = {"title": "Name", "text": "Beschreibung", "id": "Nr"}
ROWS = [{"Nr": i, "Name": f"Ort {i}", "Beschreibung": f"Es ist der Ort {i}, am Fluß."} for i in range(7)]


def everything(source):
    return [found for shard in source.shards() for found in source.read(shard)]


def told(found):
    return [(article.id, article.title, article.text) for article in found if isinstance(article, Article)]


def faults(found):
    return [str(bad) for bad in found if isinstance(bad, Bad)]


EXPECTED = [(str(row["Nr"]), row["Name"], row["Beschreibung"]) for row in ROWS]


def write_csv(path, rows, delimiter=",", encoding="utf-8", opened=open):
    with opened(path, "wt", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_stream(path, rows, batch=2, writer=pa.ipc.new_stream):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, writer(file, table.schema) as out:
        out.write_table(table, max_chunksize=batch)


WRITERS = {
    "a.csv": write_csv,
    "b.CSV": lambda path, rows: write_csv(path, rows, ";", "utf-8-sig"),
    "c.tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "d.csv.gz": lambda path, rows: write_csv(path, rows, opened=gzip.open),
    "e.tsv.bz2": lambda path, rows: write_csv(path, rows, "\t", opened=bz2.open),
    "f.parquet": lambda path, rows: parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2),
    "g.arrow": write_stream,
    "h.arrow": lambda path, rows: write_stream(path, rows, 3, pa.ipc.new_file),
}


@pytest.mark.parametrize("size", [1, 100, 0])
@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_table_gives_its_rows(tmp_path, name, size):
    WRITERS[name](tmp_path / name, ROWS)
    source = TableFiles(str(tmp_path), columns=NAMED, shard_bytes=size)
    found = everything(source)
    assert told(found) == EXPECTED and not faults(found)
    assert len(source.shards()) > 1 or size != 1 or name.endswith(("gz", "bz2"))
    by_row = ".csv" not in name.lower() and ".tsv" not in name
    assert found[2].origin == f"{tmp_path / name}: row 3" if by_row else f"{tmp_path / name}:4"


@pytest.mark.parametrize("name", WRITERS)
def test_a_changed_row_changes_its_shard_alone(tmp_path, name):
    """And one more at the end none but the last; a packed file is one shard."""
    source, states = TableFiles(str(tmp_path), columns=NAMED, shard_bytes=1), []
    changed = [row | {"Beschreibung": "Es ist neu, am Fluß."} if row["Nr"] == 2 else row for row in ROWS]
    for rows in (ROWS, changed, [*ROWS, ROWS[0] | {"Nr": 9}], ROWS[:-1]):
        WRITERS[name](tmp_path / name, rows)
        states.append({(s.name, s.digest, s.first_line): told(source.read(s)) for s in source.shards()})
    for state in states[1:]:
        assert all(states[0][key] == state[key] for key in states[0].keys() & state.keys())
    kept = [len(states[0].keys() & state.keys()) for state in states[1:]]
    all_shards = len(states[0])
    packed = name.endswith(("gz", "bz2"))
    assert kept == [0, 0, 0] if packed else kept[0] == all_shards - 1 and min(kept[1:]) >= all_shards - 1


cells = st.text("ab\"',;\n é", max_size=8).map(lambda text: f"x{text}")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=9), st.integers(1, 80))
def test_any_shards_of_csv_give_all_rows_in_order(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows([("title", "text"), *rows])
    path.write_text(written.getvalue(), encoding="utf-8", newline="")
    whole, parted = (everything(TableFiles(str(path), shard_bytes=n)) for n in (0, size))
    assert parted == whole and [found.text for found in whole] == [text for _, text in rows]
    assert [found.title for found in whole] == [" ".join(title.split()) for title, _ in rows]


def test_faulty_rows_of_csv_are_named(tmp_path):
    rows = [b"title,text", b"A,It is.", b"B", b'C,"two\nlines, it is."', b"D,caf\xe9", b"E,", b"", b"F,It is.,more"]
    (tmp_path / "a.csv").write_bytes(b"\r\n".join([*rows, b"G,It is."]))
    found = everything(TableFiles(str(tmp_path), shard_bytes=9))
    assert [article.title for article in found if isinstance(article, Article)] == ["A", "C", "G"]
    for line, words in ((3, "1 values for 2 columns"), (6, "UTF-8"), (7, "empty"), (9, "3 values for 2 columns")):
        (fault,) = [fault for fault in faults(found) if fault.startswith(f"{tmp_path}/a.csv:{line}: ")]
        assert words in fault


def test_missing_values_and_other_types_are_named(tmp_path):
    rows = pa.table({"title": ["A", None, "C"], "text": ["It is.", "It.", None], "id": [7, 8, 9]})
    parquet.write_table(rows, tmp_path / "a.parquet")
    found = everything(TableFiles(str(tmp_path)))
    assert told(found) == [("7", "A", "It is.")]
    assert [fault.partition(" that")[0] for fault in faults(found)] == [
        f"{tmp_path}/a.parquet: row 2: has no column 'title'",
        f"{tmp_path}/a.parquet: row 3: has no column 'text'",
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_columns_that_are_not_there_are_named(tmp_path, name):
    WRITERS[name](tmp_path / name, ROWS)
    for columns, wanted in (({}, "title"), (NAMED | {"id": "Nummer"}, "Nummer")):
        with pytest.raises(UserError, match=f"{name}: has no column '{wanted}'; there are 'Nr', 'Name'") as caught:
            TableFiles(str(tmp_path), columns=columns).shards()
        assert "--data.columns title=NAME" in str(caught.value)


@pytest.mark.parametrize("name", ["d.csv.gz", "e.tsv.bz2", "f.parquet", "g.arrow", "h.arrow"])
def test_damaged_tables_are_named(tmp_path, name):
    WRITERS[name](tmp_path / name, ROWS)
    data = (tmp_path / name).read_bytes()
    for kept in (data[: len(data) * 3 // 4], data[:20], b"<html>"):
        (tmp_path / name).write_bytes(kept)
        found = everything(TableFiles(str(tmp_path), columns=NAMED))
        assert len(faults(found)) == 1 and name in faults(found)[0] and len(told(found)) < len(ROWS)
        assert "cannot be read" in faults(found)[0]


def test_a_folder_as_datasets_saves_it(tmp_path):
    """`save_to_disk` of a DatasetDict, beside the cache of a map."""
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split, rows in (("train", ROWS[:4]), ("test", ROWS[4:])):
        folder = tmp_path / split
        folder.mkdir()
        write_stream(folder / "data-00000-of-00001.arrow", rows)
        write_stream(folder / "cache-1f2e.arrow", ROWS)
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    assert sorted(told(everything(TableFiles(str(tmp_path), columns=NAMED)))) == EXPECTED
    assert told(everything(TableFiles(str(tmp_path / "test"), columns=NAMED))) == EXPECTED[4:]
    (tmp_path / "test" / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"state\.json: does not name"):
        TableFiles(str(tmp_path), columns=NAMED).shards()


def test_fields_of_json_lines_are_named_likewise(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = Data(source="jsonl", path=str(path), columns="title=Name, text=Beschreibung,id=Nr")
    assert told(everything(open_data(data))) == EXPECTED
    assert "has no field 'title' that is a text; there are 'Nr'" in faults(everything(JsonLines(str(path))))[0]
    plain, named = JsonLines(str(path)), open_data(data)
    assert plain.version != named.version and plain.version == JsonLines.version


@pytest.mark.parametrize(
    ("source", "columns", "words"),
    [
        ("table", "titel=Name", "none of title=NAME"),
        ("table", "title", "none of title=NAME"),
        ("folder", "title=Name", "'folder' has no columns to name; jsonl, table have"),
    ],
)
def test_wrong_names_of_columns(source, columns, words):
    with pytest.raises(UserError, match=words):
        check_settings(Data(source=source, path="d", columns=columns))
