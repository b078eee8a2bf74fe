"""A slow and lossy line between two network namespaces, for tests/network/lossy.rs.

The script makes the TUN devices `near` and `far`, and prints `ready`. It then carries IPv4 packets between both devices
until its stdin ends. Each packet is late by DELAY. Of the segments that TCP sends again when they are lost, the share
LOSS is dropped. At the end the script prints their numbers: `dropped <from near> <from far>`. A device may be moved to
another namespace in the meantime.
"""

import collections
import fcntl
import os
import random
import select
import struct
import sys
import time

DELAY = 0.150
LOSS = 0.02
SEED = 1

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
TCP, SYN_OR_FIN = 6, 0x03


def device(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    # Without any offload the kernel splits packets at the MTU and computes checksums.
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI))
    return fd


def segment(packet):
    """The identity of a TCP segment that is sent again when it is lost; None for any other packet."""
    if packet[9] != TCP:
        return None
    start = (packet[0] & 0xF) * 4
    ports, sequence, _, offset, flags = struct.unpack_from("!IIIBB", packet, start)
    empty = start + (offset >> 4) * 4 == len(packet)
    return None if empty and not flags & SYN_OR_FIN else (ports, sequence)


class Way:
    """One direction of the line."""

    def __init__(self, source, target, seed):
        self.source, self.target = source, target
        self.random = random.Random(seed)
        self.due = collections.deque()
        self.dropped = set()

    def lost(self, packet):
        lost = self.random.random() < LOSS
        what = segment(packet)
        # A segment is dropped once at most. Repeated losses are luck, and would decide whether a pong is in time.
        if not lost or what is None or what in self.dropped:
            return False
        self.dropped.add(what)
        return True

    def read(self):
        while True:
            try:
                packet = os.read(self.source, 65536)
            except BlockingIOError:
                return
            if packet[0] >> 4 == 4 and not self.lost(packet):
                self.due.append((time.monotonic() + DELAY, packet))

    def write(self):
        while self.due and self.due[0][0] <= time.monotonic():
            os.write(self.target, self.due.popleft()[1])


def main():
    near, far = device(b"near"), device(b"far")
    ways = {near: Way(near, far, SEED), far: Way(far, near, SEED + 1)}
    print("ready", flush=True)
    while True:
        waiting = [way.due[0][0] for way in ways.values() if way.due]
        timeout = max(0, min(waiting) - time.monotonic()) if waiting else None
        readable, _, _ = select.select([sys.stdin, *ways], [], [], timeout)
        if sys.stdin in readable:
            break
        for fd in readable:
            ways[fd].read()
        for way in ways.values():
            way.write()
    print("dropped", len(ways[near].dropped), len(ways[far].dropped), flush=True)


main()
