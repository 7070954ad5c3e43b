// A part of client.c: HTTP/2, and gRPC over it.

#pragma once
// HTTP/2

static Exchange *new_exchange(void) {
    Exchange *x = free_exchanges;
    if (x) free_exchanges = x->next;
    else if (!(x = malloc(sizeof *x))) die("no memory");
    *x = (Exchange){.grpc_status = -1, .generation = -1};
    return x;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t length, uint8_t flags, void *user) {
    (void)flags, (void)user;
    Exchange *x = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    if (!x) return 0;
    // nghttp2 ends each value with a zero byte.
    if (name_length == 7 && memcmp(name, ":status", 7) == 0 && length == 3) x->status = atoi((const char *)value);
    // Behind the message: an answer of trailers alone has none.
    else if (o.grpc && name_length == 11 && memcmp(name, "grpc-status", 11) == 0 && x->received > 0)
        x->grpc_status = atoi((const char *)value);
    else if (o.generations && name_length == 12 && memcmp(name, "x-generation", 12) == 0)
        x->generation = atoi((const char *)value);
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
    if (code == NGHTTP2_REFUSED_STREAM && o.count_errors) {
        // Another is sent in its place.
        retried++, limit++, finished++;
    } else if (code != 0) {
        fault("a stream ended with error %u", code);
        finished++;
    } else {
        judge(x);
    }
    x->next = free_exchanges;
    free_exchanges = x;
    c->in_flight--;
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user) {
    (void)s;
    Connection *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        if (!o.count_errors || frame->goaway.error_code != 0) fault("GOAWAY with error %u", frame->goaway.error_code);
        c->is_leaving = true;
    }
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
    nghttp2_nv fields[8] = {pair(":method", o.method), pair(":scheme", o.tls ? "https" : "http"),
                            pair(":authority", "gate.test"), pair(":path", o.path), pair("user-agent", "load")};
    size_t count = 5;
    const char *token = token_of(started);
    if (token) {
        snprintf(bearer, sizeof bearer, "Bearer %s", token);
        fields[count++] = pair("authorization", bearer);
    }
    if (o.grpc) {
        fields[count++] = pair("content-type", "application/grpc");
        fields[count++] = pair("te", "trailers");
    }
    Exchange *x = new_exchange();
    x->due = due_of(started - phase_first);
    x->late = o.rate > 0 ? microseconds_since(x->due) : 0;
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

