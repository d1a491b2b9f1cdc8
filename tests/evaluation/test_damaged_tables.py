"""Damage to old tables of scores and to the record costs no other row."""

import logging

from drifting.evaluation import record


def test_a_table_that_lost_a_columns_name_keeps_its_rows(tmp_path, caplog):
    table = tmp_path / record.TABLE
    table.parent.mkdir()
    content = b"step,split,,frechet_distance\n100,test,7,1.5\n200,test,7,2.5\n"
    table.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="drifting"):
        record.append(tmp_path, {"step": 300, "split": "test", "frechet_distance": 3.5})
    rows = [(row["step"], row["split"], row["frechet_distance"]) for row in record.read(tmp_path)]
    assert rows == [(100, "test", 1.5), (200, "test", 2.5), (300, "test", 3.5)]
    aside = table.with_name("fid_metrics.old1.csv")
    assert aside.read_bytes() == content and f"moved to {aside}" in caplog.text


def test_a_line_of_nested_brackets_is_skipped(tmp_path, caplog):
    record.append(tmp_path, {"step": 100})
    with open(tmp_path / record.RECORD, "ab") as file:
        file.write(b"[" * 100_000 + b"\n")
    record.append(tmp_path, {"step": 200})
    assert [row["step"] for row in record.read(tmp_path)] == [100, 200]
    assert "line 2 was skipped: nested too deeply" in caplog.text
