"""python-engineio with threads, under Werkzeug."""

import logging
import threading

import engineio
from werkzeug.serving import make_server

import control

control.exit_with_parent()
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request

arguments = control.arguments()
server = engineio.Server(async_mode="threading", **control.engine_options(arguments))
sessions = control.Sessions()
# By session: set while a poll waits for packets. By websocket, the writer polls as well.
polled = {}


def disconnect_when_polled(sid):
    """Packets are written by the poll that waits; when none does, the goodbye is lost: the next one is refused."""
    polled[sid].wait()
    server.disconnect(sid)


def watch_polls(sid):
    waiting = polled[sid] = threading.Event()
    poll = server.sockets[sid].poll

    def watched():
        waiting.set()
        try:
            return poll()
        finally:
            waiting.clear()

    server.sockets[sid].poll = watched


@server.on("connect")
def connect(sid, environ):
    watch_polls(sid)
    sessions.connected(sid)


@server.on("message")
def message(sid, data):
    for reply in sessions.replies(sid, data, server.transport(sid)):
        if reply is control.Close:
            # Not on this thread: by polling it never returns (it waits for a queue that nobody empties any more),
            # and the POST that brought the command would not be answered.
            server.start_background_task(disconnect_when_polled, sid)
        else:
            server.send(sid, reply)


@server.on("disconnect")
def disconnect(sid, reason):
    sessions.disconnected(sid, reason)


http = make_server("127.0.0.1", 0, engineio.WSGIApp(server, engineio_path=arguments.path), threaded=True)
http.daemon_threads = True
control.announce_port(http.server_port)
http.serve_forever()
