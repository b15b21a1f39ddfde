"""Writes through a node that lives while the leader is killed.

usage: failover.py HOST:PORT
Prints "writing", goes on until a line comes, then prints the longest time between two
acknowledged writes in milliseconds. A write that fails ends it.
"""

import sys
import threading
import time

from kazoo.client import KazooClient

zk = KazooClient(hosts=sys.argv[1], timeout=20)
zk.start(timeout=60)
states = []
zk.add_listener(states.append)
zk.ensure_path("/failover")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()

longest, writes, last = 0.0, 0, time.monotonic()
version = zk.set("/failover", b"begin").version
print("writing", flush=True)
while not stop.is_set():
    assert zk.set("/failover", str(writes).encode()).version == version + 1
    version += 1
    writes += 1
    now = time.monotonic()
    longest, last = max(longest, now - last), now
assert not states, states
zk.stop()
zk.close()
print(f"{longest * 1000:.0f}")
