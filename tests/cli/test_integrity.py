"""`pik verify` and `pik seal`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cli.desks import Office, lines
from reading.streams import after, arrival


def flipped(office: Office) -> str:
    """The key of the segment in which one byte of a payload was changed."""
    [key] = [key for key in office.cloud.bucket.objects if "/raw/" in key]
    return key


def test_what_is_whole_is_said_to_be(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.capture(arrival("key1"))
    office.at(3_600)
    [seal] = office.ask("seal", "things")
    assert (seal["number"], seal["segments"]) == (1, 1)
    assert office.ask("seal", "things") == []
    result = office.run("verify", "things")
    assert result.exit_code == 0, result.output
    assert lines(result)[0].startswith("Nothing is wrong: 1 row in 1 segment")
    assert "The last seal is number 1." in result.stdout
    assert office.ask("verify", "things")["checked"]["sealed"] == 1


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.capture(arrival("key1", after(0)))
    office.at(3_600)
    office.ask("seal", "things")
    key = flipped(office)
    del office.cloud.bucket.objects[key]
    result = office.run("verify", "things", "-o", "csv")
    assert result.exit_code == 1
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {(finding["kind"], finding["key"]) for finding in found} == {("ObjectMissing", key)}
    assert office.run("verify", "things").stdout.startswith("1 thing wrong")


def test_the_last_seal_that_was_kept_is_compared(tmp_path: Path) -> None:
    """Also where the index, which remembers it too, was rebuilt meanwhile."""
    office = Office(tmp_path)
    office.capture(arrival("key1", after(0)))
    office.at(3_600)
    office.ask("seal", "things")
    [said] = [line for line in lines(office.run("verify", "things")) if line.startswith("1:")]
    assert office.run("verify", "things", "--last-seal", said).exit_code == 0
    assert office.run("verify", "things", "--last-seal", "1").exit_code == 2
    [seal] = [key for key in office.cloud.bucket.objects if "/seals/" in key]
    del office.cloud.bucket.objects[seal]
    office.cloud.table.marks.clear()
    assert office.run("verify", "things").exit_code == 0
    result = office.run("verify", "things", "--last-seal", said, "-o", "csv")
    assert result.exit_code == 1
    [found] = csv.DictReader(io.StringIO(result.stdout))
    assert (found["kind"], found["key"]) == ("SealMissing", seal)
    assert "for a later --last-seal" not in office.run("verify", "things", "--last-seal", said).stdout
