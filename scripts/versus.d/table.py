"""From the figures of all rounds to a table, and to its place in a document."""

import statistics
from dataclasses import dataclass
from fractions import Fraction

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, and the ratio of ours to the peer's that is wanted, if any is."""

    key: str
    title: str
    unit: str
    better: str
    target: Fraction | None = None
    # Asked for in the first round alone.
    once: bool = False

    def met(self, ratio):
        return ratio >= self.target if self.better == HIGHER else ratio <= self.target

    def wanted(self):
        if self.target is None:
            return "–"
        sign = "≥" if self.better == HIGHER else "≤"
        value = f"{float(self.target):g} ×" if self.target >= 1 else f"{self.target.numerator}/{self.target.denominator}"
        return f"{sign} {value}"


def digits(value):
    """Three that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def summary(row, peer, ours):
    """The cells of a row, from each round's figures by key; a key is not there where its measure failed."""
    peer, ours = ([figures.get(row.key) for figures in side] for side in (peer, ours))
    ratios = [mine / theirs for theirs, mine in zip(peer, ours) if theirs and mine is not None]
    medians = [
        f"{digits(statistics.median(known))} {row.unit}".strip() if (known := [v for v in side if v is not None]) else "failed"
        for side in (peer, ours)
    ]
    if not ratios:
        return [row.title, *medians, "–", row.wanted(), "not measured"]
    median = statistics.median(ratios)
    spread = f"{digits(min(ratios))} / **{digits(median)}** / {digits(max(ratios))}"
    verdict = "–" if row.target is None else "met" if row.met(median) else "**missed**"
    asked = 1 if row.once else len(peer)
    if len(ratios) < asked:
        verdict += f" ({asked - len(ratios)} of {asked} rounds failed)"
    elif asked < len(peer):
        verdict += " (one round)"
    return [row.title, *medians, spread, row.wanted(), verdict]


def table(rows, peer_name, peer, ours):
    """Markdown, a line for each row."""
    lines = [
        ["measure", peer_name, "Zweig", "ratio: min / **median** / max", "target", "verdict"],
        ["---", "--:", "--:", ":-:", ":-:", "---"],
    ]
    lines += [summary(row, peer, ours) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def for_people(markdown):
    """The same in columns, without the marks."""
    rows = [
        [cell.strip() for cell in line.replace("**", "").strip("|\n").split(" | ")]
        for line in markdown.splitlines()
        if not line.startswith("| ---")
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def put(path, name, text):
    """Between the markers of this name; at the end, with markers, if there are none."""
    begin, end = f"<!-- {name}: begin, written by the script -->", f"<!-- {name}: end -->"
    old = path.read_text()
    block = f"{begin}\n{text}{end}\n"
    if begin in old:
        before, rest = old.split(begin, 1)
        new = before + block + rest.split(f"{end}\n", 1)[1]
    else:
        new = f"{old.rstrip()}\n\n{block}"
    path.write_text(new)
