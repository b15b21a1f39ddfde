"""Three nodes of ZooKeeper or of Zweig on loopback: started, asked, killed, paused, stopped.

Both sides get the same zoo.cfg but for the keys that only one of them has, and log to files. A node's process is this program's
own child, and ends with it, however it ends.
"""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

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
PATIENCE = 90.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_libc = ctypes.CDLL(None)


def _child():
    _libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def free_ports(count):
    """Ports that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(what, condition, patience=PATIENCE, pause=0.05):
    """What `condition` gives, once it is true."""
    end = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience:.0f} s: {what}")
        time.sleep(pause)
    return value


class Node:
    """One server: its folder, its ports, and its process while it runs."""

    def __init__(self, number, folder, command):
        self.number = number
        self.folder = folder
        self.command = command
        self.client, self.quorum, self.election = free_ports(3)
        self.process = None
        self.paused = False

    @property
    def address(self):
        return ("127.0.0.1", self.client)

    @property
    def name(self):
        return f"127.0.0.1:{self.client}"

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, preexec_fn=_child
            )
        self.paused = False

    def signal(self, number):
        self.process.send_signal(number)
        self.paused = number == signal.SIGSTOP

    def mode(self):
        """`leader`, `follower`, or None while it is neither."""
        if self.paused or self.process is None or self.process.poll() is not None:
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

    def end(self):
        """Stops it as an operator does; whoever does not stop is killed."""
        if self.process is None:
            return
        if self.process.poll() is None:
            if self.paused:
                self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                print(f"  {self.folder.name} did not stop within a minute, and was killed", flush=True)
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None


class Ensemble:
    """Three of them; a context in which they run."""

    def __init__(self, folder):
        self.nodes = []
        for number in range(1, NODES + 1):
            home = folder / f"{self.side}-{number}"
            home.mkdir(parents=True)
            self.nodes.append(Node(number, home, self.command(number, home)))
        lines = "".join(
            f"server.{node.number}=127.0.0.1:{node.quorum}:{node.election};127.0.0.1:{node.client}\n" for node in self.nodes
        )
        for node in self.nodes:
            data = node.folder / "data"
            data.mkdir()
            (data / "myid").write_text(f"{node.number}\n")
            (node.folder / "zoo.cfg").write_text(f"{SETTINGS}{self.more_settings}dataDir={data}\n{lines}")

    def __enter__(self):
        self.start()
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
        for node in self.nodes:
            if node.process is not None and node.process.poll() is not None:
                raise RuntimeError(f"{node.folder.name} has ended; see {node.folder / 'log'}")
        wait_until(
            f"all nodes of {self.side} serve",
            lambda: sorted(str(node.mode()) for node in self.nodes) == ["follower"] * (NODES - 1) + ["leader"],
        )

    def leader(self):
        return wait_until("there is a leader", lambda: next((n for n in self.nodes if n.mode() == "leader"), None))

    def followers(self):
        leader = self.leader()
        return [node for node in self.nodes if node is not leader]

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

    def command(self, _number, home):
        here = Path(__file__).resolve().parent
        return [
            "java",
            ZOOKEEPER_HEAP,
            "-cp",
            f"{here}:{self.jars}/*",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(home / "zoo.cfg"),
        ]


class Zweig(Ensemble):
    """With its defaults."""

    side = "zweig"
    more_settings = ""

    def __init__(self, folder, binary):
        self.binary = binary
        super().__init__(folder)

    def command(self, _number, home):
        return [self.binary, "coordinator", "--config", str(home / "zoo.cfg"), "--parent", str(os.getpid())]
