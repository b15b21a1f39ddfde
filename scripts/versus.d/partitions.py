"""Topics and leaders, by Kafka's protocol: of either side's brokers, asked by `zweig topic`."""

import json
import subprocess
import time

from servers import wait_until

# Three JVMs make thousands of partitions in minutes.
PATIENCE = 300


def make_many(zweig, cluster, topics, partitions):
    """Seconds until so many partitions are there, with all replicas in sync."""
    start = time.monotonic()
    names = [f"many-{number}" for number in range(topics)]
    for name in names:
        # Whoever is too slow to answer in time has not refused.
        _topic(zweig, cluster, ["create", name, "--partitions", str(partitions), "--replication-factor", "3", "--if-not-exists"])
    for name in names:
        wait_until(f"{name} is in sync", lambda: _in_sync(zweig, cluster, name, partitions), PATIENCE, pause=0.2)
    return time.monotonic() - start


def leader(zweig, cluster, prefix):
    """The broker that leads the first partition of the topic whose name begins so."""
    listed = _topic(zweig, cluster, ["list"], check=True)
    topic = next(name for name in json.loads(listed) if name.startswith(prefix))
    told = _topic(zweig, cluster, ["describe", topic], check=True)
    return cluster.brokers[json.loads(told)["partitions"][0]["leader"] - 1]


def _in_sync(zweig, cluster, topic, partitions):
    told = _topic(zweig, cluster, ["describe", topic])
    if not told:
        return False
    known = json.loads(told)["partitions"]
    return len(known) == partitions and all(each["leader"] > 0 and len(each["isr"]) == 3 for each in known)


def _topic(zweig, cluster, arguments, check=False):
    command = [zweig, "--output", "json", "topic", *arguments, "--bootstrap", cluster.names]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=120).stdout
