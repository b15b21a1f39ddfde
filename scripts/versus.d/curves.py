"""The driver of scripts/curves: see there. Each curve on servers of its own, its table between its markers in the document.

    curve.py               what a curve is made of, and its table
    <subject>_curves.py    the curves of one subject: `NAMES`, `DOCUMENT`, `curves`

The other files are those of scripts/versus: see __main__.py.
"""

import argparse
import datetime
import importlib
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import curve
import machine
import table

SUBJECTS = ["ensemble", "stream"]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/curves", add_help=False)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--room")
    parser.add_argument("--zweig")
    parser.add_argument("--built")
    parser.add_argument("--data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    names = importlib.import_module(f"{given.subject}_curves").NAMES
    given.wanted = names if given.only is None else given.only.split(",")
    if unknown := [name for name in given.wanted if name not in names]:
        parser.error(f"--only takes some of {','.join(names)}, not {','.join(unknown)}")
    # What a `Run` and the points ask for.
    given.threads = 1
    given.seconds, given.warm_up = (1, 1) if given.quick else (3, 1)
    return given


def main():
    options = arguments()
    if options.check:
        return 0
    # So that servers and their folders go then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(options.data or options.room)
    machine.on_a_disk(folder)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    described = machine.description(folder)
    print(f"{described}\n", flush=True)
    subject = importlib.import_module(f"{options.subject}_curves")
    start, whole = time.monotonic(), True
    for each in subject.curves(options):
        print(each.name, flush=True)
        began = time.monotonic()
        lines = curve.measure(each, options, folder)
        text = curve.markdown(each, lines)
        whole = whole and not any(line.failed for line in lines)
        print(f"\n{table.for_people(text)}\n\n{(time.monotonic() - began) / 60:.1f} minutes\n", flush=True)
        if not (options.quick or options.no_write):
            table.put(Path(subject.DOCUMENT), f"curve {each.name}", _head(each, options, described) + text + curve.reasons(lines))
            print(f"written into {subject.DOCUMENT}\n", flush=True)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes in all" + ("" if whole else "; points FAILED"))
    return 0 if whole else 1


def _head(each, options, described):
    """What a figure depends on; for each curve, since one may be made anew."""
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    length = f"{options.seconds} s for each point" + (f" after {options.warm_up} s of it" if each.warmed_up else "")
    return (
        f"{datetime.date.today():%Y-%m-%d}, revision {revision} ({options.built}), by `scripts/curves {options.subject} --only {each.name}`.\n"
        f"{described}.\n\n{each.still}; {length}.\n\n"
    )


if __name__ == "__main__":
    sys.exit(main())
