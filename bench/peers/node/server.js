'use strict';
// sockjs-node, the reference server, on node's own HTTP server: node server.js PORT

const http = require('http');
const sockjs = require('sockjs');

const options = {
  sockjs_url: 'https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js',
  log: () => {},
};

const echo = sockjs.createServer(options);
echo.on('connection', (connection) => {
  connection.on('data', (message) => connection.write(message));
});

const connections = new Set();
const broadcast = sockjs.createServer(options);
broadcast.on('connection', (connection) => {
  connections.add(connection);
  connection.on('data', (message) => {
    for (const each of connections) {
      each.write(message);
    }
  });
  connection.on('close', () => connections.delete(connection));
});

const server = http.createServer();
echo.installHandlers(server, { prefix: '/echo' });
broadcast.installHandlers(server, { prefix: '/broadcast' });
server.listen(Number(process.argv[2]), '127.0.0.1', 1024);
