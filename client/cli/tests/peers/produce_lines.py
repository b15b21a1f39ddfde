"""Produces a file line by line, with confluent-kafka or kafka-python.

usage: produce_lines.py confluent-kafka|kafka-python TOPIC FILE
"""

import os
import sys

library, topic, path = sys.argv[1:]
bootstrap = os.environ["ZWEIG_BOOTSTRAP"]
failures = []


def with_confluent(lines):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20})

    def done(error, _message):
        if error is not None:
            failures.append(str(error))

    for line in lines:
        while True:
            try:
                producer.produce(topic, line, on_delivery=done)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(120):
        failures.append("records left unsent")


def with_kafka_python(lines):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=20, batch_size=65536)
    pending = [producer.send(topic, line) for line in lines]
    producer.flush(120)
    failures.extend(str(f.exception) for f in pending if not f.succeeded())
    producer.close()


with open(path, "rb") as file:
    content = (line.rstrip(b"\n") for line in file)
    {"confluent-kafka": with_confluent, "kafka-python": with_kafka_python}[library](content)
if failures:
    sys.exit(f"{len(failures)} records failed: {failures[:3]}")
