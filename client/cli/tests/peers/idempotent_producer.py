"""An idempotent producer of librdkafka that goes on through everything.

usage: idempotent_producer.py TOPIC PARTITIONS PROGRESS STOP

Sends 0, 1, 2, ... to each partition, at most 200 unanswered at a time, until the file STOP exists. Every 100 ms it
writes the number of acknowledged records to PROGRESS. At the end it prints, as JSON, the acknowledged records:
{"partition": [[number, offset], ...]}. A record that was given up is an error. The offset is null where librdkafka does not know
it: when a later batch is acknowledged, it takes those before it, whose answers were lost, for acknowledged too.
"""

import json
import os
import sys
import time

from confluent_kafka import KafkaException, Producer

topic, partitions, progress, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
producer = Producer(
    {
        "bootstrap.servers": os.environ["ZWEIG_BOOTSTRAP"],
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "message.timeout.ms": 180000,
        "retry.backoff.ms": 50,
        "retry.backoff.max.ms": 500,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 5000,
    }
)
acknowledged = {partition: [] for partition in range(partitions)}
failures = []
waiting = 0


def done(error, message):
    global waiting
    waiting -= 1
    if error is not None:
        failures.append(f"partition {message.partition()}: {message.value()!r}: {error}")
    else:
        acknowledged[message.partition()].append([int(message.value()), message.offset()])


def report():
    with open(progress + ".new", "w", encoding="ascii") as file:
        file.write(str(sum(len(numbers) for numbers in acknowledged.values())))
    os.replace(progress + ".new", progress)


number, reported = 0, 0.0
while not os.path.exists(stop) and not failures:
    if waiting < 200:
        for partition in range(partitions):
            producer.produce(topic, str(number).encode(), partition=partition, on_delivery=done)
            waiting += 1
        number += 1
    producer.poll(0.002)
    if time.monotonic() - reported > 0.1:
        reported = time.monotonic()
        report()
try:
    left = producer.flush(180)
except KafkaException as failed:
    sys.exit(f"flush: {failed}")
report()
if failures or left:
    sys.exit(f"{left} unanswered; given up: {failures[:5]}")
json.dump(acknowledged, sys.stdout)
