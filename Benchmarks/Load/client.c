// The load generator of `make load`: one thread, many connections, HTTP/1.1 or HTTP/2, each answer judged.
//
// It exists beside h2load and wrk for what they cannot do: a token of its own for each request over HTTP/2, handshakes
// that are resumed and counted as such, arrivals at a fixed rate with the latency taken from when a request was due, the
// comparison of every body, and above all a counted interval: it opens its connections and sends the warm-up, says
// "ready", waits for a line, sends exactly the counted requests, says what came of them, and holds its connections until it
// is told to end. What is read of the target in between is the cost of those requests and of nothing else.
//
// Any answer that is not what was asked for, any connection that ends, ends it with a status other than 0: a round with
// errors is no round. With --count-errors, for a target that is reloaded meanwhile, errors are counted and connections that
// ended are opened again.

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
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "exchanges.h"
#include "http1.h"
#include "http2.h"

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
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fault("connect: %s", strerror(errno));
        close(c->fd);
        c->fd = -1;
        return;
    }
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
    c->is_open = c->is_leaving = false;
    c->wants_write = c->in_body = false;
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
    c->is_open = false;
}

// It ended, or cannot be used: what was under way on it is lost. nghttp2 forgets its streams without a word, and the few
// exchanges of one that is lost are not used again.
static void lose(Connection *c, const char *why) {
    if (!o.count_errors) die("%s", why);
    reconnections++;
    for (; c->in_flight > 0; c->in_flight--) {
        fault("%s, with a request under way", why);
        finished++;
    }
    close_connection(c);
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
            lose(c, "the handshake failed");
            return false;
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
    while (!c->is_leaving && c->in_flight < room && may_start()) {
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

static void receive(Connection *c) {
    for (;;) {
        ssize_t length;
        if (c->ssl) {
            ERR_clear_error();
            length = SSL_read(c->ssl, scratch, sizeof scratch);
            if (length <= 0) {
                int code = SSL_get_error(c->ssl, (int)length);
                if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) return;
                return lose(c, "the target closed a connection");
            }
        } else {
            length = recv(c->fd, scratch, sizeof scratch, 0);
            if (length < 0 && errno == EAGAIN) return;
            if (length <= 0) return lose(c, length < 0 ? strerror(errno) : "the target closed a connection");
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

// The target takes no more. What it sent before it closed may be answers.
static void broken(Connection *c) {
    receive(c);
    if (c->fd >= 0) lose(c, "the target took no more");
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
                if (code != SSL_ERROR_WANT_WRITE && code != SSL_ERROR_WANT_READ) return broken(c);
                watch(c, true);
                return;
            }
        } else {
            sent = send(c->fd, c->out + c->out_sent, left, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno != EAGAIN) return broken(c);
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

static void serve(Connection *c) {
    if (c->fd < 0 || !handshake(c)) return;
    receive(c);
    if (c->fd < 0) return;
    if (c->is_leaving && c->in_flight == 0) {
        reconnections++;
        close_connection(c);
        return;
    }
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

// Opens those that are not; whether all stand.
static bool open_all(void) {
    bool stand = true;
    for (int i = 0; i < o.connections; i++) {
        Connection *c = &connections[i];
        bool is_new = c->fd < 0;
        if (is_new) open_connection(c);
        if (c->fd >= 0 && (is_new || finished == phase_first) && handshake(c)) {
            fill(c);
            flush(c);
        }
        stand &= c->fd >= 0;
    }
    return stand;
}

// Until so many more requests have been answered.
static void phase(long requests) {
    phase_first = started;
    phase_start = now();
    limit = started + requests;
    open_all();
    struct epoll_event events[256];
    int next = 0;
    long before = finished;
    uint64_t moved = now();
    while (finished < limit) {
        struct timespec wait = {20, 0};
        // A target that does not listen for a moment is asked again soon.
        bool stand = !o.count_errors || open_all();
        if (o.rate > 0 && started < limit) {
            // What is due goes to the next connections with room, one after the other; then it sleeps until the next is due,
            // to the nanosecond: a client that spins would take the core from the service.
            for (int tried = 0; tried < o.connections && may_start(); tried++) {
                Connection *c = &connections[next];
                next = (next + 1) % o.connections;
                if (!c->is_open || c->is_leaving || c->in_flight >= (o.h2 ? o.streams : 1)) continue;
                if (o.h2) submit_h2(c);
                else submit_h1(c);
                fill(c);
                flush(c);
            }
            bool is_full = true;
            for (int i = 0; i < o.connections && is_full; i++)
                is_full = !connections[i].is_open || connections[i].is_leaving || connections[i].in_flight >= (o.h2 ? o.streams : 1);
            uint64_t due = started < limit ? due_of(started - phase_first) : 0, time = now();
            // With every connection full an answer is what is waited for; it is behind its time, and counted so. What fell due
            // since it was last looked at is not slept upon.
            if (due > time && due - time < 1000000000u) wait = (struct timespec){0, (long)(due - time)};
            else if (due && due <= time && !is_full) wait = (struct timespec){0, 0};
        }
        if (finished != before) before = finished, moved = now();
        if (!stand && now() - moved > 20000000000u) die("no connection within 20 s");
        if (!stand && (wait.tv_sec > 0 || wait.tv_nsec > 10000000)) wait = (struct timespec){0, 10000000};
        int count = epoll_pwait2(poller, events, 256, &wait, NULL);
        if (count < 0 && errno != EINTR) die("epoll_pwait2: %s", strerror(errno));
        if (count == 0 && wait.tv_sec > 0) die("no answer within 20 s");
        for (int i = 0; i < count; i++) serve(events[i].data.ptr);
    }
}

static int by_taken(const void *a, const void *b) {
    uint32_t x = ((const Latency *)a)->taken, y = ((const Latency *)b)->taken;
    return x < y ? -1 : x > y;
}

static int by_late(const void *a, const void *b) {
    uint32_t x = ((const Latency *)a)->late, y = ((const Latency *)b)->late;
    return x < y ? -1 : x > y;
}

static const double shares[] = {50, 75, 90, 99, 99.9};

static long place_of(double share) {
    long place = (long)((double)latency_count * share / 100);
    return place >= latency_count ? latency_count - 1 : place;
}

// The percentiles, and of the slowest hundredth, what share of its time was gone before the request was made.
static void tell_latencies(void) {
    qsort(latencies, (size_t)latency_count, sizeof *latencies, by_taken);
    printf(", \"latency_us\": {");
    for (int i = 0; i < 5; i++)
        printf("%s\"p%g\": %u", i ? ", " : "", shares[i], latency_count ? latencies[place_of(shares[i])].taken : 0);
    double taken = 0, late = 0;
    for (long i = latency_count ? place_of(99) : 0; i < latency_count; i++) taken += latencies[i].taken, late += latencies[i].late;
    printf("}, \"late_of_slowest\": %.4f", taken > 0 ? late / taken : 0);
    qsort(latencies, (size_t)latency_count, sizeof *latencies, by_late);
    printf(", \"late_us\": {");
    for (int i = 0; i < 5; i++)
        printf("%s\"p%g\": %u", i ? ", " : "", shares[i], latency_count ? latencies[place_of(shares[i])].late : 0);
    printf("}");
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 + (double)usage.ru_stime.tv_sec +
           (double)usage.ru_stime.tv_usec / 1e6;
}

int main(int count, char **words) {
    options(count, words);
    signal(SIGPIPE, SIG_IGN);
    // Sleeps may end 50 us late unless one says otherwise.
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
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
        if (o.grpc) {
            // Not compressed, and the length: the message comes back as it went.
            uint32_t length = htonl((uint32_t)o.upload_length - 5);
            upload[0] = 0;
            memcpy(upload + 1, &length, 4);
            o.body = upload;
            o.body_length = o.upload_length;
        }
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
    errors = retried = reconnections = 0;
    memset(is_generation_seen, 0, sizeof is_generation_seen);
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
    long generations = 0;
    for (int i = 0; i < GENERATIONS; i++) generations += is_generation_seen[i];
    printf(", \"errors\": %ld, \"retried\": %ld, \"reconnections\": %ld, \"generations\": %ld, \"first_error\": \"%s\"", errors,
           retried, reconnections, generations, first_error);
    tell_latencies();
    printf("}\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 0;
    return 0;
}
