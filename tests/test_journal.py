"""Journals: what was finished is never lost, and damage is never read as data."""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.errors import HwnasError, JournalDamaged, ProvenanceMismatch
from devices.journal import Journal, read

HEADER = {"schema": 1, "device": {"spec": "a", "cores": 2}}
UNITS: list[dict[str, Any]] = [
    {"unit": "first", "value": [1, 2.5, None]},
    {"unit": "second", "text": "ä\n{}"},
    {},
    {"unit": "last", "n": 3},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@functools.cache
def whole_file(folder: Path) -> bytes:
    with Journal(folder / "whole.jsonl", HEADER) as journal:
        for unit in UNITS:
            journal.append(unit)
    return journal.path.read_bytes()


def written(path: Path) -> bytes:
    """Write all units to ``path``; the bytes of the file."""
    path.write_bytes(whole_file(path.parent))
    return path.read_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "a.jsonl"


@settings(max_examples=25, deadline=None)
@given(
    units=st.lists(
        st.dictionaries(st.text(max_size=4).filter(lambda k: k != "crc32"), json_values, max_size=4), max_size=4
    )
)
def test_what_was_written_is_read(path: Path, units: list[dict[str, Any]]) -> None:
    path.unlink(missing_ok=True)
    with Journal(path, HEADER) as journal:
        for unit in units:
            journal.append(unit)
    assert read(path) == (HEADER, units)
    with Journal(path, HEADER) as again:
        assert again.units == units


def test_cut_off_at_any_byte_it_resumes(path: Path) -> None:
    whole = written(path)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        finished = max(0, whole[:length].count(b"\n") - 1)
        with Journal(path, HEADER) as journal:
            assert journal.units == UNITS[:finished]
            for unit in UNITS[finished:]:
                journal.append(unit)
        assert path.read_bytes() == whole


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_named_by_its_line(path: Path, data: st.DataObject) -> None:
    whole = bytearray(written(path))
    position = data.draw(st.integers(0, len(whole) - 2))  # without its last newline the last line is a torn one
    value = data.draw(st.integers(0, 255).filter(lambda b: b != whole[position] and b != ord("\n")))
    line = whole[:position].count(b"\n") + 1
    at_newline = whole[position] == ord("\n")
    whole[position] = value
    path.write_bytes(whole)
    with pytest.raises(JournalDamaged, match=f"line {line} is damaged") as caught:
        read(path)
    assert caught.value.hint
    with pytest.raises(JournalDamaged), Journal(path, HEADER):
        pass
    assert path.read_bytes() == whole  # damage is left for a person to look at
    assert at_newline or line <= len(UNITS) + 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_line_that_is_missing_or_inserted_is_damage_or_another_history(path: Path, data: st.DataObject) -> None:
    whole = written(path)
    position = data.draw(st.integers(0, len(whole) - 2))
    path.write_bytes(whole[:position] + b"\n" + whole[position:])
    if whole[position : position + 1] == b"\n":  # an empty line
        position += 1
    with pytest.raises(JournalDamaged):
        read(path)


def test_another_header_is_refused_with_the_fields(path: Path) -> None:
    whole = written(path)
    with pytest.raises(ProvenanceMismatch, match=r"device\.cores: found 2, wanted 4") as caught:
        Journal(path, {"schema": 1, "device": {"spec": "a", "cores": 4}})
    assert caught.value.fields == ("device.cores: found 2, wanted 4",)
    assert path.read_bytes() == whole


def test_numbers_that_json_has_not_are_refused_before_they_are_written(path: Path) -> None:
    whole = written(path)
    with Journal(path, HEADER) as journal, pytest.raises(ValueError, match="JSON"):
        journal.append({"value": float("nan")})
    assert path.read_bytes() == whole


def test_there_is_one_writer(path: Path) -> None:
    written(path)
    with Journal(path, HEADER) as journal:
        with pytest.raises(HwnasError, match="being written by another process"):
            Journal(path, HEADER)
        code = f"from devices.journal import Journal; Journal({str(path)!r}, {HEADER!r})"
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd()
        )
        assert "being written by another process" in other.stderr
        assert read(path)[1] == UNITS  # readers need no lock
        journal.append({"unit": "more"})
    with Journal(path, HEADER) as journal:
        assert journal.units == [*UNITS, {"unit": "more"}]


def test_an_empty_or_absent_file(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(JournalDamaged, match="no complete line"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(path.with_name("absent"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: what a full disk does, on any disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of 64 KiB at ``folder``; False where mounting is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> int:
    """Append until there is no room; how many units were finished."""

    def append_all(journal: Journal) -> None:
        for i in range(10_000):
            journal.append({"unit": i, "text": "x" * 100})

    with Journal(path, HEADER) as journal:
        for _ in range(2):  # nor does a second attempt leave a torn line in the middle
            with pytest.raises(HwnasError, match="Could not write") as caught:
                append_all(journal)
            assert "Free some space" in caught.value.hint
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno in (errno.ENOSPC, errno.EFBIG)
        return len(journal.units)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "quota.jsonl"
    with largest_file(20_000):
        finished = fill(path)
    assert finished > 50
    with Journal(path, HEADER) as journal:  # there is room again
        assert [unit["unit"] for unit in journal.units] == list(range(finished))
        journal.append({"unit": finished})
    assert len(read(path)[1]) == finished + 1
    with small_disk(tmp_path / "disk") as mounted:
        if mounted:
            path = tmp_path / "disk" / "full.jsonl"
            finished = fill(path)
            assert finished > 50
            assert [unit["unit"] for unit in read(path)[1]] == list(range(finished))


def test_lines_are_plain_json(path: Path) -> None:
    lines = [json.loads(line) for line in written(path).splitlines()]
    assert [line.pop("crc32") is not None for line in lines] == [True] * 5
    assert lines == [HEADER, *UNITS]
