// Runs scripts with the unmodified clients under Node. Reads one line of JSON per script, answers each with one.
//
//   node stomp_node.js NODE_MODULES
"use strict";

const path = require("path");
const readline = require("readline");
const vm = require("vm");

const modules = process.argv[2];
const load = (name) => require(path.join(modules, name));
const WebSocket = load("ws");
global.WebSocket = WebSocket; // as the guides of @stomp/stompjs and webstomp-client say

const libraries = {
  SockJS: load("sockjs-client"),
  StompJs: load("@stomp/stompjs"),
  Stomp: load("stompjs").Stomp || load("stompjs"),
  WebSocket,
  webstomp: load("webstomp-client"),
};

// The file defines what pages see as globals, so it is run as pages run it.
vm.runInThisContext(require("fs").readFileSync(path.join(__dirname, "stomp_client.js"), "utf8"));

async function answer(line) {
  const { id, target, script, argument } = JSON.parse(line);
  let outcome;
  try {
    outcome = { id, result: (await run(libraries, target, vm.runInThisContext(script), argument)) ?? null };
  } catch (error) {
    outcome = { id, error: String(error.stack || error) };
  }
  process.stdout.write(JSON.stringify(outcome) + "\n");
}

readline.createInterface({ input: process.stdin }).on("line", answer).on("close", () => process.exit(0));
