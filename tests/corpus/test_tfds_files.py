"""Data sets are written as a stream, whole or not at all."""

import pytest

from realm_jax.corpus import tfds_files


def example(i):
    place = {"article": i, "start": 0, "limit": 8 + i, "id": f"{i:032x}", "where": f"line {i}"}
    return {"title": f"title {i}", "text": f"Zürich {i}", **place}


@pytest.mark.parametrize("count, files", [(1, 1), (3, 3), (7, 7)])
def test_what_is_written_is_read(tmp_path, monkeypatch, count, files):
    monkeypatch.setattr(tfds_files, "FILE_BYTES", 1)
    tfds_files.write(tfds_files.Passages, tmp_path, {"train": lambda: map(example, range(count))})
    assert tfds_files.is_written(tfds_files.Passages, tmp_path)
    found = tfds_files.read(tmp_path, "passages", "train")
    assert [found[i]["text"].decode() for i in range(len(found))] == [example(i)["text"] for i in range(count)]
    assert len([*tmp_path.rglob("*array_record*")]) == files


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path):
    def failing():
        yield example(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tfds_files.write(tfds_files.Passages, tmp_path, {"train": failing})
    assert not tfds_files.is_written(tfds_files.Passages, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
