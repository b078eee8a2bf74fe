"""A slow and lossy line between two network namespaces, for tests/network/lossy.rs.

Makes the TUN devices `near` and `far`, says `ready`, and carries IPv4 packets from one to the other until its stdin
ends: each DELAY late, and of those with something that TCP must send again, LOSS dropped. Then it says how many:
`dropped <from near> <from far>`. A device may be moved to another namespace meanwhile.
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
    # No offload is asked for: the kernel cuts to the MTU and computes checksums.
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI))
    return fd


def segment(packet):
    """What names a TCP segment that is sent again when it is lost; None for anything else."""
    if packet[9] != TCP:
        return None
    start = (packet[0] & 0xF) * 4
    ports, sequence, _, offset, flags = struct.unpack_from("!IIIBB", packet, start)
    empty = start + (offset >> 4) * 4 == len(packet)
    return None if empty and not flags & SYN_OR_FIN else (ports, sequence)


class Way:
    """One direction."""

    def __init__(self, source, target, seed):
        self.source, self.target = source, target
        self.random = random.Random(seed)
        self.due = collections.deque()
        self.dropped = set()

    def lost(self, packet):
        lost = self.random.random() < LOSS
        what = segment(packet)
        # Once at most: how often the same one is lost again is luck, and decides whether a pong is in time.
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
