"""Three brokers of Kafka or of Zweig on loopback, or as many as are wanted, on three nodes of ZooKeeper or of Zweig.

Both sides get the same server.properties and log to files.
"""

import os
import socket
import subprocess
from pathlib import Path

from ensembles import ZooKeeper, Zweig
from servers import Server, free_ports, wait_until

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

    def __init__(self, folder, ensemble, brokers=BROKERS):
        self.ensemble, self.brokers = ensemble, []
        ports = free_ports(brokers)
        for number, port in enumerate(ports, 1):
            home = folder / f"{self.side}-{number}"
            (home / "data").mkdir(parents=True)
            own = f"broker.id={number}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={home / 'data'}\n"
            connect = f"zookeeper.connect={ensemble.names}/versus\n"
            (home / "server.properties").write_text(SETTINGS + own + connect)
            self.brokers.append(Server(home, port, self.command(home / "server.properties")))

    def __enter__(self):
        try:
            self.ensemble.start()
            for broker in self.brokers:
                broker.start()
            for broker in self.brokers:
                self.wait_for(broker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for broker in self.brokers:
            broker.end()
        self.ensemble.__exit__()

    def wait_for(self, broker):
        """Until it takes connections."""

        def listens():
            if not broker.runs():
                raise RuntimeError(f"a broker has ended; see {broker.folder / 'log'}")
            try:
                socket.create_connection(broker.address, timeout=1).close()
                return True
            except OSError:
                return False

        wait_until(f"a broker of {self.side} listens", listens, pause=0.002)

    @property
    def names(self):
        return ",".join(broker.name for broker in self.brokers)

    @property
    def pids(self):
        return [broker.pid for broker in self.brokers]


class Kafka(Cluster):
    """As its distribution runs it."""

    side = "kafka"

    def __init__(self, folder, jars, zookeeper):
        self.jars = Path(jars)
        super().__init__(folder, ZooKeeper(folder, zookeeper))

    def command(self, properties):
        classes = f"{Path(__file__).resolve().parent}:{self.jars}/*"
        return ["java", *KAFKA_JVM.split(), "-cp", classes, "kafka.Kafka", str(properties)]


class ZweigCluster(Cluster):
    """With its defaults."""

    side = "zweig-broker"

    def __init__(self, folder, binary, brokers=BROKERS):
        self.binary = binary
        super().__init__(folder, Zweig(folder, binary), brokers)

    def command(self, properties):
        return [self.binary, "broker", "--config", str(properties), "--parent", str(os.getpid())]


def tool(jars, name, arguments, timeout=300):
    """What a tool of Kafka's own prints."""
    command = ["java", "-Xmx512M", "-cp", f"{Path(__file__).resolve().parent}:{jars}/*", name, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
