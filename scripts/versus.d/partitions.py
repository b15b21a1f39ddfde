"""Topics and leaders, by Kafka's protocol: of either side's brokers, asked by `zweig topic`."""

import json
import os
import subprocess
import time

from servers import wait_until

# Three JVMs make thousands of partitions in minutes.
PATIENCE = 300


def make_many(zweig, cluster, topics, partitions):
    """Seconds until so many partitions have a leader, and a folder on every broker.

    The folders, because Kafka's controller names leaders, and all replicas in sync, long before the brokers have made them.
    """
    start = time.monotonic()
    names = [f"many-{number}" for number in range(topics)]
    for name in names:
        # Whoever is too slow to answer in time has not refused.
        _topic(zweig, cluster, ["create", name, "--partitions", str(partitions), "--replication-factor", "3", "--if-not-exists"])
    for broker in cluster.brokers:
        data = broker.folder / "data"
        wait_until(f"all partitions are in {data}", lambda: _made(data) == topics * partitions, PATIENCE)
    for name in names:
        wait_until(f"{name} has leaders", lambda: _led(zweig, cluster, name, partitions), PATIENCE)
    return time.monotonic() - start


def first_record(zweig, cluster, topic):
    """When a record was acknowledged first. Who came too early may wait for long, so there is another every 200 ms."""
    command = [zweig, "produce", topic, "--quiet", "--bootstrap", cluster.names]
    record = cluster.brokers[0].folder / "record"
    record.write_text("first\n")
    senders, end, due = [], time.monotonic() + 120, 0
    try:
        while not any(sender.poll() == 0 for sender in senders):
            now = time.monotonic()
            if now > end:
                raise RuntimeError("no record was taken for two minutes")
            if now > due:
                with record.open() as given:
                    senders.append(subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                due = now + 0.2
            time.sleep(0.002)
        return time.monotonic()
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()


def leader(zweig, cluster, prefix):
    """The broker that leads the first partition of the topic whose name begins so, once there is one."""

    def number():
        listed = _topic(zweig, cluster, ["list"]) or "[]"
        topic = next((name for name in json.loads(listed) if name.startswith(prefix)), None)
        told = topic and _topic(zweig, cluster, ["describe", topic])
        return told and json.loads(told)["partitions"][0]["leader"]

    return cluster.brokers[wait_until(f"{prefix} has a leader", lambda: max(number() or 0, 0)) - 1]


def _made(data):
    return sum(name.startswith("many-") for name in os.listdir(data))


def _led(zweig, cluster, topic, partitions):
    told = _topic(zweig, cluster, ["describe", topic])
    if not told:
        return False
    known = json.loads(told)["partitions"]
    return len(known) == partitions and all(each["leader"] > 0 and len(each["isr"]) == 3 for each in known)


def _topic(zweig, cluster, arguments):
    command = [zweig, "--output", "json", "topic", *arguments, "--bootstrap", cluster.names]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
