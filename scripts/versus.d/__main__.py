"""The driver of scripts/versus: see there. Rounds of peer and ours in turn, figures of each, a table in the end.

    __main__.py    arguments, rounds, what a round is given to measure with
    <peer>.py      one comparison: its measures, targets, stages (`Peer`)
    ensembles.py   servers as processes         writers.py   clients that find how long nobody could write
    machine.py     what it ran on               table.py     ratios, verdicts, the document
"""

import argparse
import datetime
import importlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import table

PEERS = ["zookeeper"]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/versus", add_help=False)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--room")
    parser.add_argument("--zweig")
    parser.add_argument("--jars")
    parser.add_argument("--data")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--threads", type=int, default=1)
    writing = parser.add_mutually_exclusive_group()
    writing.add_argument("--write", action="store_true")
    writing.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    names = importlib.import_module(given.peer).NAMES
    given.wanted = names if given.only is None else given.only.split(",")
    if unknown := [name for name in given.wanted if name not in names]:
        parser.error(f"--only takes some of {','.join(names)}, not {','.join(unknown)}")
    return given


class Run:
    """What a stage measures with: an ensemble, the generator, and a place for figures."""

    def __init__(self, side, ensemble, options, figures):
        self.side, self.ensemble, self.options, self.figures = side, ensemble, options, figures
        self.failed = []

    def bench(self, more, servers=None):
        """The report of `zweig bench ensemble`, with how many processors it took itself."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            servers = servers or ",".join(node.name for node in self.ensemble.nodes)
            command = [self.options.zweig, "--server", servers, "bench", "ensemble", "--json", file.name]
            command += ["--threads", str(self.options.threads), *more]
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
            after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
            if done.returncode != 0:
                raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
            report = json.load(open(file.name))
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        report["generator_cores"] = used / took
        return report

    def measure(self, name, work):
        """Keeps what `work` gives under the measure's name. What fails, fails this measure of this round alone."""
        try:
            values = work()
        except Exception as error:  # noqa: BLE001: whatever it is, the figures so far are worth having
            print(f"  {name}: FAILED: {error}", flush=True)
            self.failed.append(name)
            return
        print(f"  {name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in values.items()), flush=True)
        for key, value in values.items():
            value = statistics.median(value) if isinstance(value, list) else value
            self.figures[f"{name}.{key}"] = value


def _shown(value):
    return "/".join(_shown(each) for each in value) if isinstance(value, list) else f"{value:,.2f}"


def one_side(peer, side, make, options, folder):
    """All stages of one side in one round: its figures, and whether all of them are there."""
    figures, whole = {}, True
    for stage in peer.stages(options.wanted):
        home = Path(tempfile.mkdtemp(prefix=f"{side}-", dir=folder))
        try:
            with make(home) as ensemble:
                run = Run(side, ensemble, options, figures)
                stage(run)
                whole = whole and not run.failed
        except Exception as error:  # noqa: BLE001: the same; an ensemble that does not start, for one
            print(f"  FAILED: {error}", flush=True)
            whole = False
        if whole:
            shutil.rmtree(home)
        else:
            print(f"  the servers' logs are kept: {home}", flush=True)
    return figures, whole


def rounds(peer, options, folder):
    """The figures of each side, those of a round after those of another."""
    sides, whole = {"peer": [], "ours": []}, True
    for number in range(1, options.rounds + 1):
        for side, make in peer.sides():
            name = peer.title if side == "peer" else "Zweig"
            print(f"round {number} of {options.rounds}, {name}", flush=True)
            figures, complete = one_side(peer, side, make, options, folder)
            whole = whole and complete
            sides[side].append(figures)
    return sides, whole


def main():
    options = arguments()
    if options.check:
        return 0
    partial = options.quick or options.only is not None
    options.rounds = options.rounds or (1 if options.quick else 3)
    folder = Path(options.data or options.room)
    machine.on_a_disk(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    described = machine.description(folder)
    print(f"{described}\n", flush=True)
    peer = importlib.import_module(options.peer).Peer(options.jars, options.zweig, options.quick)
    start = time.monotonic()
    sides, whole = rounds(peer, options, folder)
    minutes = (time.monotonic() - start) / 60
    (Path(options.room) / f"{options.peer}.json").write_text(json.dumps(sides, indent=1))
    text = table.table(peer.rows(options.wanted), f"{peer.title} {peer.version}", sides["peer"], sides["ours"])
    print(f"\n{table.for_people(text)}\n\n{minutes:.1f} minutes")
    if options.write or not (partial or options.no_write):
        revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
        head = (
            f"{datetime.date.today():%Y-%m-%d}, revision {revision}, {options.rounds} rounds in {minutes:.0f} minutes by "
            f"`scripts/versus {' '.join(_command(options))}`.\n{described}.\n\n{peer.settings()}\n\n"
        )
        table.put(Path(peer.document), f"versus {options.peer}", head + text)
        print(f"written into {peer.document}")
    return 0 if whole else 1


def _command(options):
    yield options.peer
    yield f"--rounds {options.rounds}"
    if options.quick:
        yield "--quick"
    if options.only is not None:
        yield f"--only {options.only}"
    if options.threads != 1:
        yield f"--threads {options.threads}"


if __name__ == "__main__":
    sys.exit(main())
