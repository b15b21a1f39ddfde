"""Zweig's brokers beside those of Kafka 4, which has no ZooKeeper: all else is as in kafka.py."""

import kafka
from kraft import Kafka4

NAMES = kafka.NAMES


class Peer(kafka.Peer):
    """What `__main__` knows of this comparison."""

    cluster = Kafka4
    ensemble = "three controllers (KRaft) with the same options"
    sessions = f"when its session ends, of 9 s in Kafka (`broker.session.timeout.ms`), of 18 s in Zweig; {kafka.DISCONNECTED}"
