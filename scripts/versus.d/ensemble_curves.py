"""Curves of an ensemble, around a base of three nodes, 30 connections with 32 requests under way on each, 1,000 znodes of 100 B."""

from curve import Curve, Point, Series
from ensembles import Zweig
from machine import Spent, disk_mib, forget_peaks, peak_mib

DOCUMENT = "coordinator/docs/curves.md"
CONNECTIONS, PIPELINE, VALUE, ZNODES = 30, 32, 100, 1_000
MIXES = {"reads": "read=1", "writes": "write=1", "90:10 mix": "read=90,write=10"}
# Of values that are under way: more would measure how long a queue is.
MOST_UNDER_WAY = 64 << 20
# The share of a large tree that is drawn from, at least ZNODES.
DRAWN = 10

COLUMNS = {"rate": "operations/s", "p50": "p50, ms", "p99": "p99, ms", "cpu": "server CPU µs each"}


def curves(options):
    """Those that are wanted."""
    return [_CURVES[name](options) for name in options.wanted]


def _value_size(options):
    sizes = {"16 B": 16, "100 B": 100, "1 KiB": 1 << 10, "10 KiB": 10 << 10, "100 KiB": 100 << 10, "500 KiB": 500 << 10}

    def work(mix, size):
        depth = max(1, min(PIPELINE, MOST_UNDER_WAY // (CONNECTIONS * size)))
        # The generator makes up to 2,048 of them at a time.
        znodes = min(ZNODES, MOST_UNDER_WAY // size)
        return lambda run: {**_load(run, mix, value=size, pipeline=depth, znodes=znodes), "depth": depth, "znodes": znodes}

    points = [Point(load, at, work(MIXES[load], size)) for load in ("reads", "writes") for at, size in sizes.items()]
    columns = {"znodes": "znodes", "depth": "under way on each connection", "mb": "MB/s", **COLUMNS}
    still = f"Three nodes, {ZNODES:,} znodes, {CONNECTIONS} connections × {PIPELINE}, or as many of either as make 64 MiB of values"
    return Curve("value-size", "value", columns, still, [_on_three(options, points)])


def _connections(options):
    counts = [1, 3, 10, 30, 100, 300, 1000]
    loads = [("reads", 1), ("writes", 1), ("90:10 mix", 1), ("reads", PIPELINE), ("writes", PIPELINE)]

    def work(mix, count, depth):
        return lambda run: _load(run, mix, connections=count, pipeline=depth)

    points = [
        Point(f"{load}, {depth} under way on each", f"{count:,}", work(MIXES[load], count, depth)) for load, depth in loads for count in counts
    ]
    still = f"Three nodes, {ZNODES:,} znodes of {VALUE} B"
    return Curve("connections", "connections", COLUMNS, still, [_on_three(options, points)])


def _pipeline(options):
    def work(mix, depth):
        return lambda run: _load(run, mix, pipeline=depth)

    points = [Point(load, f"{depth:,}", work(mix, depth)) for load, mix in MIXES.items() for depth in (1, 2, 4, 8, 32, 128, 512)]
    still = f"Three nodes, {ZNODES:,} znodes of {VALUE} B, {CONNECTIONS} connections"
    return Curve("pipeline", "under way on each", COLUMNS, still, [_on_three(options, points)])


def _tree(options):
    sizes = [10**3, 10**4, 10**5] if options.quick else [10**3, 10**4, 10**5, 10**6, 10**7]

    def work(mix, size):
        return lambda run: _in_a_tree(run, mix, size)

    points = [Point(load, f"{size:,}", work(MIXES[load], size)) for size in sizes for load in ("reads", "writes")]
    columns = {**COLUMNS, "fill": "filled at, creates/s", "rss": "largest node's RSS at its peak, MiB", "disk": "on its disk, MiB"}
    still = (
        f"Three nodes, one ensemble that is filled further, {CONNECTIONS} connections × {PIPELINE}, values of {VALUE} B; drawn at random from "
        f"1/{DRAWN} of the znodes, at least {ZNODES:,}, which each load makes before it and removes behind it"
    )
    return Curve("tree", "znodes", columns, still, [_on_three(options, points)])


def _in_a_tree(run, mix, size):
    """The load makes what it draws from; what is missing beside that is made, and left there, before."""
    drawn = max(ZNODES, size // DRAWN)
    missing = size - drawn - run.figures.get("filled", 0)
    filled = {}
    if missing > 0:
        report = _bench(run, ["--fill", "--root", f"/tree-{size}", "--znodes", str(missing), "--value-size", str(VALUE)])
        run.figures["filled"] = size - drawn
        filled = {"fill": missing / report["seconds"]}
    forget_peaks(run.servers.pids)
    figures = _load(run, mix, znodes=drawn)
    disk = max(disk_mib(node.folder) for node in run.servers.nodes)
    return {**figures, **filled, "rss": peak_mib(run.servers.pids), "disk": disk}


def _watchers(options):
    def work(count):
        return lambda run: _told(run, count)

    points = [Point("a change of one node", f"{count:,}", work(count)) for count in (1, 10, 100, 1000, 5000)]
    columns = {
        "rate": "changes/s, all told of each",
        "answered": "writer answered p50, ms",
        "first": "first told p50, ms",
        "p50": "last told p50, ms",
        "p99": "last told p99, ms",
        "cpu": "server CPU µs per watcher that watches and is told",
    }
    still = "Three nodes, a connection for each watcher, which watches again before the next change; times from when the change was sent"
    return Curve("watchers", "watchers", columns, still, [_on_three(options, points)], warmed_up=False)


def _told(run, count):
    arguments = ["--workload", "watches", "--connections", str(count + 1), "--seconds", str(run.options.seconds)]
    with Spent(run.servers.pids) as spent:
        report = _bench(run, arguments)
        used = spent.last(report["seconds"])
    told = {kind["kind"]: kind["operations"] for kind in report["kinds"]}
    return {
        "rate": told["last told"] / report["seconds"],
        "answered": _ms(report, "write answered", 0.5),
        "first": _ms(report, "first told", 0.5),
        "p50": _ms(report, "last told", 0.5),
        "p99": _ms(report, "last told", 0.99),
        "cpu": used * 1e6 / told["each told"],
    }


def _nodes(options):
    def lone(run):
        # By a follower, as most clients are, where there is one.
        node = next((node for node in run.servers.nodes if node.mode() == "follower"), run.servers.nodes[0])
        return _load(run, MIXES["writes"], connections=1, pipeline=1, servers=node.name)

    def work(mix):
        return lambda run: _load(run, mix)

    def series(count):
        points = [Point(load, f"{count}", work(mix)) for load, mix in MIXES.items()]
        points.append(Point("one connection, one write at a time", f"{count}", lone))
        return Series(lambda folder: Zweig(folder, options.zweig, count), points)

    still = f"{ZNODES:,} znodes of {VALUE} B, {CONNECTIONS} connections × {PIPELINE} where nothing else is said"
    return Curve("nodes", "nodes", COLUMNS, still, [series(count) for count in (1, 3, 5)])


_CURVES = {
    "value-size": _value_size,
    "connections": _connections,
    "pipeline": _pipeline,
    "tree": _tree,
    "watchers": _watchers,
    "nodes": _nodes,
}
NAMES = list(_CURVES)


def _on_three(options, points):
    return Series(lambda folder: Zweig(folder, options.zweig), points)


def _load(run, mix, connections=CONNECTIONS, pipeline=PIPELINE, value=VALUE, znodes=ZNODES, servers=None):
    settings = {
        "mix": mix,
        "connections": connections,
        "pipeline": pipeline,
        "value-size": value,
        "znodes": znodes,
        "cpu-of": ",".join(map(str, run.servers.pids)),
        "seconds": run.options.seconds,
        "warm-up": run.options.warm_up,
    }
    report = _bench(run, [f"--{name}={setting}" for name, setting in settings.items()], servers)
    if not report["operations"]:
        raise RuntimeError("nothing was answered while it was measured")
    return {
        "rate": report["per_second"],
        "mb": report["per_second"] * value / 1e6,
        "p50": _ms(report, "all", 0.5),
        "p99": _ms(report, "all", 0.99),
        "cpu": report["server_cpu_seconds"] * 1e6 / report["operations"],
    }


def _bench(run, arguments, servers=None):
    return run.bench("ensemble", servers or run.servers.names, arguments)


def _ms(report, kind, share):
    """A quantile. `all` stands for the only kind, where there is but one."""
    kinds = {each["kind"]: each["quantiles_us"] for each in report["kinds"]}
    quantiles = kinds.get(kind) or next(iter(kinds.values()))
    return next(us for of, us in quantiles if abs(of - share) < 1e-9) / 1000
