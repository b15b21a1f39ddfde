"""Three brokers of Kafka 3 or of Zweig on loopback, or as many as are wanted, on three nodes of ZooKeeper or of Zweig; of Kafka 4: kraft.py.

Both sides get the same server.properties and log to files.
"""

import os
import subprocess
from pathlib import Path

from ensembles import ZooKeeper, Zweig
from servers import Server, free_ports

BROKERS = 3
# What kafka-server-start.sh and kafka-run-class.sh give it.
KAFKA_JVM = "-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent"
# Of Kafka's config/server.properties, but for replicas: three of everything, as its documentation advises for production.
SETTINGS = """\
num.network.threads=3
num.io.threads=8
num.partitions=6
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
"""


class Cluster:
    """Brokers and their ensemble; a context in which all of them run."""

    # Whether it gets faster while it runs.
    warms_up = True

    def __init__(self, folder, ensemble, brokers=BROKERS):
        self.ensemble, self.brokers = ensemble, []
        ports = free_ports(brokers)
        for number, port in enumerate(ports, 1):
            home = folder / f"{self.side}-{number}"
            (home / "data").mkdir(parents=True)
            own = f"listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={home / 'data'}\n"
            (home / "server.properties").write_text(SETTINGS + own + self.identity(number))
            self.brokers.append(Server(home, port, self.command(home / "server.properties")))

    def __enter__(self):
        try:
            self.ensemble.start()
            for broker in self.brokers:
                broker.start()
            for broker in self.brokers:
                broker.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Their data go with them, and a JVM with thousands of partitions takes long to say goodbye.
        for broker in self.brokers:
            broker.kill()
        self.ensemble.__exit__()

    def identity(self, number):
        """Which broker it is, and where its ensemble is."""
        return f"broker.id={number}\nzookeeper.connect={self.ensemble.names}/versus\n"

    @property
    def names(self):
        return ",".join(broker.name for broker in self.brokers)

    @property
    def pids(self):
        return [broker.pid for broker in self.brokers]


class Kafka(Cluster):
    """As its distribution runs it."""

    side = "kafka"

    def __init__(self, folder, jars):
        self.jars = Path(jars)
        super().__init__(folder, ZooKeeper(folder, jars))

    def command(self, properties):
        return java(self.jars, properties)


class ZweigCluster(Cluster):
    """With its defaults."""

    side = "zweig-broker"
    warms_up = False

    def __init__(self, folder, binary, brokers=BROKERS):
        self.binary = binary
        super().__init__(folder, Zweig(folder, binary), brokers)

    def command(self, properties):
        return [self.binary, "broker", "--config", str(properties), "--parent", str(os.getpid())]


def java(jars, properties):
    """The command of a server of Kafka, of whichever role."""
    return ["java", *KAFKA_JVM.split(), "-cp", _classes(jars), "kafka.Kafka", str(properties)]


def tool(jars, name, arguments, timeout=300):
    """What a tool of Kafka's own prints."""
    command = ["java", "-Xmx512M", "-cp", _classes(jars), name, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _classes(jars):
    """With the folder of this file, for what it says of logging."""
    return f"{Path(__file__).resolve().parent}:{jars}/*"
