"""What a curve is made of, how its points are measured, and the table that comes of them."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import table
from run import Run


@dataclass(frozen=True)
class Point:
    """One line of a table: the load, where the variable stands, and what measures it: the figures, by the keys of columns."""

    load: str
    at: str
    work: Callable[[Run], dict]


@dataclass(frozen=True)
class Series:
    """Points that are measured one behind the other on the same servers, which are made in a folder."""

    make: Callable[[Path], object]
    points: list[Point]


@dataclass(frozen=True)
class Curve:
    """One variable, the headings of its figures by their keys, and what the reader has to know."""

    name: str
    variable: str
    columns: dict[str, str]
    still: str
    series: list[Series]
    warmed_up: bool = True


@dataclass(frozen=True)
class Line:
    """What came of a point: figures, or why there are none."""

    point: Point
    figures: dict
    failed: str | None = None


def measure(curve, options, folder):
    """A line for each point. One that fails may leave servers that fail the next as well, so these get new ones."""
    lines = []
    for series in curve.series:
        left = list(series.points)
        while left:
            home = Path(tempfile.mkdtemp(prefix=f"{curve.name}-", dir=folder))
            done = _on_one(series.make, left, options, home)
            if any(line.failed for line in done):
                print(f"  the servers' folders are kept: {home}", flush=True)
            else:
                shutil.rmtree(home)
            lines += done
            left = left[len(done) :]
    return lines


def _on_one(make, points, options, home):
    """Lines of these points on the same servers, until one fails; of all of them if the servers do not start."""
    lines = []
    try:
        with make(home) as servers:
            run = Run(servers, options, {})
            for point in points:
                lines.append(_line(point, run))
                if lines[-1].failed:
                    break
    except Exception as error:  # Whatever it is, other series are worth having.
        print(f"  FAILED: {error}", flush=True)
        lines += [Line(point, {}, str(error)) for point in points[len(lines) :]]
    return lines


def _line(point, run):
    where = f"  {point.load}, {point.at}"
    try:
        figures = point.work(run)
    except Exception as error:  # As above: other points.
        print(f"{where}: FAILED: {error}", flush=True)
        return Line(point, {}, str(error))
    print(f"{where}: " + ", ".join(f"{key} {_shown(value)}" for key, value in figures.items()), flush=True)
    return Line(point, figures)


def markdown(curve, lines):
    """The table, load by load."""
    loads = list(dict.fromkeys(line.point.load for line in lines))
    rows = [["load", curve.variable, *curve.columns.values()], ["---", "--:", *("--:" for _ in curve.columns)]]
    for line in sorted(lines, key=lambda line: loads.index(line.point.load)):
        rows.append([line.point.load, line.point.at, *(_cell(line, key) for key in curve.columns)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def reasons(lines):
    """Why points failed, if any did: to stand below the table."""
    failed = [line for line in lines if line.failed]
    return "".join(f"\nFailed: {line.point.load}, {line.point.at}: {line.failed}\n" for line in failed)


def _cell(line, key):
    if line.failed:
        return "**failed**"
    return _shown(line.figures.get(key))


def _shown(value):
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else table.digits(value)
