// Runs one connection of the unmodified client under Node and prints what came of it as one line of JSON.
//
//   node node_client.js NODE_MODULES URL TRANSPORT,... MESSAGES_FILE
//
// Echoes the messages of the file, then sends "goodbye" and waits until the server closes.
"use strict";

const fs = require("fs");
const path = require("path");
const { Connection } = require("./connection.js");

async function main(modules, url, transports, file) {
  const SockJS = require(path.join(modules, "sockjs-client"));
  const connection = new Connection(SockJS, url, { transports: transports.split(","), timeout: 10000 });
  const settled = await connection.settled;
  if (settled.close !== null) {
    return { version: SockJS.version, settled, echo: null, close: settled.close };
  }
  const echo = await connection.echo(JSON.parse(fs.readFileSync(file, "utf8")));
  connection.socket.send("goodbye");
  return { version: SockJS.version, settled, echo, close: await connection.closed() };
}

main(...process.argv.slice(2)).then((result) => {
  process.stdout.write(JSON.stringify(result) + "\n", () => process.exit(0));
});
