"""Produces a file line by line, with confluent-kafka or kafka-python, and prints how many lines it sent.

usage: produce_lines.py confluent-kafka|kafka-python TOPIC FILE SECONDS

Begins no line after SECONDS; 0: sends them all.
"""

import os
import sys
import time

library, topic, path, seconds = sys.argv[1:]
bootstrap = os.environ["ZWEIG_BOOTSTRAP"]
failures = []


def with_confluent(lines):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20})

    def done(error, _message):
        if error is not None:
            failures.append(str(error))

    sent = 0
    for line in lines:
        while True:
            try:
                producer.produce(topic, line, on_delivery=done)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        sent += 1
    if producer.flush(180):
        failures.append("records left unsent")
    return sent


def with_kafka_python(lines):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=20, batch_size=65536)
    done = []
    sent = 0
    for line in lines:
        producer.send(topic, line).add_callback(done.append).add_errback(lambda error: failures.append(str(error)))
        sent += 1
    producer.flush(180)
    if len(done) + len(failures) != sent:
        failures.append(f"{sent - len(done)} records were not acknowledged")
    producer.close()
    return sent


def until(deadline, lines):
    for line in lines:
        if deadline is not None and time.monotonic() > deadline:
            return
        yield line


with open(path, "rb") as file:
    deadline = time.monotonic() + float(seconds) if float(seconds) else None
    content = until(deadline, (line.rstrip(b"\n") for line in file))
    sent = {"confluent-kafka": with_confluent, "kafka-python": with_kafka_python}[library](content)
if failures:
    sys.exit(f"{len(failures)} records failed: {failures[:3]}")
print(sent)
