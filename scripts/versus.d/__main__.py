"""The driver of scripts/versus: see there. Rounds of peer and ours in turn, figures of each, a table in the end.

    __main__.py   arguments, rounds                           run.py       what stages measure with
    <peer>.py     one comparison: `NAMES`, `Peer`             <peer>.xml   what Maven fetches for it
    log*          how quiet the peers are
    servers.py    servers as processes                        ensembles.py three nodes of ZooKeeper or of Zweig
                                                              clusters.py  three brokers of Kafka 3 or of Zweig on these
                                                              kraft.py     three brokers of Kafka 4 on its controllers
    writers.py    clients that find how long nobody can write
    machine.py    what it ran on, what processes take         table.py     ratios, verdicts, the document
    build.sh      the binary that is measured

Of scripts/curves: curves.py is its driver, curve.py a curve, ensemble_curves.py and stream_curves.py all of them.

Another peer is such a file and its .xml, a name in PEERS and one in scripts/versus.
"""

import argparse
import datetime
import importlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import table
from run import Run

PEERS = ["zookeeper", "kafka", "kafka4"]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/versus", add_help=False)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--room")
    parser.add_argument("--zweig")
    parser.add_argument("--built")
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


def one_side(peer, side, make, wanted, options, folder):
    """All stages of one side in one round: its figures, and whether all of them are there."""
    figures, whole, start = {}, True, time.monotonic()
    for stage in peer.stages(wanted):
        home = Path(tempfile.mkdtemp(prefix=f"{side}-", dir=folder))
        kept = False
        try:
            with make(home) as servers:
                run = Run(servers, options, figures)
                stage(run)
            kept = bool(run.failed)
        except Exception as error:  # As in a measure: servers that do not start, for one.
            print(f"  FAILED: {error}", flush=True)
            kept = True
        finally:
            if kept:
                print(f"  the servers' folders are kept: {home}", flush=True)
            else:
                shutil.rmtree(home)
        whole = whole and not kept
    print(f"  {time.monotonic() - start:.0f} s in all", flush=True)
    return figures, whole


def rounds(peer, options, folder):
    """The figures of each side, those of a round after those of another."""
    sides, whole = {"peer": [], "ours": []}, True
    for number in range(1, options.rounds + 1):
        wanted = [name for name in options.wanted if number == 1 or name not in peer.once]
        for side, make in peer.sides():
            print(f"round {number} of {options.rounds}, {peer.title if side == 'peer' else 'Zweig'}", flush=True)
            figures, complete = one_side(peer, side, make, wanted, options, folder)
            whole = whole and complete
            sides[side].append(figures)
    return sides, whole


def main():
    options = arguments()
    if options.check:
        return 0
    partial = options.quick or options.only is not None
    options.rounds = options.rounds or (1 if options.quick else 3)
    # So that servers and their folders go then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
            f"{datetime.date.today():%Y-%m-%d}, revision {revision} ({options.built}), rounds: {options.rounds}, {minutes:.0f} minutes, by "
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
