"""python-engineio with asyncio, under uvicorn."""

import asyncio
import socket

import engineio
import uvicorn

import control

control.exit_with_parent()

arguments = control.arguments()
server = engineio.AsyncServer(async_mode="asgi", **control.engine_options(arguments))
sessions = control.Sessions()
# By session: set while a poll waits for packets. By websocket, the writer polls as well.
polled = {}


async def disconnect_when_polled(sid):
    """Packets are written by the poll that waits; when none does, the goodbye is lost: the next one is refused."""
    await polled[sid].wait()
    await server.disconnect(sid)


def watch_polls(sid):
    waiting = polled[sid] = asyncio.Event()
    poll = server.sockets[sid].poll

    async def watched():
        waiting.set()
        try:
            return await poll()
        finally:
            waiting.clear()

    server.sockets[sid].poll = watched


@server.on("connect")
async def connect(sid, environ):
    watch_polls(sid)
    sessions.connected(sid)


@server.on("message")
async def message(sid, data):
    for reply in sessions.replies(sid, data, server.transport(sid)):
        if reply is control.Close:
            # Not here: it waits until the queue is written, and the POST that brought the command with it.
            server.start_background_task(disconnect_when_polled, sid)
        else:
            await server.send(sid, reply)


@server.on("disconnect")
async def disconnect(sid, reason):
    sessions.disconnected(sid, reason)


def listen():
    """Connections wait in the backlog until uvicorn accepts them, so the port is as good as open then."""
    if arguments.socket is None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        control.announce_port(listener.getsockname()[1])
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(arguments.socket)
        listener.listen(128)
        control.announce_port(0)
    return listener


listener = listen()
config = uvicorn.Config(
    engineio.ASGIApp(server, engineio_path=arguments.path),
    log_level="error",
    timeout_keep_alive=arguments.keep_alive,
    ws_max_size=64 * 1024 * 1024,
    # What `--uds` sets: with it, uvicorn binds the path itself unless it is given a socket.
    uds=arguments.socket,
)
uvicorn.Server(config).run(sockets=[listener])
