// A part of client.c: HTTP/1.1.

#pragma once
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
    c->h1 = (Exchange){.due = due_of(started - phase_first), .grpc_status = -1, .generation = -1};
    if (o.rate > 0) c->h1.late = microseconds_since(c->h1.due);
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
            if (strcasestr((char *)c->in, "\r\nconnection: close") && !o.each) {
                if (!o.count_errors) die("the connection is to be closed behind status %d", c->h1.status);
                c->is_leaving = true;
            }
            char *generation = o.generations ? strcasestr((char *)c->in, "\r\nx-generation:") : NULL;
            if (generation) c->h1.generation = atoi(generation + 15);
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

