/* The load of bench.compare: all clients of one server, in one thread, so cheap that no server makes them the limit.
 *
 * Knows: sockets, HTTP/1.1, websockets, SockJS, STOMP and Socket.IO as a client speaks them; counting and timing.
 * Does not know: which server answers, what a result means.
 *
 * Run by bench/load.py as "load name=value ...", see read_options(). Writes one line of JSON: what it counted, or
 * {"error": ...} with what was wanted, what came, and on which connection.
 *
 * A client here is a session: over a websocket it has one link (a socket), over HTTP one for what it receives and one
 * for what it sends. Every message has the number of its sender and its own number in it. Order is guaranteed by every
 * protocol here, so a session always knows the exact bytes that must come next, and a message that was lost, changed,
 * repeated, reordered or meant for somebody else is found by comparing bytes. A run has the phases of enum phase.
 *
 * Spec: RFC 6455 (websocket), RFC 9112 (HTTP/1.1), sockjs-protocol 0.3.3, STOMP 1.2, Socket.IO protocol 5.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- What is to be done ---- */

enum kind { ECHO, FANOUT, CONNECT };
enum transport { WEBSOCKET, XHR_STREAMING, EVENTSOURCE, XHR };
enum wording { SOCKJS, PLAIN, SOCKETIO };

static const char *const KINDS[] = {"echo", "fanout", "connect", NULL};
static const char *const TRANSPORTS[] = {"websocket", "xhr_streaming", "eventsource", "xhr", NULL};
static const char *const WORDINGS[] = {"sockjs", "plain", "socketio", NULL};

static struct {
    enum kind kind;
    enum transport transport; /* of a publisher: always WEBSOCKET */
    enum wording wording;
    bool is_json, is_stomp;
    const char *path;
    int port, pid, core; /* core -1: the system chooses */
    int connections, window, size;
    int idle; /* sessions besides, that are opened and then say nothing; in STOMP each has a topic of its own */
    double seconds, warm_up, guard;
} options = {.path = "", .core = -1, .connections = 1, .window = 1, .size = 64, .seconds = 1, .guard = 10};

/* ---- Failure: one line of JSON, and the end ---- */

enum { SHOWN = 100 /* bytes of a wrong reply */ };

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *format, ...)
{
    char text[2000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fputs("{\"error\": \"", stdout);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            putchar('\\');
        putchar(*at < ' ' ? ' ' : *at);
    }
    puts("\"}");
    exit(1);
}

/* The beginning of what came, printable; valid until the third call from now. */
static const char *shown(const char *bytes, size_t size)
{
    static char texts[3][SHOWN * 4 + 4];
    static unsigned turn;
    char *text = texts[turn++ % 3], *to = text;
    for (size_t at = 0; at < size && at < SHOWN; at++) {
        if (bytes[at] >= ' ' && bytes[at] <= '~')
            *to++ = bytes[at];
        else
            to += sprintf(to, bytes[at] == '\n' ? "\\n" : bytes[at] == '\r' ? "\\r" : "\\x%02x", (uint8_t)bytes[at]);
    }
    strcpy(to, size > SHOWN ? "..." : "");
    return text;
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("no memory for %zu times %zu bytes", count, size);
    return memory;
}

/* ---- Clocks ---- */

static uint64_t now; /* ns, when the last bytes were read */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The first number in a file of /proc; 0 if the file is gone, as that of a thread may be. */
/* CPU time in ns: what was taken, and what somebody was ready to take but waited for a core. */
struct cpu_time {
    uint64_t taken, waited;
};

/* proc(5), /proc/pid/schedstat: time on the CPU, time in the run queue. */
static void add_schedstat(const char *path, struct cpu_time *sum)
{
    unsigned long long taken = 0, waited = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    if (fscanf(file, "%llu %llu", &taken, &waited) == 2) {
        sum->taken += taken;
        sum->waited += waited;
    }
    fclose(file);
}

/* That of a process, its threads and its descendants so far. */
static struct cpu_time process_time(int pid)
{
    char path[400];
    struct cpu_time sum = {0, 0};
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) {
        if (pid == options.pid)
            fail("the server's process %d is gone", pid);
        return sum;
    }
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.')
            continue;
        /* stat counts in ticks of 10 ms, schedstat in ns. */
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
        add_schedstat(path, &sum);
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", pid, task->d_name);
        FILE *children = fopen(path, "r");
        for (int child; children && fscanf(children, "%d", &child) == 1;) {
            struct cpu_time of_child = process_time(child);
            sum.taken += of_child.taken;
            sum.waited += of_child.waited;
        }
        if (children)
            fclose(children);
    }
    closedir(tasks);
    return sum;
}

/* ---- Latencies: a histogram whose buckets are at most 1/64 wide ---- */

enum { PARTS = 64, PARTS_BITS = 6, BUCKETS = PARTS * 60 };

static uint64_t histogram[BUCKETS];
static uint64_t total; /* messages or sessions counted */

/* Up to 64 ns a bucket for each; then 64 buckets for each power of two. */
static int bucket_of(uint64_t ns)
{
    if (ns < PARTS)
        return (int)ns;
    int shift = 63 - __builtin_clzll(ns) - PARTS_BITS;
    return (shift + 1) * PARTS + (int)((ns >> shift) - PARTS);
}

static double bucket_middle(int bucket)
{
    int shift = bucket / PARTS - 1;
    return shift < 0 ? bucket : ((double)(bucket % PARTS + PARTS) + 0.5) * (double)(1ull << shift);
}

static void record(uint64_t ns)
{
    histogram[bucket_of(ns)]++;
}

/* Microseconds that this part of all latencies stayed below. */
static double percentile(double part)
{
    uint64_t count = 0, below = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        count += histogram[bucket];
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        below += histogram[bucket];
        if (below && (double)below >= part * (double)count)
            return bucket_middle(bucket) / 1000;
    }
    return 0;
}

/* ---- Buffers ---- */

struct buffer {
    char *bytes;
    size_t start, end, room;
};

static size_t left_in(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static char *first_of(const struct buffer *buffer)
{
    return buffer->bytes + buffer->start;
}

/* Have room for more bytes behind the last. */
static char *reserve(struct buffer *buffer, size_t size)
{
    if (buffer->room - buffer->end < size && buffer->start) {
        memmove(buffer->bytes, first_of(buffer), left_in(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->room - buffer->end < size) {
        buffer->room = (buffer->end + size) * 2;
        buffer->bytes = realloc(buffer->bytes, buffer->room);
        if (!buffer->bytes)
            fail("no memory for %zu bytes", buffer->room);
    }
    return buffer->bytes + buffer->end;
}

static void append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (!size)
        return;
    memcpy(reserve(buffer, size), bytes, size);
    buffer->end += size;
}

static void append_text(struct buffer *buffer, const char *text)
{
    append(buffer, text, strlen(text));
}

static void consume(struct buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

static void empty(struct buffer *buffer)
{
    buffer->start = buffer->end = 0;
}

/* As a JSON string, the way servers write it too: our texts are ASCII without slashes, so only this much differs. */
static void append_quoted(struct buffer *buffer, const char *bytes, size_t size)
{
    append(buffer, "\"", 1);
    for (size_t at = 0; at < size; at++) {
        if (bytes[at] == '\n')
            append_text(buffer, "\\n");
        else if (bytes[at] == '\0')
            append_text(buffer, "\\u0000");
        else {
            if (bytes[at] == '"' || bytes[at] == '\\')
                append(buffer, "\\", 1);
            append(buffer, bytes + at, 1);
        }
    }
    append(buffer, "\"", 1);
}

/* ---- Texts: bytes that differ in a number only ---- */

enum { DIGITS = 10 };
static const char PLACE[] = "##########"; /* where the number belongs, while a text is built */

struct text {
    char *bytes;
    size_t size;
    char *digits;
    char mask[4]; /* of the bytes at digits; zero if the text is not masked */
    uint32_t number;
};

/* A text from what was built; the mask covers the bytes from payload on (RFC 6455, 5.3). */
static struct text make_text(struct buffer *built, size_t payload, const uint8_t mask[4])
{
    struct text text = {.bytes = built->bytes, .size = built->end, .number = UINT32_MAX};
    text.digits = memmem(text.bytes, text.size, PLACE, DIGITS);
    size_t first = (size_t)(text.digits - text.bytes);
    for (size_t at = 0; mask && at < 4; at++)
        text.mask[at] = (char)mask[(first - payload + at) % 4];
    for (size_t at = payload; mask && at < text.size; at++)
        text.bytes[at] ^= (char)mask[(at - payload) % 4];
    return text;
}

static void set_number(struct text *text, uint32_t number)
{
    if (text->number == number) /* often, as all subscribers get the same message */
        return;
    text->number = number;
    for (int at = DIGITS - 1; at >= 0; at--, number /= 10)
        text->digits[at] = (char)('0' + number % 10) ^ text->mask[at % 4];
}

enum { LEAST_IN_WORDS = 29 /* bytes of a message that says what its numbers are */ };

/* The message of a sender: options.size bytes, the number left open. */
static void append_message(struct buffer *buffer, int sender)
{
    char start[80];
    size_t first = buffer->end, size = (size_t)options.size;
    const char *form = options.is_json ? "{\"from\":\"%05d\",\"number\":\"%s\",\"words\":[\""
        : size < LEAST_IN_WORDS        ? "%05d %s"
                                       : "from %05d number %s ";
    snprintf(start, sizeof start, form, sender, PLACE);
    append_text(buffer, start);
    if (options.is_json) {
        while (buffer->end - first + 16 < size)
            append_text(buffer, "......\",\"");
        while (buffer->end - first + 3 < size)
            append(buffer, ".", 1);
        append_text(buffer, "\"]}");
    }
    while (buffer->end - first < size)
        append(buffer, ".", 1);
    if (buffer->end - first != size)
        fail("a message of %d bytes is too small to hold its number", options.size);
}

/* ---- Sessions and their links ---- */

enum part { HEAD, LENGTH, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, COMPLETE };

struct link { /* one socket */
    int fd;   /* -1: not connected */
    struct session *session;
    void (*on_bytes)(struct link *);
    void (*on_end)(struct link *); /* the server closed it; it still has its fd */
    struct buffer in, out;
    bool is_blocked; /* out waits for the socket */
    /* Of a websocket: */
    bool is_upgraded, is_leaving;
    /* Of HTTP: the answer that is coming in. */
    enum part part; /* COMPLETE also before the first request */
    int status;
    uint64_t left; /* bytes of the body or of the chunk */
    bool will_close, has_prelude;
    struct buffer body;
};

struct session {
    int number;
    bool is_open, is_ready;    /* is_ready: load may begin */
    bool is_subscribed;        /* STOMP */
    bool is_posting;           /* an xhr_send is not answered */
    struct link receiver;      /* a websocket, a stream, or what is polled */
    struct link sender;        /* xhr_send */
    char path[200];            /* of the session */
    struct buffer request;     /* what the receiver asks */
    struct buffer post;        /* the head of each xhr_send */
    struct text outgoing;      /* the next message, as it is sent */
    struct text *wanted;       /* the next message that must come: with quotes in SockJS, else as it is */
    uint32_t sent, received;
    uint32_t completed;        /* messages to be replaced by new ones */
    uint64_t started;          /* when it began to connect */
    uint64_t *times;           /* when a message was sent; by its number modulo window */
};

enum phase { OPENING, RUNNING, DRAINING, LEAVING };

static enum phase phase;
static struct session *sessions;
static int session_count, started_count, ready_count, left_count;
static struct session *publisher; /* of a fan-out: the first session */
static uint32_t *missing;         /* subscribers that a message has not reached; by its number modulo window */
static uint64_t progress;         /* when something was last received that counts */
static uint64_t refills;          /* how often new messages were sent, as others had come */
static int poll_fd;

static _Noreturn void wrong(
    const struct session *session, const char *wanted, size_t wanted_size, const char *got, size_t got_size)
{
    fail("connection %d: wanted '%s' but got '%s'", session->number, shown(wanted, wanted_size), shown(got, got_size));
}

static _Noreturn void unexpected(const struct session *session, const char *wanted, const char *got, size_t got_size)
{
    wrong(session, wanted, strlen(wanted), got, got_size);
}

static bool is_idle(const struct session *session)
{
    return session->number >= session_count - options.idle;
}

/* Whose messages a session receives. */
static struct session *source_of(struct session *session)
{
    return publisher && !is_idle(session) ? publisher : session;
}

/* What a session waits for, in words. */
static const char *awaited(struct session *session)
{
    static char text[300];
    uint32_t sent = source_of(session)->sent;
    if (session->receiver.is_leaving)
        return "the answer to its close frame";
    if (!session->receiver.is_upgraded && options.transport == WEBSOCKET)
        return "the answer to its handshake";
    if (!session->is_open)
        return "the open frame";
    if (!session->is_ready)
        return session->is_subscribed ? "the first message of its subscription" : "CONNECTED";
    if (session->received < sent) {
        set_number(session->wanted, session->received);
        snprintf(text, sizeof text, "'%s'", shown(session->wanted->bytes, session->wanted->size));
        return text;
    }
    return session->is_posting ? "the answer to xhr_send" : NULL;
}

/* ---- Links: connecting, reading, writing ---- */

static void watch(struct link *link, int act, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    if (epoll_ctl(poll_fd, act, link->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

/* A local address has 28,000 ports for clients, and each rests for a minute after it was used. So that opening
 * sessions all day does not run out of them, connections come from 250 addresses of the loopback in turn;
 * IP_BIND_ADDRESS_NO_PORT leaves the port to connect(), which may take any that is free for this server. */
static struct sockaddr_in next_local_address(void)
{
    static uint32_t turn;
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + turn++ % 250)};
}

static void open_link(struct link *link)
{
    int yes = 1;
    struct sockaddr_in local = next_local_address();
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)options.port)};
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(link->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (bind(link->fd, (struct sockaddr *)&local, sizeof local))
        fail("bind: %s", strerror(errno));
    if (connect(link->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("connection %d: connect: %s", link->session->number, strerror(errno));
    empty(&link->in);
    empty(&link->out);
    link->is_blocked = link->is_upgraded = link->is_leaving = link->will_close = false;
    link->part = COMPLETE;
    watch(link, EPOLL_CTL_ADD, EPOLLIN);
}

static void close_link(struct link *link)
{
    close(link->fd); /* leaves epoll as well */
    link->fd = -1;
}

static void flush(struct link *link)
{
    while (left_in(&link->out)) {
        ssize_t size = send(link->fd, first_of(&link->out), left_in(&link->out), MSG_NOSIGNAL);
        if (size < 0 && errno == EAGAIN) {
            if (!link->is_blocked)
                watch(link, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            link->is_blocked = true;
            return;
        }
        if (size < 0 && errno == ECONNREFUSED)
            fail("connection %d: %s", link->session->number, strerror(errno));
        if (size < 0) /* reading tells what happened, and whether it may */
            break;
        consume(&link->out, (size_t)size);
    }
    if (link->is_blocked)
        watch(link, EPOLL_CTL_MOD, EPOLLIN);
    link->is_blocked = false;
}

static void write_link(struct link *link, const void *bytes, size_t size)
{
    append(&link->out, bytes, size);
    if (!link->is_blocked)
        flush(link);
}

static void read_link(struct link *link)
{
    char *to = reserve(&link->in, 16384);
    ssize_t size = recv(link->fd, to, link->in.room - link->in.end, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size < 0 && errno != ECONNRESET)
        fail("connection %d: %s", link->session->number, strerror(errno));
    now = read_clock(CLOCK_MONOTONIC);
    if (size <= 0) {
        link->on_end(link);
        return;
    }
    link->in.end += (size_t)size;
    link->on_bytes(link);
}

static _Noreturn void ended_early(struct link *link)
{
    const char *what = awaited(link->session);
    fail("connection %d: the server closed it; wanted %s", link->session->number, what ? what : "it to stay");
}

/* ---- Messages come and go: what happens does not depend on how they travel ---- */

static void send_messages(struct session *session, uint32_t count);
static void leave(struct session *session);
static void start_session(struct session *session);
static void start_more(void);

/* Whatever is to be done when a session is open and, over STOMP, subscribed. */
static void on_ready(struct session *session)
{
    session->is_ready = true;
    progress = now;
    ready_count++;
    if (options.kind == CONNECT)
        leave(session);
    else if (phase == OPENING)
        start_more();
}

/* The next wanted message has come, as it should. */
static void on_message(struct session *session)
{
    uint32_t slot = session->received++ % (uint32_t)options.window;
    progress = now;
    if (!publisher) {
        total++;
        session->completed++;
        record(now - session->times[slot]);
    } else if (session != publisher) {
        total++;
        if (--missing[slot] == 0) {
            publisher->completed++;
            record(now - publisher->times[slot]);
        }
    }
}

/* Send as many messages as have come back, in one write. */
static void refill(struct session *session)
{
    struct session *source = source_of(session);
    bool is_http = !publisher && options.transport != WEBSOCKET;
    /* Over HTTP all that are in flight share a request, and the next waits for the end of all. */
    bool is_due = is_http ? !source->is_posting && source->completed == (uint32_t)options.window : source->completed;
    if (phase != RUNNING || !is_due)
        return;
    uint32_t count = source->completed;
    source->completed = 0;
    refills++;
    send_messages(source, count);
}

/* The text of the next message; fails if none is on its way. */
static const struct text *next_wanted(struct session *session, const char *got, size_t size)
{
    if (session->received == source_of(session)->sent)
        unexpected(session, "no message", got, size);
    set_number(session->wanted, session->received);
    return session->wanted;
}

static void take_message(struct session *session, const char *got, size_t size)
{
    const struct text *wanted = next_wanted(session, got, size);
    if (size != wanted->size || memcmp(got, wanted->bytes, size))
        wrong(session, wanted->bytes, wanted->size, got, size);
    on_message(session);
}

/* ---- STOMP, in SockJS strings ---- */

static const char PROBE[] = "probe";

static void send_frame(struct link *link, uint8_t opcode, const char *payload, size_t size);

/* Send a STOMP frame; the text lacks the NUL at its end, the array has it. */
static void send_stomp(struct session *session, const char *text)
{
    struct buffer payload = {0};
    append(&payload, "[", 1);
    append_quoted(&payload, text, strlen(text) + 1);
    append(&payload, "]", 1);
    send_frame(&session->receiver, 0x1, payload.bytes, payload.end);
    free(payload.bytes);
}

static const char *topic_of(const struct session *session)
{
    static char topic[50];
    const char *form = is_idle(session) ? "/topic/idle.%d" : publisher ? "/topic/all" : "/topic/echo.%d";
    snprintf(topic, sizeof topic, form, session->number);
    return topic;
}

static void send_probe(struct session *session)
{
    char text[200];
    snprintf(text, sizeof text, "SEND\ndestination:%s\n\n%s", topic_of(session), PROBE);
    send_stomp(session, text);
}

static void subscribe(struct session *session)
{
    char text[200];
    snprintf(text, sizeof text, "SUBSCRIBE\nid:0\ndestination:%s\n\n", topic_of(session));
    send_stomp(session, text);
    session->is_subscribed = true;
    if (session == source_of(session))
        send_probe(session);
}

/* Not every server tells when a subscription is in force (Spring's simple broker sends no receipts, and handles the
 * frames of a client in several threads). So messages are sent until one has reached every subscriber. */
static void probe_again(void)
{
    static uint64_t last;
    if (!options.is_stomp || now - last < 20000000)
        return;
    last = now;
    for (int at = 0; at < started_count; at++) {
        struct session *session = &sessions[at];
        bool is_due = session == publisher ? ready_count < started_count : !session->is_ready;
        if (session->is_subscribed && session == source_of(session) && is_due)
            send_probe(session);
    }
}

static bool is_line(const char *line, const char *end, const char *text)
{
    size_t size = strlen(text);
    return (size_t)(end - line) > size && !memcmp(line, text, size) && (line[size] == '\n' || line[size] == '\r');
}

/* One frame without its NUL. */
static void take_stomp_frame(struct session *session, char *frame, char *end)
{
    char *body = memmem(frame, (size_t)(end - frame), "\n\n", 2);
    char *other_body = memmem(frame, (size_t)(end - frame), "\n\r\n", 3);
    if (other_body && (!body || other_body < body))
        body = other_body + 1;
    if (!body)
        unexpected(session, "a STOMP frame", frame, (size_t)(end - frame));
    body += 2;
    if (is_line(frame, end, "CONNECTED") && !session->is_subscribed)
        subscribe(session);
    else if (!is_line(frame, end, "MESSAGE"))
        unexpected(session, "the STOMP frame MESSAGE", frame, (size_t)(end - frame));
    else if ((size_t)(end - body) != sizeof PROBE - 1 || memcmp(body, PROBE, sizeof PROBE - 1))
        take_message(session, body, (size_t)(end - body));
    else if (!session->is_ready)
        on_ready(session);
}

/* What a SockJS string holds: frames that end with NUL, and line ends between them as heart-beats (STOMP 1.2). */
static void take_stomp(struct session *session, char *at, char *end)
{
    while (at < end) {
        if (*at == '\n' || *at == '\r') {
            at++;
            continue;
        }
        char *nul = memchr(at, 0, (size_t)(end - at));
        if (!nul)
            unexpected(session, "NUL at the end of a STOMP frame", at, (size_t)(end - at));
        take_stomp_frame(session, at, nul);
        at = nul + 1;
    }
}

/* Write one character of a JSON string to *to; returns the first byte after it, or NULL if it is none. */
static const char *unescape(const char *at, const char *end, char **to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (*at != '\\') {
        *(*to)++ = *at;
        return at + 1;
    }
    const char *name = at + 1 < end && at[1] ? strchr(names, at[1]) : NULL;
    if (name) {
        *(*to)++ = values[name - names];
        return at + 2;
    }
    unsigned code;
    if (end - at < 6 || sscanf(at, "\\u%4x", &code) != 1)
        return NULL;
    *(*to)++ = code < 0x80 ? (char)code : '?'; /* nothing that is compared has other characters */
    return at + 6;
}

/* A JSON string with STOMP frames; returns the first byte after it. */
static const char *take_stomp_string(struct session *session, const char *start, const char *end)
{
    static struct buffer plain;
    empty(&plain);
    char *to = reserve(&plain, (size_t)(end - start));
    const char *at = start + 1;
    while (at && at < end && *at != '"')
        at = unescape(at, end, &to);
    if (*start != '"' || !at || at >= end)
        unexpected(session, "a JSON string", start, (size_t)(end - start));
    take_stomp(session, plain.bytes, to);
    return at + 1;
}

/* ---- SockJS frames ---- */

static void on_open(struct session *session)
{
    session->is_open = true;
    if (options.is_stomp)
        send_stomp(session, "CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n\n");
    else
        on_ready(session);
}

/* The messages of a["...","..."]: strictly so, as every server writes them. */
static void take_array(struct session *session, const char *frame, size_t size)
{
    const char *end = frame + size - 1, *at = frame + 1;
    if (size < 5 || *at != '[' || *end != ']')
        unexpected(session, "an array", frame, size);
    while (*at != ']') {
        at++; /* the bracket or a comma */
        size_t rest = (size_t)(end - at);
        if (options.is_stomp)
            at = take_stomp_string(session, at, end);
        else {
            const struct text *wanted = next_wanted(session, at, rest);
            if (rest < wanted->size || memcmp(at, wanted->bytes, wanted->size))
                wrong(session, wanted->bytes, wanted->size, at, rest);
            at += wanted->size;
            on_message(session);
        }
        if (at != end && *at != ',')
            unexpected(session, "a comma between two messages", at, (size_t)(end - at));
    }
}

static void take_sockjs(struct session *session, const char *frame, size_t size)
{
    if (size && frame[0] == 'a' && session->is_open)
        take_array(session, frame, size);
    else if (size == 1 && frame[0] == 'o' && !session->is_open)
        on_open(session);
    else if (size != 1 || frame[0] != 'h')
        unexpected(session, session->is_open ? "a frame of messages" : "the open frame", frame, size);
}

/* ---- Socket.IO packets, in Engine.IO ones: type digits, then JSON ---- */

static const char EVENT_START[] = "42[\"message\",";

static void take_socketio(struct session *session, const char *packet, size_t size)
{
    if (size && packet[0] == '2') /* Engine.IO asks whether we live */
        send_frame(&session->receiver, 0x1, "3", 1);
    else if (size && packet[0] == '0' && !session->is_open)
        send_frame(&session->receiver, 0x1, "40", 2);
    else if (size > 1 && !memcmp(packet, "40", 2) && !session->is_open)
        on_open(session);
    else
        take_message(session, packet, size);
}

/* ---- Websocket (RFC 6455) ---- */

/* One mask for all: forbidden to who talks to strangers (10.3), but the same work for a server. */
static uint8_t MASK[4];

static void append_frame(struct buffer *buffer, uint8_t opcode, const char *payload, size_t size)
{
    uint8_t head[10] = {0x80 | opcode, 0x80};
    size_t used = 2;
    int bytes = size < 126 ? 0 : size < 65536 ? 2 : 8; /* of a length that the second byte has no room for */
    head[1] |= (uint8_t)(bytes == 8 ? 127 : bytes == 2 ? 126 : size);
    while (bytes--)
        head[used++] = (uint8_t)((uint64_t)size >> 8 * bytes);
    append(buffer, head, used);
    append(buffer, MASK, 4);
    append(buffer, payload, size);
}

static void send_frame(struct link *link, uint8_t opcode, const char *payload, size_t size)
{
    struct buffer frame = {0};
    append_frame(&frame, opcode, payload, size);
    for (size_t at = 0; at < size; at++)
        frame.bytes[frame.end - size + at] ^= (char)MASK[at % 4];
    write_link(link, frame.bytes, frame.end);
    free(frame.bytes);
}

/* The key and its answer are those of RFC 6455, 1.3, so that the answer can be checked without SHA-1. */
static void send_handshake(struct session *session)
{
    char request[600];
    const char *suffix[] = {[PLAIN] = "", [SOCKJS] = "/websocket", [SOCKETIO] = "/?EIO=4&transport=websocket"};
    int size = snprintf(request, sizeof request,
        "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        session->path, suffix[options.wording], options.port);
    write_link(&session->receiver, request, (size_t)size);
}

enum { MOST_HEAD = 8192 /* bytes of the head of an answer */ };

/* The end of the head of an answer, behind the line end of its last header; NULL if it has not come. */
static char *end_of_head(struct link *link)
{
    char *head = first_of(&link->in);
    char *end = memmem(head, left_in(&link->in), "\r\n\r\n", 4);
    if (end ? end - head > MOST_HEAD : left_in(&link->in) > MOST_HEAD)
        unexpected(link->session, "a shorter head", head, left_in(&link->in));
    return end ? end + 2 : NULL;
}

static bool take_upgrade(struct link *link)
{
    static const char accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", status[] = "HTTP/1.1 101 ";
    char *head = first_of(&link->in), *end = end_of_head(link);
    if (!end)
        return false;
    size_t size = (size_t)(end - head) + 2;
    if (strncmp(head, status, sizeof status - 1))
        unexpected(link->session, status, head, size);
    if (!memmem(head, size, accept, sizeof accept - 1))
        unexpected(link->session, accept, head, size);
    consume(&link->in, size);
    link->is_upgraded = true;
    if (options.wording == PLAIN)
        on_open(link->session);
    return true;
}

static void on_left(struct session *session);

/* One frame of the server, if it is there (5.2); false if more bytes are needed. */
static bool take_frame(struct link *link)
{
    const uint8_t *frame = (const uint8_t *)first_of(&link->in);
    size_t there = left_in(&link->in), head = 2;
    if (there < 2)
        return false;
    uint64_t size = frame[1];
    if (size == 126 || size == 127) {
        size_t bytes = size == 126 ? 2 : 8;
        if (there < head + bytes)
            return false;
        for (size = 0; bytes; bytes--)
            size = size << 8 | frame[head++];
    } else if (size > 127)
        unexpected(link->session, "a frame without a mask", (const char *)frame, there);
    if (there - head < size)
        return false;
    const char *payload = (const char *)frame + head;
    consume(&link->in, head + size); /* the bytes stay where they are until more are read */
    switch (frame[0]) {
    case 0x81: /* text, in one frame */
        if (options.wording == SOCKJS)
            take_sockjs(link->session, payload, size);
        else if (options.wording == SOCKETIO)
            take_socketio(link->session, payload, size);
        else
            take_message(link->session, payload, size);
        return true;
    case 0x89:
        send_frame(link, 0xA, payload, size);
        return true;
    case 0x8A:
        return true;
    case 0x88:
        if (!link->is_leaving)
            ended_early(link);
        on_left(link->session);
        return false;
    default:
        unexpected(link->session, "a whole text message", (const char *)frame, there);
    }
}

static void on_websocket_bytes(struct link *link)
{
    if (!link->is_upgraded && !take_upgrade(link))
        return;
    while (take_frame(link))
        ;
    if (link->fd >= 0)
        refill(link->session);
}

static void on_websocket_end(struct link *link)
{
    if (!link->is_leaving)
        ended_early(link);
    on_left(link->session);
}

/* Say goodbye and wait for the answer, as browsers do (7.1.1). Who closes at once has the server's answer meet
 * a closed socket, which resets the connection, and that is an error to some servers. */
static void leave_websocket(struct session *session)
{
    session->receiver.is_leaving = true;
    send_frame(&session->receiver, 0x8, "\x03\xe8", 2);
}

/* ---- HTTP (RFC 9112) ---- */

static void ask(struct link *link, const char *request, size_t size)
{
    if (link->fd >= 0 && link->will_close)
        close_link(link);
    if (link->fd < 0)
        open_link(link);
    if (left_in(&link->in))
        unexpected(link->session, "the end of the answer", first_of(&link->in), left_in(&link->in));
    empty(&link->body);
    link->part = HEAD;
    link->has_prelude = false;
    write_link(link, request, size);
}

/* The head of an answer, up to the line end of its last header. */
static void take_head(struct link *link, const char *head, size_t size, int wanted_status)
{
    int minor;
    char text[MOST_HEAD + 3];
    memcpy(text, head, size);
    text[size] = 0;
    if (sscanf(text, "HTTP/1.%d %d", &minor, &link->status) != 2 || link->status != wanted_status) {
        char status[40];
        snprintf(status, sizeof status, "HTTP/1.1 %d", wanted_status);
        unexpected(link->session, status, head, size);
    }
    link->will_close = minor == 0;
    link->part = UNTIL_CLOSE;
    for (char *line = strchr(text, '\n'); line && line[1]; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, "Content-Length:", 15)) {
            link->left = strtoull(line + 15, NULL, 10);
            link->part = link->left ? LENGTH : COMPLETE;
        } else if (!strncasecmp(line, "Transfer-Encoding: chunked", 26))
            link->part = CHUNK_SIZE;
        else if (!strncasecmp(line, "Connection: close", 17))
            link->will_close = true;
        else if (!strncasecmp(line, "Connection: keep-alive", 22))
            link->will_close = false;
    }
    if (link->status == 204) /* 6.3: has no body, whatever the headers say */
        link->part = COMPLETE;
}

/* Take a line of the answer's frame; returns NULL if its end has not come. */
static char *take_line(struct link *link)
{
    char *line = first_of(&link->in);
    char *end = memmem(line, left_in(&link->in), "\r\n", 2);
    if (end)
        consume(&link->in, (size_t)(end - line) + 2);
    return end ? line : NULL;
}

/* Move what has come of the body, up to left bytes; true if that is all of them. */
static bool take_body(struct link *link)
{
    size_t size = left_in(&link->in) < link->left ? left_in(&link->in) : (size_t)link->left;
    append(&link->body, first_of(&link->in), size);
    consume(&link->in, size);
    link->left -= size;
    return !link->left;
}

/* Take one part of an answer; false if it has not come whole. */
static bool take_part(struct link *link, int wanted_status)
{
    char *line, *end;
    switch (link->part) {
    case HEAD:
        line = first_of(&link->in);
        end = end_of_head(link);
        if (!end)
            return false;
        take_head(link, line, (size_t)(end - line), wanted_status);
        consume(&link->in, (size_t)(end - line) + 2);
        return true;
    case LENGTH:
        if (!take_body(link))
            return false;
        link->part = COMPLETE;
        return true;
    case UNTIL_CLOSE:
        link->left = left_in(&link->in);
        take_body(link);
        return false;
    case CHUNK_SIZE: /* 7.1 */
        line = take_line(link);
        if (!line)
            return false;
        link->left = strtoull(line, &end, 16);
        if (end == line || (*end != '\r' && *end != ';'))
            unexpected(link->session, "the size of a chunk", line, strcspn(line, "\r"));
        link->part = link->left ? CHUNK : TRAILER;
        return true;
    case CHUNK:
        if (!take_body(link))
            return false;
        link->part = CHUNK_END;
        return true;
    case CHUNK_END:
    case TRAILER:
        line = take_line(link);
        if (!line)
            return false;
        if (link->part == TRAILER && *line != '\r')
            return true;
        if (*line != '\r')
            unexpected(link->session, "the end of a chunk", line, strcspn(line, "\r"));
        link->part = link->part == TRAILER ? COMPLETE : CHUNK_SIZE;
        return true;
    case COMPLETE:
        return false;
    }
    return false;
}

/* Read on; true if the answer is complete. */
static bool take_answer(struct link *link, int wanted_status)
{
    if (link->part == COMPLETE)
        unexpected(link->session, "no answer", first_of(&link->in), left_in(&link->in));
    while (take_part(link, wanted_status))
        ;
    return link->part == COMPLETE;
}

/* An answer may end so, and an idle connection may be closed. */
static bool may_end(struct link *link)
{
    link->will_close = true;
    return link->part == UNTIL_CLOSE || (link->part == COMPLETE && !left_in(&link->in));
}

/* ---- What sessions receive over HTTP (sockjs-protocol 0.3.3, "HTTP polling and streaming") ---- */

static void ask_receiver(struct session *session)
{
    ask(&session->receiver, session->request.bytes, session->request.end);
}

static size_t prelude(const char **bytes)
{
    static char holds[2049];
    if (options.transport == EVENTSOURCE) {
        *bytes = "\r\n";
        return 2;
    }
    memset(holds, 'h', sizeof holds - 1);
    holds[sizeof holds - 1] = '\n';
    *bytes = holds;
    return sizeof holds;
}

static bool take_prelude(struct link *link)
{
    const char *wanted;
    size_t size = prelude(&wanted);
    if (left_in(&link->body) < size)
        return false;
    if (memcmp(first_of(&link->body), wanted, size))
        wrong(link->session, wanted, size, first_of(&link->body), left_in(&link->body));
    consume(&link->body, size);
    return true;
}

/* The frames in the body so far: each a line, for EventSource an event of one line. */
static void take_stream(struct link *link)
{
    const char *before = options.transport == EVENTSOURCE ? "data: " : "";
    const char *after = options.transport == EVENTSOURCE ? "\r\n\r\n" : "\n";
    size_t before_size = strlen(before), after_size = strlen(after);
    if (!link->has_prelude)
        link->has_prelude = take_prelude(link);
    while (link->has_prelude && left_in(&link->body)) {
        char *frame = first_of(&link->body);
        char *end = memmem(frame, left_in(&link->body), after, after_size);
        if (!end)
            return;
        if ((size_t)(end - frame) < before_size || memcmp(frame, before, before_size))
            unexpected(link->session, before, frame, left_in(&link->body));
        take_sockjs(link->session, frame + before_size, (size_t)(end - frame) - before_size);
        consume(&link->body, (size_t)(end - frame) + after_size);
    }
}

/* A stream ends after some 128 KiB (the response limit); then the client asks for the next. */
static void on_stream_complete(struct link *link)
{
    if (!link->has_prelude || left_in(&link->body))
        unexpected(link->session, "whole frames in a stream", first_of(&link->body), left_in(&link->body));
    ask_receiver(link->session);
}

static void on_stream_bytes(struct link *link)
{
    bool is_complete = take_answer(link, 200);
    take_stream(link);
    if (is_complete)
        on_stream_complete(link);
    refill(link->session);
}

static void on_stream_end(struct link *link)
{
    if (!may_end(link))
        ended_early(link);
    on_stream_complete(link);
}

static void on_poll_complete(struct link *link)
{
    struct session *session = link->session;
    const char *frame = first_of(&link->body);
    size_t size = left_in(&link->body);
    if (!size || frame[size - 1] != '\n')
        unexpected(session, "a frame and a line end", frame, size);
    take_sockjs(session, frame, size - 1);
    if (options.kind == CONNECT)
        return; /* what the frame opened is left by now */
    ask_receiver(session);
    refill(session);
}

static void on_poll_bytes(struct link *link)
{
    if (take_answer(link, 200))
        on_poll_complete(link);
}

static void on_poll_end(struct link *link)
{
    bool is_answer = link->part == UNTIL_CLOSE;
    if (!may_end(link))
        ended_early(link);
    if (is_answer)
        on_poll_complete(link);
    else
        close_link(link);
}

/* ---- What sessions send over HTTP ---- */

static void on_sender_bytes(struct link *link)
{
    if (!take_answer(link, 204))
        return;
    link->session->is_posting = false;
    progress = now;
    refill(link->session);
}

static void on_sender_end(struct link *link)
{
    if (!may_end(link))
        ended_early(link);
    close_link(link);
}

/* ---- Sending messages ---- */

/* The next messages in one write: frames of a websocket, or one xhr_send with an array of them all. */
static void send_messages(struct session *session, uint32_t count)
{
    static struct buffer batch;
    bool is_post = session->receiver.on_bytes != on_websocket_bytes;
    uint64_t time = read_clock(CLOCK_MONOTONIC);
    empty(&batch);
    if (is_post)
        append(&batch, session->post.bytes, session->post.end);
    for (uint32_t turn = 0; turn < count; turn++) {
        uint32_t slot = session->sent % (uint32_t)options.window;
        set_number(&session->outgoing, session->sent++);
        session->times[slot] = time;
        if (publisher)
            missing[slot] = (uint32_t)options.connections;
        if (is_post)
            append(&batch, turn ? "," : "[", 1);
        append(&batch, session->outgoing.bytes, session->outgoing.size);
    }
    if (!is_post) {
        write_link(&session->receiver, batch.bytes, batch.end);
        return;
    }
    append(&batch, "]", 1);
    session->is_posting = true;
    ask(&session->sender, batch.bytes, batch.end);
}

/* The message of a session as it is sent: in a STOMP frame, quoted, in a websocket frame. */
static struct text outgoing_text(struct session *session, bool is_websocket)
{
    struct buffer message = {0}, payload = {0}, frame = {0};
    if (options.is_stomp) {
        append_text(&message, "SEND\ndestination:");
        append_text(&message, topic_of(session));
        append_text(&message, "\n\n");
    }
    append_message(&message, session->number);
    if (options.is_stomp)
        append(&message, "", 1);
    if (is_websocket)
        append_text(&payload, options.wording == SOCKJS ? "[" : options.wording == SOCKETIO ? EVENT_START : "");
    if (options.wording == PLAIN)
        append(&payload, message.bytes, message.end);
    else
        append_quoted(&payload, message.bytes, message.end);
    if (is_websocket && options.wording != PLAIN)
        append(&payload, "]", 1);
    free(message.bytes);
    if (!is_websocket)
        return make_text(&payload, 0, NULL);
    append_frame(&frame, 0x1, payload.bytes, payload.end);
    free(payload.bytes);
    return make_text(&frame, frame.end - payload.end, MASK);
}

/* The message of a session as it is received. */
static struct text *wanted_text(const struct session *session)
{
    struct text *text = allocate(1, sizeof *text);
    struct buffer message = {0}, quoted = {0};
    append_message(&message, session->number);
    if (options.wording == PLAIN || options.is_stomp) {
        *text = make_text(&message, 0, NULL);
        return text;
    }
    append_text(&quoted, options.wording == SOCKETIO ? EVENT_START : "");
    append_quoted(&quoted, message.bytes, message.end);
    append_text(&quoted, options.wording == SOCKETIO ? "]" : "");
    free(message.bytes);
    *text = make_text(&quoted, 0, NULL);
    return text;
}

/* ---- The life of a session ---- */

static void prepare_session(struct session *session, int number)
{
    bool is_websocket = options.transport == WEBSOCKET || session == publisher;
    session->number = number;
    session->receiver = (struct link){.fd = -1, .session = session, .part = COMPLETE};
    session->sender = session->receiver;
    session->sender.on_bytes = on_sender_bytes;
    session->sender.on_end = on_sender_end;
    bool is_stream = options.transport == XHR_STREAMING || options.transport == EVENTSOURCE;
    session->receiver.on_bytes = is_websocket ? on_websocket_bytes : is_stream ? on_stream_bytes : on_poll_bytes;
    session->receiver.on_end = is_websocket ? on_websocket_end : is_stream ? on_stream_end : on_poll_end;
    if (options.kind == CONNECT || is_idle(session))
        return;
    session->wanted = publisher && session != publisher ? publisher->wanted : wanted_text(session);
    if (publisher && session != publisher)
        return; /* it sends nothing */
    session->outgoing = outgoing_text(session, is_websocket);
    session->times = allocate((size_t)options.window, sizeof *session->times);
}

/* A new id for the session, and the requests that have it in them. */
static void name_session(struct session *session)
{
    static uint32_t run, turn;
    char head[600];
    if (!run && getrandom(&run, sizeof run, 0) != sizeof run)
        fail("getrandom: %s", strerror(errno));
    if (options.wording == SOCKJS)
        snprintf(session->path, sizeof session->path, "%s/000/load%08x%08x", options.path, run, turn++);
    else
        snprintf(session->path, sizeof session->path, "%s", options.path);
    empty(&session->request);
    snprintf(head, sizeof head, "%s %s/%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
        options.transport == EVENTSOURCE ? "GET" : "POST", session->path, TRANSPORTS[options.transport], options.port,
        options.transport == EVENTSOURCE ? "Accept: text/event-stream\r\n" : "Content-Length: 0\r\n");
    append_text(&session->request, head);
    empty(&session->post);
    snprintf(head, sizeof head,
        "POST %s/xhr_send HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
        session->path, options.port, (size_t)options.window * (session->outgoing.size + 1) + 1);
    append_text(&session->post, head);
}

static void start_session(struct session *session)
{
    name_session(session);
    session->is_open = session->is_ready = false;
    session->started = read_clock(CLOCK_MONOTONIC);
    if (session->receiver.on_bytes != on_websocket_bytes) {
        ask_receiver(session);
        return;
    }
    open_link(&session->receiver);
    send_handshake(session);
}

/* Not all at once, as the queue of a listening socket is short (128 in aiohttp). */
static void start_more(void)
{
    if (publisher && !publisher->is_ready && started_count)
        return; /* it must be there first, as it sends the probes */
    while (started_count < session_count && started_count - ready_count < 32) {
        start_session(&sessions[started_count++]);
        if (publisher && started_count == 1)
            return;
    }
}

/* For CONNECT: a session was opened, which is all that it was for. */
static void leave(struct session *session)
{
    record(now - session->started);
    total++;
    if (session->receiver.on_bytes == on_websocket_bytes)
        leave_websocket(session);
    else
        on_left(session);
}

static void on_left(struct session *session)
{
    progress = now;
    if (session->receiver.on_bytes == on_websocket_bytes)
        close_link(&session->receiver);
    if (options.kind == CONNECT && phase == RUNNING)
        start_session(session);
    else
        left_count++;
}

/* ---- The run ---- */

static void check_guard(void)
{
    now = read_clock(CLOCK_MONOTONIC);
    if ((double)(now - progress) < options.guard * 1e9)
        return;
    for (int at = 0; at < started_count; at++) {
        const char *what = awaited(&sessions[at]);
        if (what)
            fail("connection %d: nothing came for %g seconds; wanted %s", at, options.guard, what);
    }
    fail("nothing came for %g seconds", options.guard);
}

static void pump(void)
{
    struct epoll_event events[128];
    int count = epoll_wait(poll_fd, events, 128, 10);
    for (int at = 0; at < count; at++) {
        struct link *link = events[at].data.ptr;
        if (link->fd >= 0 && events[at].events & EPOLLOUT)
            flush(link);
        if (link->fd >= 0 && events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_link(link);
    }
    check_guard();
    if (phase == OPENING)
        probe_again();
}

static bool is_drained(void)
{
    if (options.kind == CONNECT)
        return left_count == session_count;
    for (int at = 0; at < session_count; at++) {
        if (sessions[at].received < source_of(&sessions[at])->sent || sessions[at].is_posting)
            return false;
    }
    return true;
}

static void open_all(void)
{
    now = progress = read_clock(CLOCK_MONOTONIC);
    if (options.kind == CONNECT) {
        phase = RUNNING;
        for (; started_count < session_count; started_count++)
            start_session(&sessions[started_count]);
        return;
    }
    start_more();
    while (ready_count < session_count)
        pump();
    phase = RUNNING;
    for (int at = 0; at < (publisher ? 1 : options.connections); at++)
        send_messages(&sessions[at], (uint32_t)options.window);
}

/* Have the load run for so long; returns the ns that it really took. A fan-out may deliver all that is in flight at
 * once and then nothing for a while, so it runs on until messages are with all: whole rounds are counted. */
static uint64_t run_for(double seconds)
{
    uint64_t start = read_clock(CLOCK_MONOTONIC), end = start + (uint64_t)(seconds * 1e9);
    do
        pump();
    while (now < end);
    for (uint64_t before = refills; publisher && refills == before;)
        pump();
    return now - start;
}

static void count(void)
{
    memset(histogram, 0, sizeof histogram);
    total = 0;
    struct cpu_time before = process_time(options.pid);
    uint64_t load = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t elapsed = run_for(options.seconds);
    uint64_t counted = total;
    load = read_clock(CLOCK_PROCESS_CPUTIME_ID) - load;
    struct cpu_time after = process_time(options.pid);
    double p50 = percentile(0.5), p99 = percentile(0.99);
    /* Nothing is told before the end: what is still in flight may show that something was lost. */
    phase = DRAINING;
    while (!is_drained())
        pump();
    phase = LEAVING;
    for (int at = 0; at < session_count && options.kind != CONNECT; at++) {
        if (sessions[at].receiver.on_bytes == on_websocket_bytes)
            leave_websocket(&sessions[at]);
        else
            left_count++;
    }
    while (left_count < session_count)
        pump();
    printf("{\"count\": %llu, \"seconds\": %.9f, \"p50\": %.3f, \"p99\": %.3f, ",
        (unsigned long long)counted, (double)elapsed / 1e9, p50, p99);
    printf("\"load_seconds\": %.9f, \"server_seconds\": %.9f, \"server_waited\": %.9f}\n", (double)load / 1e9,
        (double)(after.taken - before.taken) / 1e9, (double)(after.waited - before.waited) / 1e9);
}

/* ---- The command ---- */

static int place_in(const char *const names[], const char *name, const char *what)
{
    for (int at = 0; names[at]; at++)
        if (!strcmp(names[at], name))
            return at;
    fail("no such %s: %s", what, name);
}

static void read_option(const char *name, const char *value)
{
    const struct { const char *name; int *number; } numbers[] = {
        {"port", &options.port}, {"pid", &options.pid}, {"core", &options.core}, {"connections", &options.connections},
        {"window", &options.window}, {"size", &options.size}, {"idle", &options.idle}};
    const struct { const char *name; double *number; } seconds[] = {
        {"seconds", &options.seconds}, {"warm_up", &options.warm_up}, {"guard", &options.guard}};
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++)
        if (!strcmp(name, numbers[at].name)) {
            *numbers[at].number = atoi(value);
            return;
        }
    for (size_t at = 0; at < sizeof seconds / sizeof *seconds; at++)
        if (!strcmp(name, seconds[at].name)) {
            *seconds[at].number = atof(value);
            return;
        }
    if (!strcmp(name, "kind"))
        options.kind = (enum kind)place_in(KINDS, value, name);
    else if (!strcmp(name, "transport"))
        options.transport = (enum transport)place_in(TRANSPORTS, value, name);
    else if (!strcmp(name, "wording"))
        options.wording = (enum wording)place_in(WORDINGS, value, name);
    else if (!strcmp(name, "is_json"))
        options.is_json = !strcmp(value, "true");
    else if (!strcmp(name, "is_stomp"))
        options.is_stomp = !strcmp(value, "true");
    else if (!strcmp(name, "path"))
        options.path = value;
    else
        fail("no such option: %s", name);
}

static void read_options(int count, char **arguments)
{
    for (int at = 1; at < count; at++) {
        char *value = strchr(arguments[at], '=');
        if (!value)
            fail("not name=value: %s", arguments[at]);
        *value = 0;
        read_option(arguments[at], value + 1);
    }
    if (options.connections < 1 || options.window < 1 || options.window > 1024)
        fail("connections must be at least 1, window from 1 to 1024");
    if (options.idle && (options.kind == CONNECT || (options.kind == FANOUT && !options.is_stomp)))
        fail("beside these sessions none can be idle");
    if (strlen(options.path) > 100)
        fail("the path has more than 100 characters");
}

/* As many open files as the system allows, and the core that was asked for. */
static void prepare_process(void)
{
    struct rlimit limit;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (options.core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.core, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores))
            fail("core %d: %s", options.core, strerror(errno));
    }
    if (getrandom(MASK, sizeof MASK, 0) != sizeof MASK)
        fail("getrandom: %s", strerror(errno));
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd < 0)
        fail("epoll_create1: %s", strerror(errno));
}

int main(int count_of_arguments, char **arguments)
{
    read_options(count_of_arguments, arguments);
    prepare_process();
    session_count = options.connections + (options.kind == FANOUT) + options.idle;
    sessions = allocate((size_t)session_count, sizeof *sessions);
    if (options.kind == FANOUT) {
        publisher = sessions;
        missing = allocate((size_t)options.window, sizeof *missing);
    }
    for (int at = 0; at < session_count; at++)
        prepare_session(&sessions[at], at);
    open_all();
    run_for(options.warm_up);
    count();
    return 0;
}
