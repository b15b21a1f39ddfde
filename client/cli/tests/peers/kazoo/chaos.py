"""Clients of kazoo that go on through everything, and write down what they saw.

usage: chaos.py FOLDER CLIENTS

Each client has a session of its own and a thread of its own. It calls create, set, delete, get (after sync: a linearizable
read) and read (of whichever server it is at) on a few znodes that all clients share, one call at a time, until the file
FOLDER/stop exists. Every call is a line of JSON in FOLDER/history-N; the number of calls with a known outcome stands in
FOLDER/progress-N. With each session the client makes an ephemeral below /chaos/sessions.
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
    NoNodeError,
    NodeExistsError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    SystemZookeeperError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

folder, clients = sys.argv[1], int(sys.argv[2])
ZNODES = 6
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
            client.create(f"/chaos/sessions/{client.client_id[0]:x}", ephemeral=True)
            return client
        except (*LOST, NodeExistsError):
            client.stop()
            client.close()
    return None


class Calls:
    """The calls of one client, over all its sessions."""

    def __init__(self, number):
        self.number, self.known, self.value = number, 0, 0
        self.chance = random.Random(number)
        self.history = open(f"{folder}/history-{number}", "w", encoding="ascii")

    def write(self, line):
        self.history.write(json.dumps(line) + "\n")
        if line["outcome"] != "unknown":
            self.known += 1
            if self.known % 10 == 0:
                with open(f"{folder}/progress-{self.number}.new", "w", encoding="ascii") as file:
                    file.write(str(self.known))
                os.replace(f"{folder}/progress-{self.number}.new", f"{folder}/progress-{self.number}")

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
        else:
            if op == "get":
                client.sync_async(path).get(timeout=30)
            data, stat = client.get_async(path).get(timeout=30)
            line.update(outcome="found", value=int(data), version=stat.version, changed=stat.mzxid)

    def one(self, client):
        """One call. False if the session may be gone."""
        path = f"/chaos/znode-{self.chance.randrange(ZNODES)}"
        op = self.chance.choice(["create", "set", "set", "set", "delete", "get", "get", "read", "read"])
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
        known = line["outcome"] != "unknown"
        if known:
            # Taken after the answer: it covers the answer's own zxid.
            line["zxid"] = client.last_zxid
        self.write(line)
        return known

    def run(self):
        client = connected()
        while client is not None and not stopped():
            if not self.one(client):
                if client.state == KazooState.LOST:
                    client.stop()
                    client.close()
                    client = connected()
                else:
                    time.sleep(0.05)
        self.history.close()
        if client is not None:
            client.stop()
            client.close()


def run(number):
    try:
        Calls(number).run()
    except KazooException as failed:
        failures.append(f"client {number}: {failed!r}")
    except Exception as failed:  # whatever it is, the run must end and say it
        failures.append(f"client {number}: {failed!r}")


threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit("; ".join(failures))
