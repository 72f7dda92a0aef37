'use strict';
// sockjs-node with small answers and the cookie of load balancers: node node_server.js; prints its port
const http = require('http');
const sockjs = require('sockjs');

const echo = sockjs.createServer({ log: () => {}, response_limit: 4096, jsessionid: true });
echo.on('connection', (connection) => {
  connection.on('data', (message) => {
    if (message === 'farewell') {
      connection.write('last words');
      connection.close(4001, 'enough');
    } else {
      connection.write(message);
    }
  });
});

const server = http.createServer();
echo.installHandlers(server, { prefix: '/echo' });
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
