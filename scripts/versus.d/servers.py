"""Servers as processes of this program: started, asked for their end, killed, paused. They end with it, however it ends."""

import ctypes
import signal
import socket
import subprocess
import time

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


class Server:
    """One of them: its folder, with its log, the port of its clients, its command, and its process while it runs."""

    def __init__(self, folder, port, command):
        self.folder, self.port, self.command = folder, port, command
        self.process = None
        self.paused = False

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def name(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, preexec_fn=_child
            )
        self.paused = False

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def wait(self):
        """Until it takes connections."""

        def listens():
            if not self.runs():
                raise RuntimeError(f"a server has ended; see {self.folder / 'log'}")
            try:
                socket.create_connection(self.address, timeout=1).close()
                return True
            except OSError:
                return False

        wait_until(f"{self.folder.name} listens", listens, pause=0.002)

    def signal(self, number):
        self.process.send_signal(number)
        self.paused = number == signal.SIGSTOP

    def end(self):
        """Stops it as an operator does; whoever does not stop is killed."""
        if self.process is None:
            return
        if self.runs():
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
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None
