"""Damaged files of a suite: what can be found again is, the rest is one line."""

import pytest

from drifting.suites import folder
from drifting.suites.accuracy import AccuracyTable
from drifting.suites.suite import SuiteError


@pytest.mark.parametrize(
    "content", [b"name,exit_code,error\na,0,\n", b"\xff\xfe", b"", b"a\x00b,status\n"]
)
def test_outcomes_that_cannot_be_read_are_found_anew(tmp_path, content):
    (tmp_path / AccuracyTable.csv_name).write_bytes(content)
    assert AccuracyTable([], tmp_path).read_outcomes() == {}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"a": 3}'])
def test_damaged_settings_are_named_and_kept(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(SuiteError, match=f"{path} is damaged"):
        folder.remember_settings([], tmp_path)
    assert path.read_bytes() == content
