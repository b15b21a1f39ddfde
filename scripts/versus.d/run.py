"""What the stages of a comparison measure with."""

import json
import resource
import statistics
import subprocess
import tempfile
import time


class Run:
    """One stage of one side: its servers, Zweig's load generator, and a place for figures."""

    def __init__(self, servers, options, figures):
        self.servers, self.options, self.figures = servers, options, figures
        self.failed = []

    def bench(self, what, servers, arguments):
        """The report of `zweig bench WHAT` on these servers (`host:port,..`), with how many processors it took itself."""
        named = {"ensemble": "--server", "stream": "--bootstrap"}[what]
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [self.options.zweig, "bench", what, named, servers, "--json", file.name]
            command += ["--threads", str(self.options.threads), *arguments]
            before, start = _used(), time.monotonic()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
            used, took = _used() - before, time.monotonic() - start
            if done.returncode != 0:
                told = (done.stderr.strip() or "nothing").splitlines()[-1]
                raise RuntimeError(f"the load ended with {done.returncode} and said: {told}")
            report = json.load(file)
        report["generator_cores"] = used / took
        return report

    def zweig(self, arguments):
        """Runs another of its commands."""
        done = subprocess.run([self.options.zweig, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"zweig {arguments[0]} ended with {done.returncode} and said: {done.stderr.strip()[-300:]}")

    def measure(self, name, work):
        """Keeps what `work` gives below the measure's name, of a list the median. What fails, fails this measure alone."""
        start = time.monotonic()
        try:
            values = work()
        except Exception as error:  # Whatever it is, the other figures are worth having.
            print(f"  {name}: FAILED: {error}", flush=True)
            self.failed.append(name)
            return
        print(f"  {name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in values.items()) + f"  ({time.monotonic() - start:.0f} s)", flush=True)
        for key, value in values.items():
            self.figures[f"{name}.{key}"] = statistics.median(value) if isinstance(value, list) else value


def _used():
    """Processor time of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _shown(value):
    return "/".join(_shown(each) for each in value) if isinstance(value, list) else f"{value:,.2f}"
