// What the load generator keeps of a request and of a connection, and how an answer is judged. A part of client.c.

#pragma once
typedef struct exchange {
    uint64_t due;
    uint32_t late;  // microseconds from when it was due until it was made: the load's own, or of what shares its core
    long received, sent;
    int status;
    int grpc_status;  // -1 until the trailers have said one
    int generation;   // what X-Generation says, -1 without
    bool is_wrong;    // a byte of the body was
    struct exchange *next;  // in the list of free ones
} Exchange;

typedef struct {
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    bool is_open, wants_write;
    bool is_leaving;  // the target wants it closed when what is under way has been answered
    int in_flight;
    uint8_t *out;
    size_t out_length, out_sent, out_room;
    // HTTP/1.1
    uint8_t *in;
    size_t in_length, in_room;
    Exchange h1;
    bool in_body;
    long body_left;
} Connection;

static Connection *connections;
static int poller;
static SSL_CTX *tls_context;
// The newest session, as bytes: OpenSSL marks a session that it has replaced by a newer one as not to be resumed, and with
// it all that were made from it, so that each connection needs an object of its own.
static uint8_t *held_session;
static int held_session_length;
static Exchange *free_exchanges;
static long started, finished, limit, resumed, handshakes;
static uint64_t phase_start;
// Microseconds from when a request was due to its answer, and how many of them went by before it was made.
typedef struct {
    uint32_t taken, late;
} Latency;
static Latency *latencies;
static long latency_count;
static uint8_t scratch[1 << 18];
static uint8_t *upload;

// With --count-errors: what is told of them. A request that the target says it has not looked at (REFUSED_STREAM, RFC 9113
// section 8.7) is sent again and is no error; that a connection ends between requests is none either.
static long errors, retried, reconnections;
static char first_error[160];
// Which of the generations were seen in answers.
enum { GENERATIONS = 1024 };
static bool is_generation_seen[GENERATIONS];

static void die(const char *form, ...) {
    va_list list;
    va_start(list, form);
    fprintf(stderr, "client: ");
    vfprintf(stderr, form, list);
    fprintf(stderr, " (after %ld of %ld answers)\n", finished, limit);
    va_end(list);
    exit(1);
}

// What is wrong with one request ends the run, or is counted.
static void fault(const char *form, ...) {
    char text[sizeof first_error];
    va_list list;
    va_start(list, form);
    vsnprintf(text, sizeof text, form, list);
    va_end(list);
    if (!o.count_errors) die("%s", text);
    if (errors++ == 0) memcpy(first_error, text, sizeof text);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t microseconds_since(uint64_t time) {
    uint64_t taken = (now() - time) / 1000;
    return taken > UINT32_MAX ? UINT32_MAX : (uint32_t)taken;
}

static uint64_t due_of(long number) {
    return o.rate > 0 ? phase_start + (uint64_t)((double)number * 1e9 / o.rate) : now();
}

// The number of requests that may be started by now; with a rate they are due one after the other, whatever is answered.
static long phase_first;
static bool may_start(void) {
    if (started >= limit) return false;
    return o.rate <= 0 || due_of(started - phase_first) <= now();
}

static void append(Connection *c, const void *data, size_t length) {
    if (c->out_length + length > c->out_room) {
        if (c->out_sent > 0) {
            memmove(c->out, c->out + c->out_sent, c->out_length - c->out_sent);
            c->out_length -= c->out_sent;
            c->out_sent = 0;
        }
        while (c->out_length + length > c->out_room) c->out_room = c->out_room ? c->out_room * 2 : 16384;
        c->out = realloc(c->out, c->out_room);
        if (!c->out) die("no memory");
    }
    memcpy(c->out + c->out_length, data, length);
    c->out_length += length;
}

static bool is_good(const Exchange *x) {
    if (x->status != o.status) fault("status %d in place of %d", x->status, o.status);
    else if (o.status / 100 == 2 && o.body_length >= 0 && x->received != o.body_length)
        fault("a body of %ld bytes in place of %ld", x->received, o.body_length);
    else if (x->is_wrong) fault("a body with other bytes");
    else if (o.grpc && x->grpc_status < 0) fault("no grpc-status in the trailers");
    else if (o.grpc && x->grpc_status != 0) fault("grpc-status %d", x->grpc_status);
    else if (o.generations && (x->generation < 0 || x->generation >= GENERATIONS)) fault("an answer of no generation");
    else return true;
    return false;
}

static void judge(Exchange *x) {
    if (is_good(x)) {
        if (o.generations) is_generation_seen[x->generation] = true;
        if (latencies && latency_count < o.count && finished >= phase_first) {
            latencies[latency_count++] = (Latency){microseconds_since(x->due), x->late};
        }
    }
    finished++;
}

static void body(Exchange *x, const uint8_t *data, size_t length) {
    if (o.body && x->status / 100 == 2) {
        // A byte too many is found by the count.
        if (x->received + (long)length > o.body_length || memcmp(o.body + x->received, data, length) != 0) x->is_wrong = true;
    }
    x->received += (long)length;
}

static const char *token_of(long number) { return o.token_count ? o.tokens[number % o.token_count] : NULL; }
