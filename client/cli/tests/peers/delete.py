"""Deletes a znode by kazoo and prints the number of the session that did it.

    delete.py PATH
"""

import os
import sys

from kazoo.client import KazooClient

client = KazooClient(os.environ["ZWEIG_SERVER"])
client.start()
client.delete(sys.argv[1])
print(f"{client.client_id[0]:#x}")
client.stop()
