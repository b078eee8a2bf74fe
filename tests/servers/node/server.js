// The official JavaScript server. The protocol is the same for all servers of tests/interop, see ../README.md.
"use strict";

const http = require("http");
const { parseArgs } = require("util");

// The test holds the other end of stdin; it closes even when the test is killed.
process.stdin.on("end", () => process.exit(0)).resume();

const report = (line) => process.stdout.write(line + "\n");
const event = (name, fields) => report(JSON.stringify({ event: name, ...fields }));

const { values: options } = parseArgs({
  options: {
    "ping-interval": { type: "string", default: "25000" },
    "ping-timeout": { type: "string", default: "20000" },
    "max-payload": { type: "string", default: "1000000" },
    transports: { type: "string", default: "polling,websocket" },
    socket: { type: "string" },
    path: { type: "string", default: "engine.io" },
    "no-trailing-slash": { type: "boolean", default: false },
    engine: { type: "string", default: "engine.io" },
  },
});
const engine = require(options.engine);

// `size` bytes of `unit`, again and again.
const pattern = (unit, size) => Buffer.alloc(size, unit);

const commands = {
  burst(socket, argument) {
    const space = argument.indexOf(" ");
    const [count, prefix] = [Number(argument.slice(0, space)), argument.slice(space + 1)];
    for (let i = 0; i < count; i++) socket.send(`${prefix}${i}`);
  },
  close(socket) {
    // Not at once: by polling it would cut the POST that brought the command, which is a transport error as well.
    setImmediate(() => socket.close());
  },
  big(socket, size) {
    socket.send(pattern("0123456789", Number(size)).toString());
  },
  bigbin(socket, size) {
    socket.send(pattern(Uint8Array.from(Array(251).keys()), Number(size)));
  },
  json(socket, argument) {
    socket.send(JSON.stringify(JSON.parse(argument)));
  },
  transport(socket) {
    socket.send(socket.transport.name);
  },
  quiet(socket, _argument, session) {
    session.quiet = true;
  },
};

function onMessage(socket, session, data) {
  if (typeof data === "string" && data.startsWith("cmd:")) {
    const [, command, argument] = /^cmd:(\w+) ?(.*)$/s.exec(data);
    commands[command](socket, argument, session);
    return;
  }
  session.received += 1;
  if (!session.quiet) socket.send(data);
}

const httpServer = http.createServer();
const server = engine.attach(httpServer, {
  pingInterval: Number(options["ping-interval"]),
  pingTimeout: Number(options["ping-timeout"]),
  maxHttpBufferSize: Number(options["max-payload"]),
  transports: options.transports.split(","),
  path: `/${options.path}`,
  addTrailingSlash: !options["no-trailing-slash"],
  // Off by default. It takes a client that offers it, too.
  perMessageDeflate: { threshold: 1024 },
});

server.on("connection", (socket) => {
  const sid = socket.id;
  const session = { received: 0, quiet: false };
  event("connect", { sid });
  socket.on("message", (data) => onMessage(socket, session, data));
  socket.on("heartbeat", () => event("pong", { sid }));
  socket.on("close", (reason) => event("disconnect", { sid, reason, received: session.received }));
});

if (options.socket) {
  httpServer.listen(options.socket, () => report("PORT 0"));
} else {
  httpServer.listen(0, "127.0.0.1", () => report(`PORT ${httpServer.address().port}`));
}
