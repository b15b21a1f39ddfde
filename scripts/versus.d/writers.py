"""Clients that do nothing but write one znode after the other's answer, and come back as fast as they can: between the answers
to all of them is the time in which an ensemble took no writes.

They speak ZooKeeper's protocol themselves. A client's own library would wait, back off and choose servers, and its habits would
be measured, not the servers'.
"""

import socket
import struct
import threading
import time

PATH = b"/versus-writers"
# The same for either side: how long a server may say nothing, and the pause before it is asked again.
SILENCE = 1.0
PAUSE = 0.005
SESSION_MS = 10_000
_CREATE, _SET_DATA = 1, 5
_NODE_EXISTS = -110
_OPEN_ACL = struct.pack(">ii", 1, 31) + struct.pack(">i5si6s", 5, b"world", 6, b"anyone")


def _buffer(data):
    return struct.pack(">i", len(data)) + data


class Session:
    """One session on one connection."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=SILENCE)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send(struct.pack(">iqiq", 0, 0, SESSION_MS, 0) + _buffer(bytes(16)) + b"\0")
            _, granted = struct.unpack_from(">ii", self._receive())
            if granted <= 0:
                raise ConnectionError("no session was granted")
        except BaseException:
            self.close()
            raise
        self.xid = 0

    def close(self):
        self.socket.close()

    def create(self):
        """The znode that is written; it may be there."""
        error = self._ask(_CREATE, _buffer(PATH) + _buffer(bytes(100)) + _OPEN_ACL + struct.pack(">i", 0))
        if error not in (0, _NODE_EXISTS):
            raise ConnectionError(f"create: error {error}")

    def write(self):
        error = self._ask(_SET_DATA, _buffer(PATH) + _buffer(bytes(100)) + struct.pack(">i", -1))
        if error != 0:
            raise ConnectionError(f"setData: error {error}")

    def _ask(self, kind, body):
        self.xid += 1
        self._send(struct.pack(">ii", self.xid, kind) + body)
        xid, _, error = struct.unpack_from(">iqi", self._receive())
        if xid != self.xid:
            raise ConnectionError(f"an answer to {xid}, not to {self.xid}")
        return error

    def _send(self, frame):
        self.socket.sendall(_buffer(frame))

    def _receive(self):
        (length,) = struct.unpack(">i", self._exactly(4))
        return self._exactly(length)

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                raise ConnectionError("the server closed the connection")
            data += part
        return data


def create(address, patience=30.0):
    """Makes the znode that writers write."""
    end = time.monotonic() + patience
    while True:
        try:
            session = Session(address)
            try:
                return session.create()
            finally:
                session.close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE)


class Writers:
    """One writer at each of these addresses; a context in which they write."""

    def __init__(self, addresses):
        self.answered = [[] for _ in addresses]
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self._write, args=(address, times), daemon=True)
            for address, times in zip(addresses, self.answered)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _write(self, address, times):
        while not self.over.is_set():
            try:
                session = Session(address)
            except OSError:
                time.sleep(PAUSE)
                continue
            try:
                while not self.over.is_set():
                    session.write()
                    times.append(time.monotonic())
            except OSError:
                pass
            finally:
                session.close()

    def last(self):
        """When each was answered last."""
        return [times[-1] if times else 0.0 for times in self.answered]

    def wait_all(self, since, patience):
        """Until each was answered after `since`."""
        end = time.monotonic() + patience
        while not all(last > since for last in self.last()):
            if time.monotonic() > end:
                raise TimeoutError(f"a writer was not answered within {patience:.0f} s")
            time.sleep(0.01)

    def first(self, since, patience):
        """When the first of them all was answered after `since`."""
        end = time.monotonic() + patience
        while not any(last > since for last in self.last()):
            if time.monotonic() > end:
                raise TimeoutError(f"no write within {patience:.0f} s")
            time.sleep(0.002)
        return min(at for times in self.answered for at in times[:1])

    def gap(self, since, calm=2.0, patience=90.0):
        """The longest time from `since` on without an answer to any writer.

        It is known once all of them are answered again and have been, one or the other, without a pause for `calm` seconds: right
        behind `since` comes what was under way, and the silence only then.
        """
        end = since + patience
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            times = sorted(at for each in self.answered for at in list(each) if at > since)
            late = [at for at in times if at > now - calm]
            steady = bool(late) and late[0] - (now - calm) < 0.5 and all(b - a < 0.5 for a, b in zip(late, late[1:]))
            if now - since > calm + 1 and steady and all(last > now - calm for last in self.last()):
                return max(b - a for a, b in zip([since, *times], times))
            if now > end:
                raise TimeoutError(f"no steady writes within {patience:.0f} s")
