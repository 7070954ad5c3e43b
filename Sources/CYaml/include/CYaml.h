// libyaml's parser, for the room YAML only.
#ifndef GATEHOUSE_CYAML_H
#define GATEHOUSE_CYAML_H

#include <stddef.h>
#include <stdlib.h>
#include <yaml.h>

// yaml_parser_t is 480 bytes of C state that must not move while in use: it lives on the heap. NULL when memory is out.
static inline yaml_parser_t *cyaml_parser_create(const unsigned char *input, size_t length) {
    yaml_parser_t *parser = malloc(sizeof(yaml_parser_t));
    if (parser == NULL) return NULL;
    if (!yaml_parser_initialize(parser)) {
        free(parser);
        return NULL;
    }
    // Said, not guessed: a file that begins like UTF-16 is not UTF-8 and is refused by the reader.
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, input, length);
    return parser;
}

static inline void cyaml_parser_destroy(yaml_parser_t *parser) {
    yaml_parser_delete(parser);
    free(parser);
}

// The anchor or tag that an event carries, NULL if it has none.
static inline const unsigned char *cyaml_event_anchor(const yaml_event_t *event) {
    switch (event->type) {
    case YAML_ALIAS_EVENT: return event->data.alias.anchor;
    case YAML_SCALAR_EVENT: return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT: return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT: return event->data.mapping_start.anchor;
    default: return NULL;
    }
}

static inline const unsigned char *cyaml_event_tag(const yaml_event_t *event) {
    switch (event->type) {
    case YAML_SCALAR_EVENT: return event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT: return event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT: return event->data.mapping_start.tag;
    default: return NULL;
    }
}

#endif
