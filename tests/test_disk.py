"""What is published outlasts a power cut, is whole or not there, and no dead writer's file stays."""

import contextlib
import errno
import fcntl
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realm_jax import disk
from realm_jax.errors import UserError, of_system, refusal
from realm_jax.locks import owner, sole_owner
from realm_jax.workdir import publish, read_json, write_json


@pytest.fixture
def order(monkeypatch):
    """What the kernel was asked for, in order."""
    asked = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(file):
        asked.append(("sync", Path(os.readlink(f"/proc/self/fd/{file}")).name))
        fsync(file)

    def recorded_replace(source, target):
        asked.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return asked


def test_a_file_is_on_disk_before_it_has_its_name_and_then_its_name_is(tmp_path, order):
    write_json(tmp_path / "done.json", {"step": 3})
    assert json.loads((tmp_path / "done.json").read_text()) == {"step": 3}
    (what, temporary), *others = order
    assert what == "sync" and temporary.startswith(".done.json.")
    assert others == [("rename", "done.json"), ("sync", tmp_path.name)]


def test_all_of_a_folder_is(tmp_path, order):
    with publish(tmp_path / "7") as folder:
        (folder / "part").mkdir()
        (folder / "part" / "rows").write_bytes(b"1")
        (folder / "vectors").write_bytes(b"2")
    at = order.index(("rename", "7"))
    assert {("sync", "rows"), ("sync", "part"), ("sync", "vectors"), ("sync", ".7.tmp")} <= set(order[:at])
    assert order[at + 1 :] == [("sync", tmp_path.name)]


@contextlib.contextmanager
def room_for(size):
    """So many bytes in each file, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill_text(path):
    path.write_text("a" * 1000)


def fill_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(1000, np.uint8))  # does not notice


@pytest.mark.parametrize("fill", [fill_text, fill_array])
def test_what_a_full_disk_cuts_off_is_not_published(tmp_path, fill):
    (tmp_path / "a").write_text("before")
    with room_for(300), pytest.raises(OSError) as one, disk.written(tmp_path / "a") as temporary:
        fill(temporary)
    with room_for(300), pytest.raises(OSError) as many, publish(tmp_path / "7") as folder:
        fill(folder / "b")
    assert "/a" in f"/{Path(one.value.filename).name.removeprefix('.')}" and "7" in many.value.filename
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "before"
    assert "make room" in of_system(one.value)


def test_an_array_that_is_whole_is_published(tmp_path):
    with publish(tmp_path / "7") as folder:
        np.save(folder / "a.npy", np.arange(6).reshape(2, 3))
        np.save(folder / "b.npy", np.array([{}, "a"], object), allow_pickle=True)
        (folder / "c.npy").write_bytes(b"of another kind")
    assert np.load(tmp_path / "7" / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_library_that_tells_of_a_full_disk_is_understood():
    told = 'OUT_OF_RANGE: Error writing local file "/a/b.c/_sharding": No space left on device [os_error_code=28]'
    assert refusal(ValueError(told)).filename == "/a/b.c/_sharding"
    assert refusal(RuntimeError("write() failed: File too large; writing /a/c; at byte 7")).filename == "/a/c"
    assert refusal(RuntimeError("Permission denied")).filename is None
    assert refusal(ValueError("shapes differ")) is None


def test_a_file_system_that_syncs_no_folders_is_one_to_work_on(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_alone(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(file)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_a_disk_that_is_full_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", 1)

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json"):
        write_json(tmp_path / "a.json", 2)
    assert os.listdir(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_text() == "1\n"


def test_dead_writers_leave_nothing(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    mine = [tmp_path / f".a.json.{here}.{dead.pid}.tmp", tmp_path / f".a.json.{dead.pid}.tmp"]
    others = [
        tmp_path / f".a.json.{here}.{os.getpid()}.tmp.other",
        tmp_path / f".a.json.elsewhere.{dead.pid}.tmp",
        tmp_path / f".a.json.{here}.{os.getppid()}.tmp",
        tmp_path / f".b.json.{here}.{dead.pid}.tmp",
    ]
    for path in (*mine, *others):
        path.write_text("half")
    write_json(tmp_path / "a.json", 1)
    assert set(tmp_path.iterdir()) == {tmp_path / "a.json", *others}


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(UserError, match=r"\.prepare\.lock: this file system locks no files \(Function not impl.*name a"),
        sole_owner(tmp_path, "prepare"),
    ):
        pass
    with pytest.raises(UserError, match="this file system locks no files"):
        owner(tmp_path, "prepare")


def test_a_lock_that_is_shared_is_nobodys_alone(tmp_path):
    with open(tmp_path / "a", "w") as one, open(tmp_path / "a", "w") as other:
        assert disk.lock(one, shared=True) and disk.lock(other, shared=True) and not disk.lock(one)


def test_a_sealed_folder_tells_what_has_changed_in_it(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "rows").write_bytes(b"1234")
    (tmp_path / "stamp").write_bytes(b"1")
    disk.seal(tmp_path, but=("stamp",))
    (tmp_path / "stamp").write_bytes(b"2")
    assert disk.damage(tmp_path) == "" == disk.damage(tmp_path, ["part"])
    (tmp_path / "part" / "rows").write_bytes(b"1235")
    assert disk.damage(tmp_path).startswith(f"{tmp_path / 'part' / 'rows'}: damaged, its checksum")
    assert disk.damage(tmp_path, ["another"]) == ""
    (tmp_path / "part" / "rows").unlink()
    assert disk.damage(tmp_path) == f"{tmp_path / 'part' / 'rows'}: is missing"
    (tmp_path / disk.CHECKSUMS).write_text("[]")
    assert "lists no checksums" in disk.damage(tmp_path)
    (tmp_path / disk.CHECKSUMS).unlink()
    assert disk.damage(tmp_path) == "", "of an earlier version"


def test_whatever_a_library_raises_is_damage_but_not_what_the_system_says(tmp_path):
    with pytest.raises(UserError, match="a.npy: damaged .*; mend it"):
        (tmp_path / "a.npy").write_bytes(b"junk")
        disk.read_array(tmp_path / "a.npy", "mend it")
    with pytest.raises(FileNotFoundError):
        disk.read_array(tmp_path / "b.npy", "mend it")


def test_json_of_another_form_is_damage(tmp_path):
    path = tmp_path / "done.json"
    for text, problem in (("[]", "a list, where a dict"), ("{}", "its 'step' is 'None'"), ('{"step": true}', "'True'")):
        path.write_text(text)
        with pytest.raises(UserError, match=f"done.json:1: damaged .*{problem}.*delete the file"):
            read_json(path, step=int)
    path.write_text('{"step": 3}')
    assert read_json(path, step=int) == {"step": 3}
