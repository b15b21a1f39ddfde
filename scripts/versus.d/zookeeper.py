"""Zweig's ensemble beside ZooKeeper's: what is measured, how, and what is wanted of it (the targets of issue 4)."""

import signal
import time
from fractions import Fraction
from pathlib import Path

import writers
from ensembles import ZOOKEEPER_HEAP, ZooKeeper, Zweig
from machine import memory_mib
from table import HIGHER, LOWER, Row

# Name, title, mix, pipeline; targets of the rate and of the processor time.
LOADS = [
    ("reads", "reads", "read=1", 32, Fraction(8), Fraction(1, 8)),
    ("writes", "writes", "write=1", 32, Fraction(5), Fraction(1, 5)),
    ("mix", "90:10 mix", "read=90,write=10", 32, Fraction(7), None),
    ("reads-1", "reads", "read=1", 1, Fraction(3), None),
    ("writes-1", "writes", "write=1", 1, Fraction(5, 2), None),
    ("mix-1", "90:10 mix", "read=90,write=10", 1, Fraction(7, 2), None),
]
CONNECTIONS = 30
WATCHERS = 1000
STORM_LANES = 64


def _rows():
    for name, title, _, depth, rate, cpu in LOADS:
        where = f"{title}, {CONNECTIONS} × {depth}"
        yield name, Row(f"{name}.rate", where, "/s", HIGHER, rate)
        yield name, Row(f"{name}.p50", f"{where}: p50", "ms", LOWER)
        yield name, Row(f"{name}.p99", f"{where}: p99", "ms", LOWER, Fraction(1, 3))
        yield name, Row(f"{name}.cpu", f"{where}: server CPU seconds per million", "s", LOWER, cpu)
    yield "lone", Row("lone.p50", "one connection, one write at a time: p50", "ms", LOWER, Fraction(2, 3))
    yield "lone", Row("lone.p99", "one connection, one write at a time: p99", "ms", LOWER)
    yield "sessions", Row("sessions.rate", "sessions with an ephemeral opened", "/s", HIGHER, Fraction(4))
    yield "watches", Row("watches.last", f"last of {WATCHERS:,} watchers told: p50", "ms", LOWER, Fraction(1, 2))
    yield "kill", Row("kill.gap", "no writes after `kill -9` of the leader, small tree", "ms", LOWER, Fraction(1, 5))
    yield "stop", Row("stop.gap", "no writes after SIGSTOP of the leader", "ms", LOWER, Fraction(1, 12))
    yield "memory", Row("memory.fill", "filling a tree, pipelined creates", "/s", HIGHER)
    yield "memory", Row("memory.rss", "memory of the largest node with {znodes} znodes: RSS", "MiB", LOWER, Fraction(1, 5))
    yield "memory", Row("memory.pss", "memory of the largest node with {znodes} znodes: PSS", "MiB", LOWER)
    yield "kill-large", Row("kill-large.gap", "no writes after `kill -9` of the leader, {znodes} znodes", "ms", LOWER, Fraction(1, 10))
    yield "restart", Row("restart.first", "all restarted with {znodes} znodes, to the first write", "ms", LOWER, Fraction(1, 10))


# What is done with a large tree, which needs an ensemble of its own.
LARGE = ["memory", "kill-large", "restart"]
NAMES = list(dict.fromkeys(name for name, _ in _rows()))


class Peer:
    """What `__main__` knows of this comparison."""

    title = "ZooKeeper"
    document = "coordinator/docs/performance.md"
    # What is measured in the first round alone.
    once = []

    def __init__(self, jars, zweig, quick):
        self.jars, self.zweig = Path(jars), zweig
        self.seconds, self.warm_up, self.kills = (2, 1, 1) if quick else (6, 2, 3)
        self.sessions = 2_000 if quick else 9_000
        self.znodes = 100_000 if quick else 1_000_000
        (jar,) = self.jars.glob("zookeeper-3*.jar")
        self.version = jar.stem.removeprefix("zookeeper-")

    def rows(self, wanted):
        """Those of these measures."""
        znodes = f"{self.znodes:,}"
        return [
            Row(row.key, row.title.format(znodes=znodes), row.unit, row.better, row.target)
            for name, row in _rows()
            if name in wanted
        ]

    def settings(self):
        """What the reader has to know beside the command."""
        return (
            f"ZooKeeper {self.version} with `{ZOOKEEPER_HEAP}` (what its `zkServer.sh` gives it), `forceSync` and `snapCount` as by "
            "default; Zweig with its defaults; both with ZooKeeper's `zoo_sample.cfg` (`tickTime=2000`, `initLimit=10`, "
            "`syncLimit=5`), purging, `maxClientCnxns=0`, and three nodes on loopback beside the generator. "
            f"Values of 100 bytes in 1,000 znodes; {self.seconds} s for each load after {self.warm_up} s of it."
        )

    def sides(self):
        """How to make the ensemble of each side in a folder, the peer first."""
        return [
            ("peer", lambda folder: ZooKeeper(folder, self.jars)),
            ("ours", lambda folder: Zweig(folder, self.zweig)),
        ]

    def stages(self, wanted):
        """Each with a new ensemble."""
        small = [name for name in wanted if name not in LARGE]
        if small:
            yield lambda run: self._small(run, small)
        if any(name in LARGE for name in wanted):
            yield lambda run: self._large(run, wanted)

    def _small(self, run, wanted):
        ensemble = run.servers
        loads = [load for load in LOADS if load[0] in wanted]
        if loads or "lone" in wanted:
            # A JVM compiles first what it runs often; nobody asks how fast it is before.
            _bench(run, ["--mix", "read=1,write=1", "--warm-up", "0", "--seconds", str(self.seconds + 2 * self.warm_up)])
        for name, _, mix, depth, _, _ in loads:
            run.measure(name, lambda: self._load(run, name, ["--mix", mix, "--pipeline", str(depth)]))
        if "lone" in wanted:
            run.measure("lone", lambda: self._lone(run))
        if "sessions" in wanted:
            run.measure("sessions", lambda: self._sessions(run))
        if "watches" in wanted:
            run.measure("watches", lambda: self._watches(run))
        if "kill" in wanted or "stop" in wanted:
            writers.create(ensemble.nodes[0].address)
        if "kill" in wanted:
            run.measure("kill", lambda: {"gap": [_gap(ensemble, signal.SIGKILL) for _ in range(self.kills)]})
        if "stop" in wanted:
            run.measure("stop", lambda: {"gap": _gap(ensemble, signal.SIGSTOP)})

    def _load(self, run, name, arguments):
        report = _bench(
            run,
            [*arguments, "--connections", str(CONNECTIONS), "--cpu-of", ",".join(map(str, run.servers.pids))]
            + ["--seconds", str(self.seconds), "--warm-up", str(self.warm_up)],
        )
        return {
            "rate": report["per_second"],
            "p50": _ms(report, "all", 0.5),
            "p99": _ms(report, "all", 0.99),
            "cpu": report["server_cpu_seconds"] * 1e6 / report["operations"],
            # In no row, but in the figures that are kept: what the servers do not get of two processors.
            "generator": report["generator_cores"],
        }

    def _lone(self, run):
        # By a follower, as two of three clients are.
        server = run.servers.followers()[0].name
        arguments = ["--mix", "write=1", "--connections", "1", "--pipeline", "1"]
        report = _bench(run, [*arguments, "--seconds", str(self.seconds), "--warm-up", "1"], server)
        return {"p50": _ms(report, "write", 0.5), "p99": _ms(report, "write", 0.99)}

    def _sessions(self, run):
        arguments = ["--workload", "sessions", "--connections", str(STORM_LANES), "--znodes", str(self.sessions)]
        return {"rate": _bench(run, arguments)["per_second"]}

    def _watches(self, run):
        arguments = ["--workload", "watches", "--connections", str(WATCHERS + 1), "--seconds", str(self.seconds)]
        return {"last": _ms(_bench(run, arguments), "last told", 0.5)}

    def _large(self, run, wanted):
        ensemble = run.servers
        fill = _bench(run, ["--fill", "--root", "/versus-large", "--znodes", str(self.znodes)])
        if "memory" in wanted:
            run.measure("memory", lambda: self._memory(ensemble, fill["seconds"]))
        writers.create(ensemble.nodes[0].address)
        if "kill-large" in wanted:
            run.measure("kill-large", lambda: {"gap": _gap(ensemble, signal.SIGKILL)})
        if "restart" in wanted:
            run.measure("restart", lambda: {"first": _restart(ensemble)})

    def _memory(self, ensemble, filled_in):
        # What is written behind the answers, and collected behind that, is not the tree.
        time.sleep(5)
        nodes = [memory_mib(pid) for pid in ensemble.pids]
        return {"fill": self.znodes / filled_in, "rss": max(rss for rss, _ in nodes), "pss": max(pss for _, pss in nodes)}


def _bench(run, arguments, servers=None):
    return run.bench("ensemble", servers or run.servers.names, arguments)


def _ms(report, kind, share):
    """A quantile. `all` stands for the only kind, where there is but one."""
    kinds = {each["kind"]: each["quantiles_us"] for each in report["kinds"]}
    quantiles = kinds.get(kind) or next(iter(kinds.values()))
    return next(us for of, us in quantiles if abs(of - share) < 1e-9) / 1000


def _gap(ensemble, how):
    """Milliseconds without a write for clients of the followers; leaves the ensemble whole."""
    leader = ensemble.leader()
    with writers.Writers([node.address for node in ensemble.followers()]) as clients:
        clients.wait_all(time.monotonic(), 30)
        time.sleep(0.5)
        at = time.monotonic()
        leader.signal(how)
        gap = clients.gap(at)
    if how == signal.SIGSTOP:
        leader.signal(signal.SIGCONT)
    else:
        leader.kill()
        leader.start()
    ensemble.wait()
    return gap * 1000


def _restart(ensemble):
    """Milliseconds from the start of the first node to the first answer to a write, of whichever node."""
    for node in ensemble.nodes:
        node.end()
    start = time.monotonic()
    for node in ensemble.nodes:
        node.start()
    with writers.Writers([node.address for node in ensemble.nodes]) as clients:
        first = clients.first(start, 120)
    ensemble.wait()
    return (first - start) * 1000
