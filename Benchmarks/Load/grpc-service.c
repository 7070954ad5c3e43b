// grpc-service PORT: a service of gRPC for load tests, HTTP/2 without TLS on the loopback, one thread. Each call is unary, and
// its message goes back as it came, with grpc-status 0 in the trailers, of a method /Fail 13. A message of more than 64 KiB is
// reset.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_LIMIT = 65536, OWED_LIMIT = 1 << 20 };

typedef struct {
    uint8_t *message;
    size_t length, room, sent;
    bool fails;
} Call;

typedef struct {
    int fd;
    bool wants_write;
    nghttp2_session *session;
    uint8_t *out;
    size_t out_length, out_sent, out_room;
} Connection;

static int poller;
static nghttp2_session_callbacks *callbacks;

static void die(const char *what) {
    fprintf(stderr, "grpc-service: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *grown(void *memory, size_t length) {
    memory = realloc(memory, length);
    if (!memory) die("memory");
    return memory;
}

static nghttp2_nv pair(const char *name, const char *value) {
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static int on_begin(nghttp2_session *s, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Call *call = calloc(1, sizeof *call);
    if (!call) die("memory");
    return nghttp2_session_set_stream_user_data(s, frame->hd.stream_id, call);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t length, uint8_t flags, void *user) {
    (void)flags, (void)user;
    Call *call = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    if (call && name_length == 5 && memcmp(name, ":path", 5) == 0 && length >= 5 && memcmp(value + length - 5, "/Fail", 5) == 0)
        call->fails = true;
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user) {
    (void)flags, (void)user;
    Call *call = nghttp2_session_get_stream_user_data(s, stream);
    if (!call) return 0;
    if (call->length + length > MESSAGE_LIMIT)
        return nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, stream, NGHTTP2_ENHANCE_YOUR_CALM);
    if (call->length + length > call->room) {
        call->room = call->length + length;
        call->message = grown(call->message, call->room);
    }
    memcpy(call->message + call->length, data, length);
    call->length += length;
    return 0;
}

static ssize_t give(nghttp2_session *s, int32_t stream, uint8_t *buffer, size_t length, uint32_t *flags,
                    nghttp2_data_source *source, void *user) {
    (void)user;
    Call *call = source->ptr;
    size_t left = call->length - call->sent;
    if (length > left) length = left;
    if (length) memcpy(buffer, call->message + call->sent, length);
    call->sent += length;
    if (call->sent == call->length) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_nv trailer = pair("grpc-status", call->fails ? "13" : "0");
        if (nghttp2_submit_trailer(s, stream, &trailer, 1) != 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)length;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) return 0;
    Call *call = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    if (!call) return 0;
    nghttp2_nv fields[] = {pair(":status", "200"), pair("content-type", "application/grpc")};
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = give};
    return nghttp2_submit_response(s, frame->hd.stream_id, fields, 2, &provider) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void release(Call *call) {
    if (call) free(call->message);
    free(call);
}

static int on_close(nghttp2_session *s, int32_t stream, uint32_t code, void *user) {
    (void)code, (void)user;
    release(nghttp2_session_get_stream_user_data(s, stream));
    return 0;
}

static void end(Connection *c) {
    // What is deleted with a session is not told of: each stream is asked for, by the odd numbers of clients.
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
    for (int32_t stream = 1; stream > 0 && stream <= last; stream += 2)
        release(nghttp2_session_get_stream_user_data(c->session, stream));
    nghttp2_session_del(c->session);
    close(c->fd);
    free(c->out);
    free(c);
}

static void watch(Connection *c, bool wants_write) {
    if (c->wants_write == wants_write) return;
    c->wants_write = wants_write;
    struct epoll_event event = {EPOLLIN | (wants_write ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

// Everything that the session has to say, and the kernel takes. Whether the connection stands.
static bool flush(Connection *c) {
    for (;;) {
        const uint8_t *data;
        ssize_t length;
        while (c->out_length - c->out_sent < OWED_LIMIT && (length = nghttp2_session_mem_send(c->session, &data)) > 0) {
            if (c->out_length + (size_t)length > c->out_room) {
                c->out_room = (c->out_length + (size_t)length) * 2;
                c->out = grown(c->out, c->out_room);
            }
            memcpy(c->out + c->out_length, data, (size_t)length);
            c->out_length += (size_t)length;
        }
        if (c->out_sent == c->out_length) break;
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(c, true);
            return true;
        }
        if (sent < 0) return false;
        c->out_sent += (size_t)sent;
        if (c->out_sent == c->out_length) c->out_sent = c->out_length = 0;
    }
    watch(c, false);
    return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session);
}

static bool serve(Connection *c) {
    static uint8_t scratch[65536];
    for (;;) {
        ssize_t length = recv(c->fd, scratch, sizeof scratch, 0);
        if (length == 0 || (length < 0 && errno != EAGAIN)) return false;
        if (length > 0 && nghttp2_session_mem_recv(c->session, scratch, (size_t)length) < 0) return false;
        if (length < (ssize_t)sizeof scratch) return flush(c);
    }
}

static void welcome(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        if (!c) die("memory");
        c->fd = fd;
        if (nghttp2_session_server_new(&c->session, callbacks, c) != 0) die("session");
        nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1024}};
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 1);
        struct epoll_event event = {EPOLLIN, {.ptr = c}};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
        if (!flush(c)) end(c);
    }
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: grpc-service PORT\n");
        return 2;
    }
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) die(words[1]);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0) die("epoll_ctl");
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (!c) welcome(listener);
            else if (!serve(c)) end(c);
        }
    }
}
