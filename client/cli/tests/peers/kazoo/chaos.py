"""Clients of kazoo that go on through everything, and write down what they saw.

usage: chaos.py FOLDER CLIENTS

Each client has a session of its own and a thread of its own. It calls create, set, delete, get (after sync: a linearizable
read) and read (of whichever server it is at) on a few znodes that all clients share, one call at a time, until the file
FOLDER/stop exists. Every call is a line of JSON in FOLDER/history-N; the number of calls with a known outcome stands in
FOLDER/progress-N. With each session the client makes an ephemeral below /chaos/sessions, and looks now and then (mine)
whether it is still there. Some reads leave a watch; when the client sees a newer znode and the watch has not fired within
some seconds of an unbroken connection, or has fired twice, that is a line too (watch).

Two more clients take turns with kazoo's Lock; FOLDER/locks has a line for each time that one of them certainly held it:
from when it had it to when it asked, and was told, that its znode was still there.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    LockTimeout,
    NoNodeError,
    NodeExistsError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    SystemZookeeperError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import ForceRetryError, KazooRetry, RetryFailedError

folder, clients = sys.argv[1], int(sys.argv[2])
ZNODES = 6
LOCKERS = 2
# How late an event may come on a machine that does other things too. (Before the newer state is what is promised, but
# kazoo hands events and answers out by different threads.)
EVENT_SECONDS = 10
# What leaves it open whether a write was done. (A node short of space says SystemError: it was not.)
LOST = (
    ConnectionLoss,
    ConnectionClosedError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    SystemZookeeperError,
    KazooTimeoutError,
)
failures = []
# Whoever wonders why nothing goes on asks with this signal.
faulthandler.register(signal.SIGUSR1, all_threads=True)


def stopped():
    return os.path.exists(f"{folder}/stop") or failures


def connected():
    while not stopped():
        again = KazooRetry(max_tries=-1, delay=0.1, max_delay=1)
        client = KazooClient(os.environ["ZWEIG_SERVER"], timeout=6, randomize_hosts=True, connection_retry=again)
        try:
            client.start(timeout=30)
            client.ensure_path("/chaos/sessions")
            # Of this session we know that it has an ephemeral. (kazoo begins another by itself when it expires.)
            client.with_ephemeral = client.client_id[0]
            client.create(f"/chaos/sessions/{client.with_ephemeral:x}", ephemeral=True)
            return client
        except (*LOST, NodeExistsError):
            client.stop()
            client.close()
    return None


class Watch:
    """One that was left by a read."""

    def __init__(self, changed, place):
        self.changed, self.place, self.times = changed, place, 0
        self.fired = threading.Event()

    def __call__(self, event):
        self.times += 1
        self.fired.set()


class Calls:
    """The calls of one client, over all its sessions."""

    def __init__(self, number):
        self.number, self.known, self.value = number, 0, 0
        self.chance = random.Random(number)
        self.history = open(f"{folder}/history-{number}", "w", encoding="ascii")
        # kazoo forgets its watches whenever the connection breaks.
        self.watches, self.breaks = {}, 0

    def write(self, line):
        self.history.write(json.dumps(line) + "\n")
        if line["outcome"] != "unknown":
            self.known += 1
            if self.known % 10 == 0:
                with open(f"{folder}/progress-{self.number}.new", "w", encoding="ascii") as file:
                    file.write(str(self.known))
                os.replace(f"{folder}/progress-{self.number}.new", f"{folder}/progress-{self.number}")

    def broken(self, state):
        if state != KazooState.CONNECTED:
            self.breaks += 1

    def check_watch(self, path, changed):
        """The client has seen this state of a znode: then its watch on an older one has fired."""
        watch = self.watches.get(path)
        if watch is None or watch.changed == changed:
            return
        del self.watches[path]
        deadline = time.monotonic() + EVENT_SECONDS
        while not watch.fired.wait(0.1) and watch.place == self.breaks and time.monotonic() < deadline:
            pass
        if watch.place == self.breaks and watch.times != 1:
            outcome = "missed" if watch.times == 0 else "doubled"
            now = time.monotonic_ns()
            self.write({"op": "watch", "path": path, "outcome": outcome, "began": now, "ended": now})

    def fresh(self):
        self.value += clients
        return self.value + self.number

    def ask(self, client, line, path):
        """Fills in the outcome."""
        op = line["op"]
        version = -1 if line["asked_version"] is None else line["asked_version"]
        if op == "create":
            client.create_async(path, str(line["value"]).encode()).get(timeout=30)
            line.update(outcome="done", version=0)
        elif op == "set":
            stat = client.set_async(path, str(line["value"]).encode(), version).get(timeout=30)
            line.update(outcome="done", version=stat.version, changed=stat.mzxid)
        elif op == "delete":
            client.delete_async(path, version).get(timeout=30)
            line.update(outcome="done")
        elif op == "mine":
            client.sync_async(path).get(timeout=30)
            stat = client.exists_async(path).get(timeout=30)
            line.update(outcome="found" if stat else "no_node", version=0)
        else:
            if op == "get":
                client.sync_async(path).get(timeout=30)
            watch = None
            if op == "read" and path not in self.watches and self.chance.random() < 0.5:
                watch = Watch(None, self.breaks)
            data, stat = client.get_async(path, watch).get(timeout=30)
            if watch is not None:
                watch.changed = stat.mzxid
                self.watches[path] = watch
            line.update(outcome="found", value=int(data), version=stat.version, changed=stat.mzxid)

    def one(self, client):
        """One call. False if the session may be gone."""
        path = f"/chaos/znode-{self.chance.randrange(ZNODES)}"
        op = self.chance.choice(["create", "set", "set", "set", "delete", "get", "get", "read", "read", "read", "mine"])
        if op == "mine":
            path = f"/chaos/sessions/{client.with_ephemeral:x}"
            if not client.client_id or client.client_id[0] != client.with_ephemeral:
                return False
        line = {"op": op, "path": path, "outcome": "unknown", "asked_version": None}
        if op in ("create", "set"):
            line["value"] = self.fresh()
        if op in ("set", "delete") and self.chance.random() < 0.3:
            line["asked_version"] = self.chance.randrange(4)
        # None while a lost session is being replaced.
        line["session"] = client.client_id[0] if client.client_id else None
        line["began"] = time.monotonic_ns()
        try:
            self.ask(client, line, path)
        except NoNodeError:
            line["outcome"] = "no_node"
        except NodeExistsError:
            line["outcome"] = "node_exists"
        except BadVersionError:
            line["outcome"] = "bad_version"
        except LOST:
            pass
        line["ended"] = time.monotonic_ns()
        if op == "mine" and (not client.client_id or client.client_id[0] != client.with_ephemeral):
            # Answered in another session, perhaps.
            line["outcome"] = "unknown"
        known = line["outcome"] != "unknown"
        if known:
            # Taken after the answer: it covers the answer's own zxid.
            line["zxid"] = client.last_zxid
        self.write(line)
        if op in ("get", "read") and line["outcome"] in ("found", "no_node"):
            self.check_watch(path, line.get("changed"))
        return known

    def run(self):
        client = connected()
        if client is not None:
            client.add_listener(self.broken)
        while client is not None and not stopped():
            if not self.one(client):
                if client.state == KazooState.LOST or client.client_id and client.client_id[0] != client.with_ephemeral:
                    client.stop()
                    client.close()
                    client = connected()
                    self.breaks += 1
                    if client is not None:
                        client.add_listener(self.broken)
                else:
                    time.sleep(0.05)
        self.history.close()
        if client is not None:
            client.stop()
            client.close()


class Locker:
    """Takes the lock again and again, and writes down when it certainly had it."""

    def __init__(self, number, lines):
        self.number, self.lines = number, lines

    def hold(self, client):
        lock = client.Lock("/chaos/lock", str(self.number))
        session = client.client_id[0]
        if not lock.acquire(timeout=20):
            raise LockTimeout("not acquired")
        since = time.monotonic_ns()
        path = f"{lock.path}/{lock.node}"
        time.sleep(random.random() / 10)
        until = time.monotonic_ns()
        client.sync_async(path).get(timeout=30)
        stat = client.exists_async(path).get(timeout=30)
        if stat is not None and stat.ephemeralOwner == session:
            line = {"client": self.number, "from": since, "to": until, "node": lock.node}
            self.lines.write(json.dumps(line) + "\n")
            self.lines.flush()
        lock.release()

    def run(self):
        while not stopped():
            client = connected()
            try:
                while client is not None and not stopped():
                    self.hold(client)
            except (*LOST, LockTimeout, RetryFailedError, ForceRetryError, NoNodeError, NodeExistsError):
                pass
            finally:
                # Whatever it left behind goes with its session.
                if client is not None:
                    client.stop()
                    client.close()


def run(number):
    try:
        if number < clients:
            Calls(number).run()
        else:
            Locker(number, locks).run()
    except KazooException as failed:
        failures.append(f"client {number}: {failed!r}")
    except Exception as failed:  # whatever it is, the run must end and say it
        failures.append(f"client {number}: {failed!r}")


locks = open(f"{folder}/locks", "w", encoding="ascii")
threads = [threading.Thread(target=run, args=(number,)) for number in range(clients + LOCKERS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit("; ".join(failures))
