// One connection of the unmodified client, with what a test wants to know of it. For pages and for Node alike.
"use strict";

class Connection {
  // options: those of SockJS; transports is the white list.
  constructor(SockJS, url, options) {
    this.received = [];
    this.heartbeats = 0;
    this.close = null;
    this.waiting = [];
    this.socket = new SockJS(url, null, options);
    this.settled = new Promise((resolve) => {
      this.socket.onopen = () => resolve({ transport: this.socket.transport, close: null });
      this.socket.onclose = (event) => {
        this.close = { code: event.code, reason: event.reason, clean: event.wasClean };
        this.look();
        resolve({ transport: null, close: this.close });
      };
    });
    this.socket.onmessage = (event) => {
      this.received.push(event.data);
      this.look();
    };
    this.socket.onheartbeat = () => {
      this.heartbeats += 1;
    };
  }

  // Resolves once `condition` holds, or the connection is closed.
  until(condition) {
    return new Promise((resolve) => {
      this.waiting.push({ condition, resolve });
      this.look();
    });
  }

  look() {
    const isDone = (waiter) => this.close !== null || waiter.condition();
    const done = this.waiting.filter(isDone);
    this.waiting = this.waiting.filter((waiter) => !done.includes(waiter));
    done.forEach((waiter) => waiter.resolve());
  }

  async closed() {
    await this.until(() => false);
    return this.close;
  }

  // Sends one half, the other while the first comes back, then a last word, so that a message too many shows too.
  async echo(messages) {
    const start = this.received.length;
    const half = Math.floor(messages.length / 2);
    const send = (message) => this.socket.send(message);
    messages.slice(0, half).forEach(send);
    await this.until(() => this.received.length >= start + half / 2);
    messages.slice(half).forEach(send);
    await this.until(() => this.received.length >= start + messages.length);
    send("the last word");
    await this.until(() => this.received.length >= start + messages.length + 1);
    return this.compare([...messages, "the last word"], this.received.slice(start));
  }

  compare(expected, received) {
    let difference = null;
    for (let index = 0; index < Math.max(expected.length, received.length); index += 1) {
      if (expected[index] !== received[index]) {
        const show = (text) => String(JSON.stringify(text)).slice(0, 200);
        difference = { index, expected: show(expected[index]), received: show(received[index]) };
        break;
      }
    }
    return { transport: this.socket.transport, count: received.length, difference, close: this.close };
  }
}

if (typeof module === "object") {
  module.exports = { Connection };
}
