"""Curves of brokers, around a base of three of them, three replicas, 6 partitions, 1 KiB records, 2 connections to each with 5 requests under way."""

import time
import uuid

from clusters import ZweigCluster
from curve import Curve, Point, Series
from machine import Spent, forget_peaks, peak_mib
from servers import wait_until

DOCUMENT = "broker/docs/curves.md"
BASE = {"record-size": 1024, "connections": 2, "in-flight": 5, "partitions": 6, "replication-factor": 3}
# Partitions whose folders are not deleted without anybody noticing.
MANY = 60
# How long the generator's readers still wait for more, at the tail, when their load is over: a Fetch.
TAIL = 0.45
# Of records at which many partitions are asked end to end: little even where each is a batch of its own.
RATE = 2_000

COLUMNS = {
    "mb": "MB/s",
    "rate": "records/s",
    "p50": "p50, ms",
    "p99": "p99, ms",
    "cpu": "brokers' CPU µs per record",
}
STILL = "Three brokers, three replicas, `acks=all`, {}, batches of 16 KiB"


def curves(options):
    """Those that are wanted."""
    return [_CURVES[name](options) for name in options.wanted]


def _record_size(options):
    sizes = {"10 B": 10, "100 B": 100, "1 KiB": 1 << 10, "10 KiB": 10 << 10, "100 KiB": 100 << 10, "900 KiB": 900 << 10}
    points = [Point("produce", at, _produce(**{"record-size": size})) for at, size in sizes.items()]
    still = STILL.format("6 partitions, 2 connections to each broker × 5 requests") + " or of one record"
    return Curve("record-size", "record", {**COLUMNS, "gb": "brokers' CPU s per GB"}, still, [_on_three(options, points)])


def _connections(options):
    points = [Point("produce", f"{count}", _produce(connections=count)) for count in (1, 2, 5, 20, 100)]
    still = STILL.format("6 partitions, 1 KiB records, 5 requests under way on each connection")
    return Curve("connections", "connections to each broker", COLUMNS, still, [_on_three(options, points)])


def _pipeline(options):
    points = [Point("produce", f"{depth}", _produce(**{"in-flight": depth})) for depth in (1, 2, 5, 10, 30, 100)]
    still = STILL.format("6 partitions, 1 KiB records, 2 connections to each broker")
    return Curve("pipeline", "requests under way on each", COLUMNS, still, [_on_three(options, points)])


def _partitions(options):
    end_to_end = {"workload": "end-to-end", "rate": RATE, "linger-ms": 1}
    points = []
    for count in (1, 6, 60, 600) if options.quick else (1, 6, 60, 600, 5_000):
        points.append(Point("produce", f"{count:,}", _produce(partitions=count)))
        points.append(Point(f"end to end, {RATE:,} records/s", f"{count:,}", _bench_point("received", partitions=count, **end_to_end)))
    columns = {**COLUMNS, "ready": "until each can be written, s", "delete": "deleted, all folders gone, s", "rss": "largest broker's RSS at its peak, MiB"}
    still = STILL.format("one topic, 1 KiB records, 2 connections to each broker × 5 requests of one batch") + "; end to end: linger 1 ms"
    return Curve("partitions", "partitions", columns, still, [_on_three(options, points)])


def _fetch(options):
    consume = {"workload": "consume", "megabytes": 200}
    points = [Point("fetch", f"{count:,}", _bench_point("fetch", partitions=count, **consume)) for count in (1, 6, 60, 600)]
    still = "Three brokers, 200 MB of 1 KiB records in batches of 16 KiB that are read from the page cache again and again, 2 connections to each"
    return Curve("fetch", "partitions", COLUMNS, still, [_on_three(options, points)])


def _replicas(options):
    def point(load, replicas):
        settings = {"replication-factor": replicas, "config": f"min.insync.replicas={min(2, replicas)}"}
        return Point(load, f"{replicas}", _produce(**settings))

    def as_many(brokers):
        points = [point("as many brokers", brokers)]
        return Series(lambda folder: ZweigCluster(folder, options.zweig, brokers), points)

    series = [_on_three(options, [point("three brokers", replicas) for replicas in (1, 2, 3)])]
    series += [as_many(brokers) for brokers in (1, 2)]
    still = "`acks=all`, 6 partitions, 1 KiB records, 2 connections to each broker × 5 requests, batches of 16 KiB"
    return Curve("replicas", "replicas", COLUMNS, still, series)


_CURVES = {
    "record-size": _record_size,
    "connections": _connections,
    "pipeline": _pipeline,
    "partitions": _partitions,
    "fetch": _fetch,
    "replicas": _replicas,
}
NAMES = list(_CURVES)


def _on_three(options, points):
    return Series(lambda folder: ZweigCluster(folder, options.zweig), points)


def _produce(**changed):
    return _bench_point("produce", unread=None, **changed)


def _bench_point(kind, **changed):
    """A load that differs from the base in this, and whose latencies are those of this kind."""
    settings = {**BASE, **changed}
    return lambda run: _load(run, kind, settings)


def _load(run, kind, settings):
    """Its topic is left there by the generator, so what the brokers spend on deleting it is not counted."""
    prefix = f"curve-{uuid.uuid4().hex[:8]}"
    length, warm_up = run.options.seconds, run.options.warm_up
    arguments = [f"--{name}" if value is None else f"--{name}={value}" for name, value in settings.items()]
    arguments += [f"--seconds={length}", f"--warm-up={warm_up}", "--keep", f"--prefix={prefix}", "--config=file.delete.delay.ms=0"]
    forget_peaks(run.servers.pids)
    began = time.monotonic()
    with Spent(run.servers.pids) as spent:
        report = run.bench("stream", run.servers.names, arguments)
        took, used = time.monotonic() - began, spent.last(length, TAIL if kind == "received" else 0.0)
    volume = report["volume"]
    figures = {
        "mb": volume["megabytes_per_second"],
        "rate": volume["records_per_second"],
        "p50": _ms(report, kind, 0.5),
        "p99": _ms(report, kind, 0.99),
        "cpu": used * 1e6 / volume["records"],
        "gb": used * 1e9 / volume["bytes"],
        "ready": took - length - warm_up if kind == "produce" else None,
        "rss": peak_mib(run.servers.pids),
    }
    return {**figures, "delete": _delete(run, f"{prefix}-0", settings["partitions"] >= MANY)}


def _delete(run, topic, wait):
    """Seconds until no broker has a folder of it left, if that is to be waited for: brokers look every few seconds what is due."""
    began = time.monotonic()
    run.zweig(["topic", "delete", topic, "--bootstrap", run.servers.names])
    if not wait:
        return None

    def gone():
        return not any(path.name.startswith(topic) for broker in run.servers.brokers for path in (broker.folder / "data").iterdir())

    wait_until(f"the folders of {topic} are gone", gone, patience=180)
    return time.monotonic() - began


def _ms(report, kind, share):
    kinds = {each["kind"]: each["quantiles_us"] for each in report["kinds"]}
    return next(us for of, us in kinds[kind] if abs(of - share) < 1e-9) / 1000
