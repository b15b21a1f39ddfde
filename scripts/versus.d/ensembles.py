"""Three nodes of ZooKeeper or of Zweig on loopback, or as many as are wanted.

Both sides get the same zoo.cfg but for the keys that only one of them has, and log to files.
"""

import os
import socket
from pathlib import Path

from servers import Server, free_ports, wait_until

NODES = 3
# As zkServer.sh starts it: ZK_SERVER_HEAP in zkEnv.sh is 1000.
ZOOKEEPER_HEAP = "-Xmx1000m"
# Of ZooKeeper's zoo_sample.cfg; one machine is every client here, so connections from one address are not bounded.
SETTINGS = """\
tickTime=2000
initLimit=10
syncLimit=5
maxClientCnxns=0
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
"""
# Its page of statistics, which needs Jetty, would take the same port on every node.
ZOOKEEPER_SETTINGS = "admin.enableServer=false\n"


class Node(Server):
    """A server of an ensemble."""

    def mode(self):
        """`leader`, `follower`, `standalone`, which a node without others is, or None while it is nothing of it."""
        if self.paused or not self.runs():
            return None
        try:
            with socket.create_connection(self.address, timeout=1) as connection:
                connection.settimeout(2)
                connection.sendall(b"srvr")
                answer = b""
                while part := connection.recv(4096):
                    answer += part
        except OSError:
            return None
        for line in answer.decode(errors="replace").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return None


class Ensemble:
    """So many of them; a context in which they run."""

    def __init__(self, folder, nodes=NODES):
        self.nodes, lines = [], ""
        for number in range(1, nodes + 1):
            home = folder / f"{self.side}-{number}"
            (home / "data").mkdir(parents=True)
            (home / "data" / "myid").write_text(f"{number}\n")
            client, quorum, election = free_ports(3)
            self.nodes.append(Node(home, client, self.command(home / "zoo.cfg")))
            lines += f"server.{number}=127.0.0.1:{quorum}:{election};127.0.0.1:{client}\n"
        for node in self.nodes:
            (node.folder / "zoo.cfg").write_text(f"{SETTINGS}{self.more_settings}dataDir={node.folder / 'data'}\n{lines}")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.end()

    def start(self):
        for node in self.nodes:
            node.start()
        self.wait()

    def wait(self):
        """Until all serve, one of them as the leader."""
        others = len(self.nodes) - 1
        wanted = ["follower"] * others + ["leader"] if others else ["standalone"]

        def serve():
            if gone := [node.folder for node in self.nodes if not node.runs()]:
                raise RuntimeError(f"a server has ended; see {gone[0] / 'log'}")
            return sorted(str(node.mode()) for node in self.nodes) == wanted

        wait_until(f"all nodes of {self.side} serve", serve)

    def leader(self):
        return wait_until("there is a leader", lambda: next((n for n in self.nodes if n.mode() == "leader"), None))

    def followers(self):
        leader = self.leader()
        return [node for node in self.nodes if node is not leader]

    @property
    def names(self):
        return ",".join(node.name for node in self.nodes)

    @property
    def pids(self):
        return [node.pid for node in self.nodes]


class ZooKeeper(Ensemble):
    """As its distribution runs it."""

    side = "zookeeper"
    more_settings = ZOOKEEPER_SETTINGS

    def __init__(self, folder, jars):
        self.jars = Path(jars)
        super().__init__(folder)

    def command(self, config):
        # With the folder of this file for its logback.xml.
        classes = f"{Path(__file__).resolve().parent}:{self.jars}/*"
        return ["java", ZOOKEEPER_HEAP, "-cp", classes, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]


class Zweig(Ensemble):
    """With its defaults."""

    side = "zweig"
    more_settings = ""

    def __init__(self, folder, binary, nodes=NODES):
        self.binary = binary
        super().__init__(folder, nodes)

    def command(self, config):
        return [self.binary, "coordinator", "--config", str(config), "--parent", str(os.getpid())]
