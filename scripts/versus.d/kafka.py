"""Zweig's brokers beside Kafka's: what is measured, how, and what is wanted of it (the targets of issue 4).

Two generators: `zweig bench stream`, which checks everything it sent, and Kafka's own `kafka-producer-perf-test` and
`kafka-consumer-perf-test`, so that nobody need trust ours.
"""

import re
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from clusters import KAFKA_JVM, Kafka, ZweigCluster, tool
from partitions import first_record, leader, make_many
from machine import cpu_seconds, memory_mib, room_for
from table import HIGHER, LOWER, Row

# Name, title, arguments of the load; target of the rate.
LOADS = [
    ("produce-1k", "produce, 1 KiB records, 6 partitions", ["--record-size", "1024"], Fraction(2)),
    ("produce-100", "produce, 100 B records, 6 partitions", ["--record-size", "100"], Fraction(2)),
    (
        "produce-many",
        "produce, 100 B records, 1,000 partitions",
        ["--record-size", "100", "--topics", "10", "--partitions", "100", "--batches-per-request", "16"],
        Fraction(3),
    ),
    ("produce-sync", "produce, 1 KiB records, synced per batch", ["--record-size", "1024", "--config", "flush.messages=1"], Fraction(3)),
]
# Thousands of partitions, each with a replica on each broker.
MANY_TOPICS, MANY_PARTITIONS = 50, 100
# A measure of these needs a cluster of its own, and minutes to fill it.
MANY = ["memory-many", "kill-many"]
DISCONNECTED = "in Zweig also a second after its connections have closed (`zookeeper.disconnect.timeout.ms`)"
PERF = "org.apache.kafka.tools"


def _rows():
    for name, title, _, rate in LOADS:
        yield name, Row(f"{name}.rate", f"{title}, `acks=all`", "MB/s", HIGHER, rate)
        yield name, Row(f"{name}.cpu", f"{title}: brokers' CPU seconds per GB produced and read again", "s", LOWER, Fraction(1, 3) if name == "produce-1k" else None)
    yield "consume", Row("consume.rate", "consume from the page cache, 1 KiB records", "MB/s", HIGHER, Fraction(3, 2))
    yield "end-to-end", Row("end-to-end.p50", "from when a record was due until it is read, half of Kafka's rate: p50", "ms", LOWER, Fraction(1, 2))
    yield "end-to-end", Row("end-to-end.p99", "the same: p99", "ms", LOWER, Fraction(1, 4))
    yield "tools", Row("tools.produce", "`kafka-producer-perf-test`, 1 KiB records, `acks=all`", "MB/s", HIGHER)
    yield "tools", Row("tools.consume", "`kafka-consumer-perf-test`", "MB/s", HIGHER)
    yield "memory", Row("memory.idle", "memory of a broker, idle: RSS", "MiB", LOWER, Fraction(1, 20))
    yield "memory", Row("memory.idle-pss", "memory of a broker, idle: PSS", "MiB", LOWER)
    yield "start", Row("start.first", "all brokers' processes started, to the first acknowledged record", "ms", LOWER, Fraction(1, 20))
    yield "kill", Row("kill.gap", "partition without a leader after `kill -9` of its broker", "ms", LOWER, Fraction(1, 5))
    many = f"{MANY_TOPICS * MANY_PARTITIONS:,} partitions"
    yield "memory-many", Row("memory-many.made", f"{many} created, until all replicas of all are there", "s", LOWER, once=True)
    yield "memory-many", Row("memory-many.rss", f"memory of the largest broker, {many}: RSS", "MiB", LOWER, Fraction(1, 8), once=True)
    yield "kill-many", Row("kill-many.gap", f"partition without a leader after `kill -9` of its broker, {many}", "ms", LOWER, Fraction(1, 5), once=True)


NAMES = list(dict.fromkeys(name for name, _ in _rows()))


class Peer:
    """What `__main__` knows of this comparison."""

    title = "Kafka"
    document = "broker/docs/performance.md"
    once = MANY
    # What another version of Kafka has otherwise.
    cluster = Kafka
    ensemble = "three nodes of ZooKeeper"
    sessions = f"when its session of 18 s ends (`zookeeper.session.timeout.ms`); {DISCONNECTED}"

    def __init__(self, jars, zweig, quick):
        self.jars, self.zweig = Path(jars), zweig
        self.seconds = 3 if quick else 8
        self.records = 100_000 if quick else 300_000
        # Three JVMs on two processors are still compiling after a minute of load.
        self.warm_up = {True: 15, False: 3} if quick else {True: 75, False: 5}
        (jar,) = self.jars.glob("kafka_2.13-*.jar")
        self.version = jar.stem.removeprefix("kafka_2.13-")
        # Records per second at which both sides are asked end to end: half of what Kafka took first.
        self.rate = None

    def rows(self, wanted):
        """Those of these measures."""
        return [row for name, row in _rows() if name in wanted]

    def settings(self):
        """What the reader has to know beside the command."""
        rate = f"{self.rate:,.0f} records per second" if self.rate else "half of Kafka's rate"
        return (
            f"Kafka {self.version} with `{KAFKA_JVM}` on {self.ensemble}; Zweig with its defaults on three coordinators; the same "
            "`server.properties` (its defaults; three replicas, `min.insync.replicas=2`), nothing synced before an acknowledgement unless said, all of it "
            f"on loopback beside the generator. 2 connections to each broker, 5 requests of 16 KiB batches under way on each; {self.seconds} s for "
            f"each load, after {self.warm_up[True]} s of load to warm Kafka's JVMs up ({self.warm_up[False]} s for Zweig, which compiles nothing); Kafka logs errors "
            f"alone; end to end at {rate} of 1 KiB, linger 1 ms. A broker that was killed is missed by its ensemble as each side does by default: {self.sessions}."
        )

    def sides(self):
        """How to make the cluster of each side in a folder, the peer first."""
        return [
            ("peer", lambda folder: self.cluster(folder, self.jars)),
            ("ours", lambda folder: ZweigCluster(folder, self.zweig)),
        ]

    def stages(self, wanted):
        """Each with a new cluster."""
        usual = [name for name in wanted if name not in MANY]
        if usual:
            yield lambda run: self._all(run, usual)
        if any(name in MANY for name in wanted):
            yield lambda run: self._many(run, wanted)

    def _all(self, run, wanted):
        if "memory" in wanted:
            time.sleep(5)
            run.measure("memory", lambda: _idle(run.servers.pids))
        if wanted != ["memory"]:
            # A JVM compiles first what it runs often; nobody asks how fast it is before.
            seconds = self.warm_up[run.servers.warms_up]
            _bench(run, ["--record-size", "1024", "--seconds", str(seconds), "--warm-up", "0", "--unread"])
        for name, _, arguments, _ in LOADS:
            if name in wanted:
                # A cold Kafka needs seconds for its first answer of a thousand partitions.
                seconds = max(self.seconds, 8) if name == "produce-many" else self.seconds
                run.measure(name, lambda: self._produce(run, arguments, seconds))
        if "consume" in wanted:
            run.measure("consume", lambda: self._consume(run))
        if "end-to-end" in wanted:
            run.measure("end-to-end", lambda: self._end_to_end(run))
        if "tools" in wanted:
            run.measure("tools", lambda: self._tools(run))
        if "start" in wanted:
            run.measure("start", lambda: {"first": self._start(run)})
        if "kill" in wanted:
            run.measure("kill", lambda: {"gap": self._kill(run, 30)})

    def _many(self, run, wanted):
        room_for(MANY_TOPICS * MANY_PARTITIONS)
        made = make_many(self.zweig, run.servers, MANY_TOPICS, MANY_PARTITIONS)
        if "memory-many" in wanted:
            time.sleep(10)
            run.measure("memory-many", lambda: {"made": made, "rss": max(memory_mib(pid)[0] for pid in run.servers.pids)})
        if "kill-many" in wanted:
            run.measure("kill-many", lambda: {"gap": self._kill(run, 50)})

    def _produce(self, run, arguments, seconds):
        before = cpu_seconds(run.servers.pids)
        report = _bench(run, [*arguments, "--seconds", str(seconds), "--warm-up", "0"])
        return _volume(report, cpu_seconds(run.servers.pids) - before)

    def _consume(self, run):
        arguments = ["--workload", "consume", "--megabytes", "200", "--warm-up", "1", "--seconds", str(self.seconds)]
        return {"rate": _bench(run, arguments)["volume"]["megabytes_per_second"]}

    def _end_to_end(self, run):
        if self.rate is None:
            most = run.figures.get("produce-1k.rate") or _volume(_bench(run, ["--seconds", "4", "--unread"]), 0)["rate"]
            self.rate = round(most * 1e6 / 1024 / 2, -2)
        arguments = ["--workload", "end-to-end", "--rate", f"{self.rate:.0f}", "--linger-ms", "1", "--seconds", str(self.seconds)]
        report = _bench(run, arguments)
        return {"p50": _ms(report, "received", 0.5), "p99": _ms(report, "received", 0.99)}

    def _tools(self, run):
        topic = f"tools-{uuid.uuid4().hex[:6]}"
        names = run.servers.names
        create = ["--bootstrap-server", names, "--create", "--topic", topic, "--partitions", "6", "--replication-factor", "3"]
        tool(self.jars, f"{PERF}.TopicCommand", create)
        properties = ["--producer-props", f"bootstrap.servers={names}", "acks=all"]
        sizes = ["--topic", topic, "--num-records", str(self.records), "--record-size", "1024", "--throughput", "-1"]
        told = tool(self.jars, f"{PERF}.ProducerPerformance", [*sizes, *properties])
        mib = float(re.findall(r"\(([\d.]+) MB/sec\)", told)[-1])
        reading = ["--bootstrap-server", names, "--topic", topic, "--messages", str(self.records), "--timeout", "60000"]
        told = tool(self.jars, f"{PERF}.ConsumerPerformance", reading)
        read_mib = float(told.strip().splitlines()[-1].split(",")[3])
        return {"produce": mib * 1.048576, "consume": read_mib * 1.048576}

    def _start(self, run):
        """Milliseconds from the start of the first broker until a record is acknowledged by three of them."""
        topic = f"start-{uuid.uuid4().hex[:6]}"
        at = ["--bootstrap", run.servers.names]
        subprocess.run([self.zweig, "topic", "create", topic, "--partitions", "1", "--replication-factor", "3", *at], capture_output=True, check=True)
        for broker in run.servers.brokers:
            broker.end()
        start = time.monotonic()
        for broker in run.servers.brokers:
            broker.start()
        first = first_record(self.zweig, run.servers, topic)
        for broker in run.servers.brokers:
            broker.wait()
        return (first - start) * 1000

    def _kill(self, run, seconds):
        """Longest time without an acknowledgement while the leader of the only partition is killed; leaves it dead."""
        prefix = f"kill-{uuid.uuid4().hex[:6]}"
        arguments = ["--partitions", "1", "--rate", "1000", "--linger-ms", "1", "--reconnect", "--prefix", prefix, "--keep"]
        # How long it looks for a leader where there is none: until its end.
        arguments += ["--timeout", str(seconds)]
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(_bench, run, [*arguments, "--record-size", "100", "--seconds", str(seconds), "--warm-up", "1", "--unread"])
            victim = leader(self.zweig, run.servers, prefix)
            time.sleep(4)
            victim.kill()
            killed = time.monotonic()
            silence = load.result()["longest_silence_ms"]
        if silence / 1000 > time.monotonic() - killed - 2:
            raise RuntimeError(f"nobody led until the load of {seconds} s ended")
        return silence


def _bench(run, arguments, servers=None):
    return run.bench("stream", servers or run.servers.names, ["--connections", "2", *arguments])


def _idle(pids):
    sizes = [memory_mib(pid) for pid in pids]
    return {"idle": max(rss for rss, _ in sizes), "idle-pss": max(pss for _, pss in sizes)}


def _volume(report, cpu):
    volume = report.get("volume")
    if volume is None:
        raise RuntimeError("nothing was acknowledged while it was measured")
    return {"rate": volume["megabytes_per_second"], "cpu": cpu / (volume["bytes"] / 1e9), "generator": report["generator_cores"]}


def _ms(report, kind, share):
    kinds = {each["kind"]: each["quantiles_us"] for each in report["kinds"]}
    return next(us for of, us in kinds[kind] if abs(of - share) < 1e-9) / 1000
