"""A client that dies without a word loses its session and its ephemerals, after its timeout.

usage: expiry.py HOST:PORT,...
"""

import os
import subprocess
import sys
import time

from kazoo.client import KazooClient


TIMEOUT = 8


def client(timeout):
    zk = KazooClient(hosts=sys.argv[1], timeout=timeout)
    zk.start(timeout=30)
    return zk


if len(sys.argv) == 3:
    client(TIMEOUT).create("/silent", ephemeral=True)
    os._exit(0)

zk = client(20)
subprocess.run([sys.executable, *sys.argv, "die"], check=True)
zk.sync("/")
assert zk.exists("/silent"), "the ephemeral node outlives its client's connection"
begun = time.monotonic()
while zk.exists("/silent"):
    assert time.monotonic() - begun < 60, "the session outlives its timeout"
    time.sleep(0.05)
zk.stop()
zk.close()
print("ok")
