"""A consumer group of librdkafka that goes on through everything, and checks what it is given.

usage: group_through_chaos.py TOPIC MEMBERS FOLDER

Records of each partition are 0, 1, 2, ... as idempotent_producer.py sends them. Each member commits what it has read, and
waits for the answer. Now and then one leaves and another joins. Until the file FOLDER/stop exists, which says how many
records each partition has; then, until all of them were read. What is checked at each record: its number is its offset; none is skipped in the group; a member that is
given a partition begins no earlier than what was committed before, and no later than the first that nobody has read. The
number of records read stands in FOLDER/progress; at the end {"partition": [read, committed]} is printed.
"""

import json
import os
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException

topic, members, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
GROUP = "chaos"
SETTINGS = {
    "bootstrap.servers": os.environ["ZWEIG_BOOTSTRAP"],
    "group.id": GROUP,
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    "max.poll.interval.ms": 60000,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 5000,
}
lock = threading.Lock()
# By partition: the first offset that nobody has read, and the highest commit that was answered.
unread, committed = {}, {}
failures = []


def stopped():
    return os.path.exists(f"{folder}/stop")


def done():
    """Whether all was read that was acknowledged, as the file says."""
    with open(f"{folder}/stop", encoding="ascii") as file:
        wanted = json.load(file)
    with lock:
        return all(unread.get(int(partition), 0) >= count for partition, count in wanted.items())


class Member:
    def __init__(self, number):
        self.number, self.chance = number, random.Random(number)
        # By partition: what was committed when it was given; None once a record came.
        self.given = {}

    def assigned(self, consumer, partitions):
        with lock:
            self.given = {each.partition: committed.get(each.partition, 0) for each in partitions}

    def lost(self, consumer, partitions):
        for each in partitions:
            self.given.pop(each.partition, None)

    def take(self, message):
        partition, offset = message.partition(), message.offset()
        if int(message.value()) != offset:
            failures.append(f"partition {partition}: {message.value()!r} at offset {offset}")
        with lock:
            first = unread.get(partition, 0)
            if offset > first:
                failures.append(f"partition {partition}: {first} to {offset - 1} were skipped (member {self.number})")
            unread[partition] = max(first, offset + 1)
        since = self.given.get(partition)
        if since is not None and offset < since:
            failures.append(f"partition {partition}: begins at {offset}, {since} was committed before (member {self.number})")
        self.given[partition] = None

    def commit(self, consumer):
        try:
            answered = consumer.commit(asynchronous=False)
        except KafkaException:
            # It may be done or not; another member may have the partition by now.
            return
        with lock:
            for each in answered:
                if each.error is None:
                    before = committed.get(each.partition, 0)
                    committed[each.partition] = max(before, each.offset)

    def session(self):
        consumer = Consumer(SETTINGS)
        consumer.subscribe([topic], on_assign=self.assigned, on_revoke=self.lost, on_lost=self.lost)
        until = time.monotonic() + self.chance.uniform(10, 60)
        try:
            while not failures:
                if stopped():
                    if done():
                        return
                elif time.monotonic() > until and self.number > 0:
                    return
                messages = consumer.consume(500, timeout=0.2)
                read = 0
                for message in messages:
                    error = message.error()
                    if error is None:
                        self.take(message)
                        read += 1
                    elif error.fatal():
                        failures.append(f"member {self.number}: {error}")
                if read:
                    self.commit(consumer)
        finally:
            consumer.close()

    def run(self):
        try:
            while not failures:
                self.session()
                if stopped():
                    return
        except Exception as failed:  # whatever it is, the run must end and say it
            failures.append(f"member {self.number}: {failed!r}")


threads = [threading.Thread(target=Member(number).run) for number in range(members)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    with open(f"{folder}/progress.new", "w", encoding="ascii") as file:
        file.write(str(sum(unread.values())))
    os.replace(f"{folder}/progress.new", f"{folder}/progress")
    time.sleep(0.2)
if failures:
    sys.exit("; ".join(failures[:5]))
print(json.dumps({partition: [unread[partition], committed.get(partition, 0)] for partition in unread}))
