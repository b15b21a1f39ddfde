"""Three brokers of Kafka 4 on three controllers of KRaft, each a process of its own, as its documentation advises for production."""

import base64
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clusters import SETTINGS, Cluster, java, tool
from servers import Server, free_ports

CONTROLLERS = 3
# Brokers have the numbers from 1 on.
FIRST_CONTROLLER = 101


class Controllers:
    """The ensemble of such a cluster: its metadata, and who leads what."""

    def __init__(self, folder, jars):
        self.jars, self.nodes = jars, []
        ports = free_ports(CONTROLLERS)
        self.names = ",".join(f"127.0.0.1:{port}" for port in ports)
        numbers = range(FIRST_CONTROLLER, FIRST_CONTROLLER + CONTROLLERS)
        self.voters = ",".join(f"{number}@127.0.0.1:{port}:{_uuid()}" for number, port in zip(numbers, ports))
        for number, port in zip(numbers, ports):
            home = folder / f"controller-{number}"
            (home / "data").mkdir(parents=True)
            own = f"process.roles=controller\nnode.id={number}\nlisteners=CONTROLLER://127.0.0.1:{port}\nlog.dirs={home / 'data'}\n"
            properties = home / "server.properties"
            properties.write_text(SETTINGS + own + self.connect())
            self.nodes.append(Server(home, port, java(jars, properties)))

    def __exit__(self, *_):
        for node in self.nodes:
            node.kill()

    def connect(self):
        """How a server finds them."""
        return f"controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers={self.names}\n"

    def start(self):
        """Until they listen; for their leader brokers wait themselves."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait()


class Kafka4(Cluster):
    """As its distribution runs it."""

    side = "kafka"

    def __init__(self, folder, jars):
        self.jars = Path(jars)
        super().__init__(folder, Controllers(folder, self.jars))

    def __enter__(self):
        self._format()
        return super().__enter__()

    def identity(self, number):
        return f"process.roles=broker\nnode.id={number}\n{self.ensemble.connect()}"

    def command(self, properties):
        return java(self.jars, properties)

    def _format(self):
        """Gives each data folder its identity, without which no server starts there."""
        cluster = _uuid()

        def work(server, voters):
            arguments = ["format", "--cluster-id", cluster, "--config", str(server.folder / "server.properties"), *voters]
            tool(self.jars, "kafka.tools.StorageTool", arguments)

        wanted = [(node, ["--initial-controllers", self.ensemble.voters]) for node in self.ensemble.nodes]
        wanted += [(broker, ["--no-initial-controllers"]) for broker in self.brokers]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: work(*each), wanted))


def _uuid():
    """As Kafka writes one; it takes none that looks like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
