"""Three consumers of one group (confluent-kafka) read a topic together.

usage: group_of_three.py TOPIC GROUP RECORDS

Prints "partition<TAB>value" per record, in the order of each partition, until RECORDS have been read; commits; fails after
two minutes without a record. At the end it says on standard error how many partitions each member had.
"""

import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException

topic, group, expected = sys.argv[1], sys.argv[2], int(sys.argv[3])
lock = threading.Lock()
lines, owned, errors = [], {}, []
last = time.monotonic()


def commit(consumer, _partitions=None):
    """What was read is not read again by whoever gets the partitions next."""
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as failed:
        if failed.args[0].code() != KafkaError._NO_OFFSET:  # nothing was read yet
            errors.append(f"commit: {failed}")


def consume(member):
    global last
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["ZWEIG_BOOTSTRAP"],
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 10000,
        }
    )
    consumer.subscribe([topic], on_revoke=commit)
    while not errors:
        batch = consumer.consume(num_messages=1000, timeout=0.5)
        owned[member] = max(owned.get(member, 0), len(consumer.assignment()))
        with lock:
            for message in batch:
                if message.error():
                    errors.append(str(message.error()))
                else:
                    lines.append(b"%d\t%s\n" % (message.partition(), message.value()))
                    last = time.monotonic()
            if len(lines) >= expected:
                break
            if time.monotonic() - last > 120:
                errors.append(f"{len(lines)} of {expected} records, then nothing for two minutes")
    consumer.close()


threads = [threading.Thread(target=consume, args=(member,)) for member in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdout.buffer.write(b"".join(lines))
sys.stdout.flush()
print("partitions of each member:", sorted(owned.values()), file=sys.stderr)
if errors:
    sys.exit("\n".join(errors))
