"""A session goes on at another node when its own is killed.

usage: reattach.py HOST:PORT,...
Prints the port it is connected to, waits for a line, then checks that the session lived on.
"""

import sys
import time

from kazoo.client import KazooClient, KazooState

PATIENCE = 60

states = []
zk = KazooClient(hosts=sys.argv[1], timeout=20)
zk.add_listener(states.append)
zk.start(timeout=PATIENCE)
session = zk.client_id
zk.ensure_path("/reattach")
zk.create("/reattach/mine", b"1", ephemeral=True)
lock = zk.Lock("/reattach/lock", "holder")
assert lock.acquire(timeout=PATIENCE)
former = zk._connection._socket.getpeername()[1]
print(former, flush=True)

sys.stdin.readline()
deadline = time.monotonic() + PATIENCE
while states[-1] != KazooState.CONNECTED or KazooState.SUSPENDED not in states:
    assert time.monotonic() < deadline, states
    time.sleep(0.01)
assert KazooState.LOST not in states, states
assert zk.client_id == session
assert zk._connection._socket.getpeername()[1] != former
stat = zk.exists("/reattach/mine")
assert stat.ephemeralOwner == session[0], stat
assert zk.set("/reattach/mine", b"2").version == 1
assert lock.is_acquired and lock.contenders() == ["holder"]
lock.release()
zk.stop()
zk.close()
print("ok")
