"""What kazoo's users rely on, on one node of the ensemble while another one watches.

usage: basics.py HOST:PORT HOST:PORT     (the node to use, and another one)
"""

import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.recipe.watchers import ChildrenWatch
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl

here, there = sys.argv[1:]
base = "/basics-" + here.replace(":", "-")
PATIENCE = 60


def client(host, **more):
    zk = KazooClient(hosts=host, timeout=20, **more)
    zk.start(timeout=PATIENCE)
    return zk


def refused(error, call, *args, **more):
    try:
        call(*args, **more)
    except error:
        return
    raise AssertionError(f"{call.__name__}{args} was not refused with {error.__name__}")


def eventually(what, name):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, name
        time.sleep(0.01)


one, two = client(here), client(there)
assert one.client_id[0] != two.client_id[0]

# Nodes, versions, stat.
assert one.create(base, b"first") == base
refused(NodeExistsError, one.create, base)
refused(NoNodeError, one.create, base + "/no/parent")
data, stat = one.get(base)
assert (data, stat.version, stat.czxid == stat.mzxid, stat.dataLength) == (b"first", 0, True, 5)
assert one.set(base, b"second").version == 1
refused(BadVersionError, one.set, base, b"x", version=0)
path, stat = one.create(base + "/child", b"", include_data=True)
assert (path, stat.version) == (base + "/child", 0)
refused(NotEmptyError, one.delete, base)
assert one.get_children(base, include_data=True)[1].cversion == 1
assert one.exists(base + "/none") is None
one.delete(base + "/child")
two.sync(base)
assert two.get(base)[0] == b"second"

# Sequence numbers count every child that there ever was.
assert one.create(base + "/s-", sequence=True) == base + "/s-0000000001"
assert one.create(base + "/s-", sequence=True, ephemeral=True) == base + "/s-0000000002"
one.delete(base + "/s-0000000001")
assert one.create(base + "/s-", sequence=True) == base + "/s-0000000003"

# Ephemerals go with their session, and a watch on another node sees it.
owner = client(here)
owner.create(base + "/e", ephemeral=True)
refused(NoChildrenForEphemeralsError, owner.create, base + "/e/child")
two.sync(base)
gone = threading.Event()
assert two.exists(base + "/e", watch=lambda event: gone.set()).ephemeralOwner == owner.client_id[0]
owner.stop()
assert gone.wait(PATIENCE), "the ephemeral node is gone"
owner.close()
assert two.exists(base + "/e") is None

# Watches fire once, in order, and before newer state is seen.
events = []
two.get(base, watch=events.append)
one.set(base, b"third")
two.sync(base)
assert two.get(base)[0] == b"third"
one.set(base, b"fourth")
two.sync(base)
eventually(lambda: len(events) == 1, "one event")
assert (events[0].type, events[0].path) == ("CHANGED", base)
children = []
ChildrenWatch(two, base, lambda names: children.append(sorted(names)))
one.create(base + "/watched")
eventually(lambda: children and "watched" in children[-1], "the new child is seen")

# Transactions: all or nothing, with an error for each operation.
t = one.transaction()
t.create(base + "/t")
t.check(base, 99)
t.delete(base + "/t")
kinds = [type(result) for result in t.commit()]
assert kinds == [RolledBackError, BadVersionError, RuntimeInconsistency], kinds
assert one.exists(base + "/t") is None
version = one.exists(base).version
t = one.transaction()
t.check(base, version)
t.create(base + "/t", b"1")
t.set_data(base + "/t", b"2")
results = t.commit()
assert results[:2] == [True, base + "/t"] and results[2].version == 1, results

# Identities.
secret = client(here, auth_data=[("digest", "ada:secret")])
secret.create(base + "/secret", b"s", acl=[make_digest_acl("ada", "secret", all=True)])
two.sync(base)
refused(NoAuthError, two.get, base + "/secret")
refused(InvalidACLError, one.create, base + "/none", acl=CREATOR_ALL_ACL)
two.add_auth("digest", "ada:secret")
assert two.get(base + "/secret")[0] == b"s"
assert two.get_acls(base + "/secret")[0][0].id.scheme == "digest"

# Much at once, and much data.
answers = [one.set_async(base, str(n).encode()) for n in range(1000)]
versions = [answer.get(timeout=PATIENCE).version for answer in answers]
assert versions == list(range(versions[0], versions[0] + 1000))
large = bytes(range(256)) * 4095
one.create(base + "/large", large)
two.sync(base)
assert two.get(base + "/large")[0] == large

# Recipes: one holder at a time.
holders, seen, lock_errors = [], [], []


def hold(zk, name):
    try:
        for _ in range(5):
            with zk.Lock(base + "/lock", name):
                holders.append(name)
                assert len(holders) == 1, holders
                seen.append(name)
                time.sleep(0.005)
                holders.remove(name)
    except Exception as error:  # the thread's failure is the test's
        lock_errors.append(error)


threads = [threading.Thread(target=hold, args=(zk, name)) for zk, name in [(one, "one"), (two, "two")]]
[thread.start() for thread in threads]
[thread.join(PATIENCE) for thread in threads]
assert not lock_errors and len(seen) == 10, (lock_errors, seen)

elected = []
first = client(here)
resign = threading.Event()


def lead(name, until):
    elected.append(name)
    assert until.wait(PATIENCE)


done = threading.Event()
done.set()
election = threading.Thread(target=lambda: first.Election(base + "/election", "first").run(lead, "first", resign))
election.start()
eventually(lambda: elected == ["first"], "the first is elected")
other = threading.Thread(target=lambda: two.Election(base + "/election", "two").run(lead, "two", done))
other.start()
eventually(lambda: len(two.Election(base + "/election").contenders()) == 2, "two contenders")
assert elected == ["first"]
resign.set()
election.join(PATIENCE)
other.join(PATIENCE)
assert elected == ["first", "two"], elected

counters = [zk.Counter(base + "/counter") for zk in (one, two)]
threads = [threading.Thread(target=lambda c=c: [c.__add__(1) for _ in range(20)]) for c in counters]
[thread.start() for thread in threads]
[thread.join(PATIENCE) for thread in threads]
two.sync(base)
assert counters[1].value == 40, counters[1].value

secret.delete(base, recursive=True)
for zk in (one, two, secret, first):
    zk.stop()
    zk.close()
print("ok")
