// The load generator of `make load`: one thread, many connections, HTTP/1.1 or HTTP/2, each answer judged.
//
// It exists beside h2load and wrk for what they cannot do: a token of its own for each request over HTTP/2, handshakes
// that are resumed and counted as such, arrivals at a fixed rate with the latency taken from when a request was due, the
// comparison of every body, and above all a counted interval: it opens its connections and sends the warm-up, says
// "ready", waits for a line, sends exactly the counted requests, says what came of them, and holds its connections until it
// is told to end. What is read of the target in between is the cost of those requests and of nothing else.
//
// Any answer that is not what was asked for, any connection that ends, ends it with a status other than 0: a round with
// errors is no round.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "options.h"

typedef struct exchange {
    uint64_t due;
    long received, sent;
    int status;
    struct exchange *next;  // in the list of free ones
} Exchange;

typedef struct {
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    bool is_open, wants_write;
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
static uint32_t *latencies;
static long latency_count;
static uint8_t scratch[1 << 18];
static uint8_t *upload;

static void die(const char *form, ...) {
    va_list list;
    va_start(list, form);
    fprintf(stderr, "client: ");
    vfprintf(stderr, form, list);
    fprintf(stderr, " (after %ld of %ld answers)\n", finished, limit);
    va_end(list);
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
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

static void judge(Exchange *x) {
    if (x->status != o.status) die("status %d in place of %d", x->status, o.status);
    if (o.status / 100 == 2 && o.body_length >= 0 && x->received != o.body_length)
        die("a body of %ld bytes in place of %ld", x->received, o.body_length);
    if (latencies && latency_count < o.count && finished >= phase_first) {
        uint64_t taken = (now() - x->due) / 1000;
        latencies[latency_count++] = taken > UINT32_MAX ? UINT32_MAX : (uint32_t)taken;
    }
    finished++;
}

static void body(Exchange *x, const uint8_t *data, size_t length) {
    if (o.body && x->status / 100 == 2) {
        if (x->received + (long)length > o.body_length) die("a body of more than %ld bytes", o.body_length);
        if (memcmp(o.body + x->received, data, length) != 0) die("a body with other bytes");
    }
    x->received += (long)length;
}

static const char *token_of(long number) { return o.token_count ? o.tokens[number % o.token_count] : NULL; }

// HTTP/2

static Exchange *new_exchange(void) {
    Exchange *x = free_exchanges;
    if (x) free_exchanges = x->next;
    else if (!(x = malloc(sizeof *x))) die("no memory");
    memset(x, 0, sizeof *x);
    return x;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t length, uint8_t flags, void *user) {
    (void)flags, (void)user;
    if (name_length == 7 && memcmp(name, ":status", 7) == 0 && length == 3) {
        Exchange *x = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
        if (x) x->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
    }
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user) {
    (void)flags, (void)user;
    Exchange *x = nghttp2_session_get_stream_user_data(s, stream);
    if (x) body(x, data, length);
    return 0;
}

static int on_close(nghttp2_session *s, int32_t stream, uint32_t code, void *user) {
    Connection *c = user;
    Exchange *x = nghttp2_session_get_stream_user_data(s, stream);
    if (!x) return 0;
    if (code != 0) die("a stream ended with error %u", code);
    judge(x);
    x->next = free_exchanges;
    free_exchanges = x;
    c->in_flight--;
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user) {
    (void)s, (void)user;
    if (frame->hd.type == NGHTTP2_GOAWAY) die("GOAWAY with error %u", frame->goaway.error_code);
    return 0;
}

static ssize_t give_upload(nghttp2_session *s, int32_t stream, uint8_t *buffer, size_t length, uint32_t *flags,
                           nghttp2_data_source *source, void *user) {
    (void)s, (void)stream, (void)user;
    Exchange *x = source->ptr;
    size_t left = (size_t)(o.upload_length - x->sent);
    if (length > left) length = left;
    memcpy(buffer, upload, length);
    x->sent += (long)length;
    if (x->sent == o.upload_length) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)length;
}

static nghttp2_nv pair(const char *name, const char *value) {
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

static void submit_h2(Connection *c) {
    char bearer[4096];
    nghttp2_nv fields[6] = {pair(":method", o.method), pair(":scheme", o.tls ? "https" : "http"),
                            pair(":authority", "gate.test"), pair(":path", o.path), pair("user-agent", "load")};
    size_t count = 5;
    const char *token = token_of(started);
    if (token) {
        snprintf(bearer, sizeof bearer, "Bearer %s", token);
        fields[count++] = pair("authorization", bearer);
    }
    Exchange *x = new_exchange();
    x->due = due_of(started - phase_first);
    nghttp2_data_provider provider = {.source.ptr = x, .read_callback = give_upload};
    if (nghttp2_submit_request(c->session, NULL, fields, count, o.upload_length ? &provider : NULL, x) < 0)
        die("a request cannot be made");
    started++;
    c->in_flight++;
}

static void begin_h2(Connection *c) {
    static nghttp2_session_callbacks *callbacks;
    if (!callbacks) {
        nghttp2_session_callbacks_new(&callbacks);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    }
    if (nghttp2_session_client_new(&c->session, callbacks, c) != 0) die("no session");
    // Windows like those of h2load: what is measured is the target, not how often a window is opened.
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (1u << 30) - 1}};
    nghttp2_submit_settings(c->session, 0, settings, 2);
    nghttp2_session_set_local_window_size(c->session, 0, 0, (1 << 30) - 1);
}

// HTTP/1.1

static void submit_h1(Connection *c) {
    char head[4608];
    const char *token = token_of(started);
    int length = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load\r\n", o.method, o.path);
    if (token) length += snprintf(head + length, sizeof head - (size_t)length, "Authorization: Bearer %s\r\n", token);
    if (o.upload_length)
        length += snprintf(head + length, sizeof head - (size_t)length, "Content-Length: %ld\r\n", o.upload_length);
    length += snprintf(head + length, sizeof head - (size_t)length, "\r\n");
    append(c, head, (size_t)length);
    if (o.upload_length) append(c, upload, (size_t)o.upload_length);
    c->h1 = (Exchange){.due = due_of(started - phase_first)};
    c->in_body = false;
    started++;
    c->in_flight = 1;
}

static void receive_h1(Connection *c, const uint8_t *data, size_t length) {
    while (length > 0) {
        if (c->in_flight == 0) die("bytes that nobody asked for");
        if (c->in_body) {
            size_t part = (long)length > c->body_left ? (size_t)c->body_left : length;
            body(&c->h1, data, part);
            c->body_left -= (long)part;
            data += part, length -= part;
        } else {
            if (c->in_length + length + 1 > c->in_room) {
                c->in_room = (c->in_length + length + 1) * 2;
                c->in = realloc(c->in, c->in_room);
                if (!c->in) die("no memory");
            }
            size_t before = c->in_length;
            memcpy(c->in + before, data, length);
            c->in_length += length;
            c->in[c->in_length] = 0;
            uint8_t *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
            if (!end) {
                if (c->in_length > 65536) die("a head without an end");
                return;
            }
            end[2] = 0;
            if (memcmp(c->in, "HTTP/1.1 ", 9) != 0) die("not HTTP/1.1");
            c->h1.status = atoi((char *)c->in + 9);
            char *field = strcasestr((char *)c->in, "\r\ncontent-length:");
            if (!field) die("an answer without a length: %s", c->in);
            if (strcasestr((char *)c->in, "\r\nconnection: close") && !o.each)
                die("the connection is to be closed behind status %d", c->h1.status);
            c->body_left = atol(field + 17);
            c->in_body = true;
            size_t used = (size_t)(end + 4 - c->in) - before;
            c->in_length = 0;
            data += used, length -= used;
        }
        if (c->in_body && c->body_left == 0) {
            c->in_body = false;
            c->in_flight = 0;
            judge(&c->h1);
        }
    }
}

// Connections

static int new_session(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    if (o.resume) {
        OPENSSL_free(held_session);
        held_session = NULL;
        held_session_length = i2d_SSL_SESSION(session, &held_session);
    }
    return 0;
}

static void watch(Connection *c, bool wants_write) {
    if (c->wants_write == wants_write) return;
    c->wants_write = wants_write;
    struct epoll_event event = {EPOLLIN | (wants_write ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void open_connection(Connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // On the loopback a connect is answered at once.
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect: %s", strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (o.tls) {
        c->ssl = SSL_new(tls_context);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
        SSL_set_tlsext_host_name(c->ssl, "localhost");
        if (o.resume && held_session) {
            const uint8_t *place = held_session;
            SSL_SESSION *session = d2i_SSL_SESSION(NULL, &place, held_session_length);
            if (!session || !SSL_set_session(c->ssl, session)) die("a session cannot be used");
            SSL_SESSION_free(session);
        }
    }
    c->is_open = false;
    c->wants_write = false;
    c->in_flight = 0;
    c->out_length = c->out_sent = c->in_length = 0;
    if (o.h2) begin_h2(c);
    struct epoll_event event = {EPOLLIN, {.ptr = c}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static void close_connection(Connection *c) {
    if (c->session) nghttp2_session_del(c->session);
    c->session = NULL;
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    close(c->fd);
    c->fd = -1;
}

// Whether the handshake is done.
static bool handshake(Connection *c) {
    if (c->is_open) return true;
    if (c->ssl) {
        ERR_clear_error();
        int result = SSL_do_handshake(c->ssl);
        if (result != 1) {
            int code = SSL_get_error(c->ssl, result);
            if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
                watch(c, code == SSL_ERROR_WANT_WRITE);
                return false;
            }
            die("the handshake failed: %s", ERR_reason_error_string(ERR_get_error()));
        }
        const uint8_t *name;
        unsigned length;
        SSL_get0_alpn_selected(c->ssl, &name, &length);
        if (o.h2 && !(length == 2 && memcmp(name, "h2", 2) == 0)) die("h2 was not chosen");
        handshakes++;
        resumed += SSL_session_reused(c->ssl);
    }
    c->is_open = true;
    return true;
}

static void fill(Connection *c) {
    int room = o.each ? 1 : o.h2 ? o.streams : 1;
    if (o.each && c->h1.status) return;
    while (c->in_flight < room && may_start()) {
        if (o.h2) submit_h2(c);
        else submit_h1(c);
        if (o.each) break;
    }
    if (o.h2) {
        const uint8_t *data;
        ssize_t length;
        while (c->out_length - c->out_sent < (1 << 20) && (length = nghttp2_session_mem_send(c->session, &data)) > 0)
            append(c, data, (size_t)length);
    }
}

static void flush(Connection *c) {
    while (c->out_sent < c->out_length) {
        size_t left = c->out_length - c->out_sent;
        ssize_t sent;
        if (c->ssl) {
            ERR_clear_error();
            // A record that had no room must be offered again as it was.
            sent = SSL_write(c->ssl, c->out + c->out_sent, (int)(left > (1 << 20) ? (1 << 20) : left));
            if (sent <= 0) {
                int code = SSL_get_error(c->ssl, (int)sent);
                if (code != SSL_ERROR_WANT_WRITE && code != SSL_ERROR_WANT_READ) die("writing failed");
                watch(c, true);
                return;
            }
        } else {
            sent = send(c->fd, c->out + c->out_sent, left, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno != EAGAIN) die("send: %s", strerror(errno));
                watch(c, true);
                return;
            }
        }
        c->out_sent += (size_t)sent;
        if (c->out_sent == c->out_length) {
            c->out_sent = c->out_length = 0;
            if (o.h2) fill(c);
        }
    }
    watch(c, false);
}

static void receive(Connection *c) {
    for (;;) {
        ssize_t length;
        if (c->ssl) {
            ERR_clear_error();
            length = SSL_read(c->ssl, scratch, sizeof scratch);
            if (length <= 0) {
                int code = SSL_get_error(c->ssl, (int)length);
                if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) return;
                die("the target closed a connection");
            }
        } else {
            length = recv(c->fd, scratch, sizeof scratch, 0);
            if (length < 0 && errno == EAGAIN) return;
            if (length < 0) die("recv: %s", strerror(errno));
            if (length == 0) die("the target closed a connection");
        }
        if (o.h2) {
            if (nghttp2_session_mem_recv(c->session, scratch, (size_t)length) < 0) die("not HTTP/2");
        } else {
            receive_h1(c, scratch, (size_t)length);
        }
        if (o.each && c->h1.status && c->in_flight == 0) return;
        if (!c->ssl && (size_t)length < sizeof scratch) return;
    }
}

static void serve(Connection *c) {
    if (!handshake(c)) return;
    receive(c);
    if (o.each && c->h1.status && c->in_flight == 0) {
        close_connection(c);
        c->h1.status = 0;
        if (started < limit) open_connection(c);
        else return;
        if (!handshake(c)) return;
    }
    fill(c);
    flush(c);
}

// Until so many more requests have been answered.
static void phase(long requests) {
    phase_first = started;
    phase_start = now();
    limit = started + requests;
    for (int i = 0; i < o.connections; i++) {
        Connection *c = &connections[i];
        if (c->fd < 0) open_connection(c);
        if (handshake(c)) {
            fill(c);
            flush(c);
        }
    }
    struct epoll_event events[256];
    int next = 0;
    while (finished < limit) {
        struct timespec wait = {20, 0};
        if (o.rate > 0 && started < limit) {
            // What is due goes to the next connections with room, one after the other; then it sleeps until the next is due,
            // to the nanosecond: a client that spins would take the core from the service.
            for (int tried = 0; tried < o.connections && may_start(); tried++) {
                Connection *c = &connections[next];
                next = (next + 1) % o.connections;
                if (!c->is_open || c->in_flight >= (o.h2 ? o.streams : 1)) continue;
                if (o.h2) submit_h2(c);
                else submit_h1(c);
                fill(c);
                flush(c);
            }
            bool is_full = true;
            for (int i = 0; i < o.connections && is_full; i++)
                is_full = !connections[i].is_open || connections[i].in_flight >= (o.h2 ? o.streams : 1);
            uint64_t due = started < limit ? due_of(started - phase_first) : 0, time = now();
            // With every connection full an answer is what is waited for; it is behind its time, and counted so. What fell due
            // since it was last looked at is not slept upon.
            if (due > time && due - time < 1000000000u) wait = (struct timespec){0, (long)(due - time)};
            else if (due && due <= time && !is_full) wait = (struct timespec){0, 0};
        }
        int count = epoll_pwait2(poller, events, 256, &wait, NULL);
        if (count < 0 && errno != EINTR) die("epoll_pwait2: %s", strerror(errno));
        if (count == 0 && wait.tv_sec > 0) die("no answer within 20 s");
        for (int i = 0; i < count; i++) serve(events[i].data.ptr);
    }
}

static int compared(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 + (double)usage.ru_stime.tv_sec +
           (double)usage.ru_stime.tv_usec / 1e6;
}

int main(int count, char **words) {
    options(count, words);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (o.tls) {
        tls_context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION);
        // One suite and one group: each target does the same arithmetic. What is checked of the certificate is nothing,
        // since the cost of the client is of no interest.
        SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256");
        SSL_CTX_set1_groups_list(tls_context, "X25519");
        SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls_context, new_session);
        SSL_CTX_set_alpn_protos(tls_context, o.h2 ? (const uint8_t *)"\x02h2" : (const uint8_t *)"\x08http/1.1", o.h2 ? 3 : 9);
    }
    if (o.upload_length) {
        upload = malloc((size_t)o.upload_length);
        memset(upload, 'u', (size_t)o.upload_length);
    }
    latencies = malloc(sizeof *latencies * (size_t)o.count);
    connections = calloc((size_t)o.connections, sizeof *connections);
    if (!latencies || !connections) die("no memory");
    for (int i = 0; i < o.connections; i++) connections[i].fd = -1;

    double rate = o.rate;
    o.rate = 0;
    if (o.warm > 0) phase(o.warm);
    // Connections that the warm-up did not need are opened all the same, and stand when counting begins.
    latency_count = 0;
    long warm_handshakes = handshakes, warm_resumed = resumed;
    o.rate = rate;
    char line[64];
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    double cpu = cpu_seconds();
    uint64_t start = now();
    phase(o.count);
    uint64_t taken = now() - start;
    cpu = cpu_seconds() - cpu;
    printf("{\"answers\": %ld, \"seconds\": %.6f, \"client_cpu\": %.6f, \"handshakes\": %ld, \"resumed\": %ld", o.count,
           (double)taken / 1e9, cpu, handshakes - warm_handshakes, resumed - warm_resumed);
    qsort(latencies, (size_t)latency_count, sizeof *latencies, compared);
    static const double shares[] = {50, 75, 90, 99, 99.9};
    printf(", \"latency_us\": {");
    for (int i = 0; i < 5; i++) {
        long place = (long)((double)latency_count * shares[i] / 100);
        if (place >= latency_count) place = latency_count - 1;
        printf("%s\"p%g\": %u", i ? ", " : "", shares[i], latency_count ? latencies[place] : 0);
    }
    printf("}}\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 0;
    return 0;
}
