"""What the two Python servers share: the options, the events on stdout and the commands of a test.

The protocol is the same for all servers of tests/interop.rs, see ../README.md.
"""

import argparse
import json
import logging
import os
import sys
import threading

_stdout = threading.Lock()


def report(line):
    """Write one line for the test; the handlers of the threading server run on many threads."""
    with _stdout:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def event(name, **fields):
    report(json.dumps({"event": name, **fields}))


def announce_port(port):
    report(f"PORT {port}")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ping-interval", type=int, default=25_000, help="milliseconds")
    parser.add_argument("--ping-timeout", type=int, default=20_000, help="milliseconds")
    parser.add_argument("--max-payload", type=int, default=1_000_000, help="bytes")
    parser.add_argument("--transports", default="polling,websocket")
    parser.add_argument("--path", default="engine.io")
    parser.add_argument("--socket", help="path of a Unix socket, of uvicorn")
    parser.add_argument("--keep-alive", type=int, default=5, help="seconds, of uvicorn")
    return parser.parse_args()


def engine_options(arguments):
    return {
        "ping_interval": arguments.ping_interval / 1000,
        "ping_timeout": arguments.ping_timeout / 1000,
        "max_http_buffer_size": arguments.max_payload,
        "transports": arguments.transports.split(","),
        # The default starts a thread (or a task) for each message, and they overtake each other.
        "async_handlers": False,
        "json": TextStaysText,
        "logger": _logger(),
    }


class TextStaysText:
    """The JSON codec of the server. By default every text that happens to be JSON is decoded, and an echo of
    `null`, `true` or `"x"` is not what was sent. A codec that decodes nothing keeps the text."""

    dumps = staticmethod(json.dumps)

    @staticmethod
    def loads(text):
        raise ValueError("left as text")


class _PongReporter(logging.Handler):
    """python-engineio tells nobody of a pong but its log."""

    def emit(self, record):
        if record.msg.startswith("%s: Received packet") and record.args[1] == "PONG":
            event("pong", sid=record.args[0])


def _logger():
    logger = logging.getLogger("interop")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_PongReporter())
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    logger.addHandler(errors)
    return logger


def exit_with_parent():
    """The test holds the other end of stdin; it closes even when the test is killed."""

    def watch():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Close:
    """In place of a reply: disconnect this client."""


class Sessions:
    """What the test may ask about each client."""

    def __init__(self):
        self._sessions = {}

    def connected(self, sid):
        self._sessions[sid] = {"received": 0, "quiet": False}
        event("connect", sid=sid)

    def disconnected(self, sid, reason):
        session = self._sessions.pop(sid)
        event("disconnect", sid=sid, reason=reason, received=session["received"])

    def replies(self, sid, data, transport):
        """The messages that answer `data`, in order; among them perhaps `Close`."""
        session = self._sessions[sid]
        if isinstance(data, str) and data.startswith("cmd:"):
            command, _, argument = data[len("cmd:"):].partition(" ")
            if command == "quiet":
                session["quiet"] = True
                return []
            return _command(command, argument, transport)
        session["received"] += 1
        return [] if session["quiet"] else [data]


def _command(command, argument, transport):
    if command == "burst":
        count, _, prefix = argument.partition(" ")
        return [f"{prefix}{i}" for i in range(int(count))]
    if command == "close":
        return [Close]
    if command == "big":
        return [pattern(b"0123456789", int(argument)).decode()]
    if command == "bigbin":
        return [pattern(bytes(range(251)), int(argument))]
    if command == "json":
        return [json.loads(argument)]  # a dict or a list: python-engineio writes the JSON
    if command == "transport":
        return [transport]
    raise ValueError(f"unknown command {command!r}")


def pattern(unit, size):
    return (unit * (size // len(unit) + 1))[:size]
