"""python-engineio with asyncio, under aiohttp, whose websockets compress by default."""

import socket

import engineio
from aiohttp import web

import control

control.exit_with_parent()

arguments = control.arguments()
server = engineio.AsyncServer(async_mode="aiohttp", **control.engine_options(arguments))
sessions = control.Sessions()


@server.on("connect")
async def connect(sid, environ):
    sessions.connected(sid)


@server.on("message")
async def message(sid, data):
    for reply in sessions.replies(sid, data, server.transport(sid)):
        if reply is control.Close:
            server.start_background_task(server.disconnect, sid)
        else:
            await server.send(sid, reply)


@server.on("disconnect")
async def disconnect(sid, reason):
    sessions.disconnected(sid, reason)


app = web.Application()
server.attach(app)
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
control.announce_port(listener.getsockname()[1])
web.run_app(app, sock=listener, print=None, access_log=None)
