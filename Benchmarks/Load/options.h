// What the load generator is told, as words of its command line. A part of client.c.

#pragma once
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *form, ...);

static struct {
    int port, connections, streams, status;
    bool tls, h2, each, resume;
    bool grpc;          // a unary call: a message up, the same down, grpc-status 0 in the trailers
    bool count_errors;  // instead of ending with the first
    bool generations;   // each answer says one in X-Generation
    long warm, count;
    double rate;
    char *path, *method;
    char **tokens;
    long token_count;
    uint8_t *body;  // what each 2xx answer must carry
    long body_length;
    long upload_length;
} o = {.connections = 1, .streams = 1, .status = 200, .path = "/", .method = "GET", .body_length = -1};

static void read_tokens(const char *name) {
    FILE *file = fopen(name, "r");
    if (!file) die("%s: %s", name, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, file)) > 0) {
        if (line[length - 1] == '\n') line[--length] = 0;
        if (o.token_count % 1024 == 0) o.tokens = realloc(o.tokens, sizeof(char *) * (size_t)(o.token_count + 1024));
        o.tokens[o.token_count++] = strdup(line);
    }
    fclose(file);
    if (o.token_count == 0) die("%s has no token", name);
}

static void read_body(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) die("%s: %s", name, strerror(errno));
    fseek(file, 0, SEEK_END);
    o.body_length = ftell(file);
    rewind(file);
    o.body = malloc((size_t)o.body_length + 1);
    if (fread(o.body, 1, (size_t)o.body_length, file) != (size_t)o.body_length) die("%s cannot be read", name);
    fclose(file);
}

static void options(int count, char **words) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"streams", 1, 0, 'm'}, {"warm", 1, 0, 'w'},
        {"count", 1, 0, 'n'}, {"tls", 0, 0, 's'}, {"h2", 0, 0, '2'}, {"each", 0, 0, 'e'}, {"resume", 0, 0, 'r'},
        {"rate", 1, 0, 'R'}, {"path", 1, 0, 'P'}, {"tokens", 1, 0, 't'}, {"status", 1, 0, 'S'}, {"body", 1, 0, 'b'},
        {"upload", 1, 0, 'u'}, {"grpc", 0, 0, 'g'}, {"count-errors", 0, 0, 'E'}, {"generations", 0, 0, 'G'}, {0}};
    int option;
    while ((option = getopt_long(count, words, "", known, NULL)) != -1) {
        switch (option) {
        case 'p': o.port = atoi(optarg); break;
        case 'c': o.connections = atoi(optarg); break;
        case 'm': o.streams = atoi(optarg); break;
        case 'w': o.warm = atol(optarg); break;
        case 'n': o.count = atol(optarg); break;
        case 's': o.tls = true; break;
        case '2': o.h2 = true; break;
        case 'e': o.each = true; break;
        case 'r': o.resume = true; break;
        case 'R': o.rate = atof(optarg); break;
        case 'P': o.path = optarg; break;
        case 't': read_tokens(optarg); break;
        case 'S': o.status = atoi(optarg); break;
        case 'b': read_body(optarg); break;
        case 'u': o.upload_length = atol(optarg); o.method = "POST"; break;
        case 'g': o.grpc = true; break;
        case 'E': o.count_errors = true; break;
        case 'G': o.generations = true; break;
        default: exit(2);
        }
    }
    if (!o.port || o.count < 1 || o.connections < 1) {
        fprintf(stderr, "client: --port and --count are needed\n");
        exit(2);
    }
    // A handshake a request is counted over HTTP/1.1 alone.
    if (o.each && (o.h2 || o.count_errors)) exit(2);
    // A message has a prefix of five bytes.
    if (o.grpc && (!o.h2 || o.upload_length < 5)) exit(2);
}
