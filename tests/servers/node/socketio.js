// The official Socket.IO server, for the example `socketio_echo`. It binds, reports and ends as server.js does, see
// ../README.md.
"use strict";

const http = require("http");
const { Server } = require("socket.io");

// The test holds the other end of stdin; it closes even when the test is killed.
process.stdin.on("end", () => process.exit(0)).resume();

const report = (line) => process.stdout.write(line + "\n");
const event = (name, fields) => report(JSON.stringify({ event: name, ...fields }));

function onConnection(socket) {
  const namespace = socket.nsp.name;
  event("connect", { namespace });
  socket.on("echo", (data, acknowledge) => {
    socket.emit("echo", data);
    acknowledge("thank you");
    socket.emit("question", "how are you?", (answer) => event("answer", { namespace, answer }));
  });
  socket.on("disconnect", (reason) => event("disconnect", { namespace, reason }));
}

const httpServer = http.createServer();
const server = new Server(httpServer);
server.on("connection", onConnection);
server.of("/chat").on("connection", onConnection);
server.of("/closed").use((_socket, next) => next(new Error("members only")));

httpServer.listen(0, "127.0.0.1", () => report(`PORT ${httpServer.address().port}`));
