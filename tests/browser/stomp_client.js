// What a front end does with the unmodified @stomp/stompjs, with what a test wants to know of it. For pages and for
// Node alike: each test brings a script, an async function of (open, argument), whose result is compared in Python.
"use strict";

const NATIVE = "native";

// One client of @stomp/stompjs, as one tab of a browser has one.
class Tab {
  // settings: those of the library's Client, which decides about everything that is not given.
  constructor(libraries, url, carrier, settings) {
    this.connected = [];
    this.errors = [];
    this.closes = [];
    this.disconnects = [];
    this.unhandled = [];
    this.beats = 0;
    this.lost = 0;
    this.receipts = 0;
    this.waiting = [];
    this.client = new libraries.StompJs.Client({
      ...Tab.socket(libraries, url, carrier),
      reconnectDelay: 0,
      onConnect: (frame) => this.note(this.connected, frame.headers),
      onStompError: (frame) => this.note(this.errors, { headers: frame.headers, body: frame.body }),
      onDisconnect: (frame) => this.note(this.disconnects, frame.headers),
      onWebSocketClose: (event) => this.note(this.closes, { code: event.code, reason: event.reason }),
      onUnhandledMessage: (message) => this.note(this.unhandled, message.body),
      onHeartbeatReceived: () => {
        this.beats += 1;
        this.look();
      },
      onHeartbeatLost: () => {
        this.lost += 1;
      },
      ...settings,
    });
  }

  // How a front end names its server: a URL for a plain websocket, a factory for SockJS.
  static socket(libraries, url, carrier) {
    if (carrier === NATIVE) {
      return { brokerURL: url.replace(/^http/, "ws") };
    }
    return { webSocketFactory: () => new libraries.SockJS(url, null, { transports: [carrier], timeout: 10000 }) };
  }

  note(list, value) {
    list.push(value);
    this.look();
  }

  // Resolves once `condition` holds; rejects if the connection has ended for good before.
  until(condition) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ condition, resolve, reject });
      this.look();
    });
  }

  look() {
    const waiting = this.waiting;
    this.waiting = [];
    const isOver = this.closes.length > 0 && !this.client.reconnectDelay;
    for (const waiter of waiting) {
      if (waiter.condition()) {
        waiter.resolve();
      } else if (isOver) {
        waiter.reject(new Error(`closed: ${JSON.stringify([this.closes, this.errors])}; waiting: ${waiter.condition}`));
      } else {
        this.waiting.push(waiter);
      }
    }
  }

  // The headers of CONNECTED.
  async connect() {
    const before = this.connected.length;
    this.client.activate();
    await this.until(() => this.connected.length > before);
    return this.connected[before];
  }

  // The ERROR and the close event of a connection that the server ends.
  async ended() {
    await this.until(() => this.closes.length > 0);
    return { errors: this.errors, close: this.closes[0] };
  }

  // The headers of the RECEIPT for what `act` sends with the headers that it is given.
  async confirm(act) {
    this.receipts += 1;
    const receipt = `receipt-${this.receipts}`;
    let frame = null;
    this.client.watchForReceipt(receipt, (received) => {
      frame = received;
      this.look();
    });
    act({ receipt });
    await this.until(() => frame !== null);
    return frame.headers;
  }

  // An Inbox that gets what is published from now on; `act` is called with each message as it comes.
  async subscribe(destination, headers = {}, act = () => {}) {
    const inbox = new Inbox(this, act);
    await this.confirm((receipt) => {
      inbox.subscription = this.client.subscribe(destination, (message) => inbox.add(message), {
        ...headers,
        ...receipt,
      });
    });
    return inbox;
  }

  send(destination, body = "", headers = {}) {
    this.client.publish({ destination, body, headers });
  }

  // Returns when the server has worked on it.
  async publish(destination, body = "", headers = {}) {
    return this.confirm((receipt) => this.send(destination, body, { ...headers, ...receipt }));
  }

  sendJson(destination, value) {
    this.send(destination, JSON.stringify(value), { "content-type": "application/json" });
  }
}

// The messages of one subscription.
class Inbox {
  constructor(tab, act = () => {}) {
    this.tab = tab;
    this.act = act;
    this.messages = [];
    this.subscription = null;
  }

  add(message) {
    this.messages.push(message);
    this.act(message);
    this.tab.look();
  }

  get bodies() {
    return this.messages.map((message) => message.body);
  }

  // Resolves with the first `count` messages.
  async take(count) {
    await this.tab.until(() => this.messages.length >= count);
    return this.messages.slice(0, count);
  }

  async next() {
    return (await this.take(1))[0];
  }
}

// Runs one script. `open(settings)` makes a Tab (`open(settings, carrier)` one on another carrier), and `open.old(settings)` a client of an older library; all of them
// say goodbye at the end, however the script ends.
async function run(libraries, { url, carrier, library }, script, argument) {
  const tabs = [];
  const open = (settings = {}, otherCarrier = carrier) => {
    const tab = new Tab(libraries, url, otherCarrier, settings);
    tabs.push(tab);
    return tab;
  };
  open.old = (settings = {}, otherCarrier = carrier, otherLibrary = library) => {
    const tab = new OldTab(libraries, url, otherCarrier, otherLibrary, settings);
    tabs.push(tab);
    return tab;
  };
  open.libraries = libraries;
  open.url = url;
  try {
    return await script(open, argument);
  } finally {
    await Promise.all(tabs.map((tab) => tab.client.deactivate && tab.client.deactivate()));
    tabs.filter((tab) => tab.client.connected).forEach((tab) => tab.client.disconnect());
  }
}

// What differs between texts, short enough to be read; null if they are equal.
function difference(expected, received) {
  if (expected === received) {
    return null;
  }
  let at = 0;
  while (at < expected.length && expected[at] === received[at]) {
    at += 1;
  }
  const show = (text) => JSON.stringify(text.slice(Math.max(at - 5, 0), at + 15));
  return `${expected.length} and ${received.length} units, at ${at}: ${show(expected)} and ${show(received)}`;
}

// One client of webstomp-client, or of stomp.js 2.3.3: both have the same verbs, but not in the same order.
class OldTab {
  constructor(libraries, url, carrier, library, settings) {
    this.errors = [];
    this.receipts = [];
    this.waiting = [];
    this.closes = 0;
    this.beats = 0;
    this.isWebstomp = library === "webstomp";
    const socket =
      carrier === NATIVE
        ? new libraries.WebSocket(url.replace(/^http/, "ws"), ["v10.stomp", "v11.stomp", "v12.stomp"])
        : new libraries.SockJS(url, null, { transports: [carrier], timeout: 10000 });
    this.client = this.isWebstomp
      ? libraries.webstomp.over(socket, { debug: false, ...settings })
      : libraries.Stomp.over(socket);
    if (settings.heartbeat) {
      this.client.heartbeat = settings.heartbeat;
    }
    // Both recognize a beat in what they would print.
    this.client.debug = (text) => {
      this.beats += text === "<<< PONG" ? 1 : 0;
      this.look();
    };
    this.client.onreceipt = (frame) => {
      this.receipts.push(frame.headers["receipt-id"]);
      this.look();
    };
  }

  until(condition) {
    return Tab.prototype.until.call(this, condition);
  }

  look() {
    const waiting = this.waiting;
    this.waiting = [];
    for (const waiter of waiting) {
      if (waiter.condition()) {
        waiter.resolve();
      } else if (this.closes > 0) {
        waiter.reject(new Error(`closed: ${JSON.stringify(this.errors)}; waiting: ${waiter.condition}`));
      } else {
        this.waiting.push(waiter);
      }
    }
  }

  // Starts to connect; whatever the library tells its error callback is kept: ERROR frames, and the end.
  start(headers = {}, onConnected = () => {}) {
    this.client.connect(headers, onConnected, (error) => {
      if (error && error.command === "ERROR") {
        this.errors.push({ headers: error.headers, body: error.body });
      } else {
        this.closes += 1;
      }
      this.look();
    });
  }

  // The headers of CONNECTED.
  async connect(headers = {}) {
    let connected = null;
    this.start(headers, (frame) => {
      connected = frame.headers;
      this.look();
    });
    await this.until(() => connected !== null);
    return connected;
  }

  async confirm(receipt, act) {
    act({ receipt });
    await this.until(() => this.receipts.includes(receipt));
  }

  async subscribe(destination, headers = {}) {
    const inbox = new Inbox(this);
    await this.confirm(`receipt of ${destination} ${headers.id}`, (receipt) => {
      inbox.subscription = this.client.subscribe(destination, (message) => inbox.add(message), {
        ...headers,
        ...receipt,
      });
    });
    return inbox;
  }

  send(destination, body = "", headers = {}) {
    if (this.isWebstomp) {
      this.client.send(destination, body, headers);
    } else {
      this.client.send(destination, headers, body);
    }
  }
}

