/* Frames of the ccnvr link: a parser that takes bytes one by one and a builder. No I/O, no allocation; the caller owns the
   buffers. PROTOCOL.md is the specification. */
#ifndef CCNVR_FRAME_H
#define CCNVR_FRAME_H

#include "ccnvr_messages.h"

#define CCNVR_CRC_BYTES 4u
#define CCNVR_MAX_BODY (CCNVR_HEADER_BYTES + CCNVR_MAX_PAYLOAD + CCNVR_CRC_BYTES)

/* Longest frame on the wire, without its delimiter: a byte of stuffing for each group of 254 that is begun. */
#define CCNVR_MAX_ENCODED (CCNVR_MAX_BODY + (CCNVR_MAX_BODY + 253u) / 254u)

/* What a parser's buffer must hold for frames of any payload, and for requests alone. */
#define CCNVR_PARSER_BYTES CCNVR_MAX_BODY
#define CCNVR_REQUEST_BYTES (CCNVR_HEADER_BYTES + CCNVR_MAX_REQUEST + CCNVR_CRC_BYTES)

/* What a builder's buffer must hold for frames of any payload. */
#define CCNVR_BUILDER_BYTES (CCNVR_MAX_ENCODED + 1u)

struct ccnvr_frame {
    uint8_t type;
    uint16_t sequence;
    uint16_t chunk;
    uint16_t chunks;
    const uint8_t *payload;
    size_t length;
};

enum ccnvr_event {
    CCNVR_NOTHING, /* no frame has ended yet, or an empty one did */
    CCNVR_FRAME,
    CCNVR_BAD_STUFFING,
    CCNVR_BAD_LENGTH,
    CCNVR_BAD_CHECKSUM,
    CCNVR_BAD_VERSION,
    CCNVR_BAD_FLAGS
};

struct ccnvr_parser {
    uint8_t *buffer;
    size_t capacity;
    size_t length;  /* bytes unstuffed, those beyond the capacity counted too */
    size_t encoded; /* bytes since the last delimiter, counted up to one more than a frame has */
    uint8_t code;   /* of the group under way */
    uint8_t left;   /* bytes of it to come */
};

void ccnvr_parser_init(struct ccnvr_parser *parser, uint8_t *buffer, size_t capacity);

/* Take one byte. After CCNVR_FRAME, `frame` is filled in and its payload lies in the parser's buffer until the next call. */
enum ccnvr_event ccnvr_parser_push(struct ccnvr_parser *parser, uint8_t byte, struct ccnvr_frame *frame);

struct ccnvr_builder {
    uint8_t *out;
    size_t capacity;
    size_t length; /* bytes wanted, those beyond the capacity counted too */
    size_t code_at;
    uint32_t crc;
};

/* A frame is begun, given its payload in any number of pieces, and ended. */
void ccnvr_builder_begin(struct ccnvr_builder *builder, uint8_t *out, size_t capacity, const struct ccnvr_frame *frame);
void ccnvr_builder_put(struct ccnvr_builder *builder, const uint8_t *data, size_t length);
void ccnvr_builder_put_u32(struct ccnvr_builder *builder, uint32_t value);

/* The frame's length with its delimiter, 0 if it did not fit. */
size_t ccnvr_builder_end(struct ccnvr_builder *builder);

/* All of it at once, `frame->payload` included; 0 too if the payload is too long or the chunk none of its chunks. */
size_t ccnvr_build(uint8_t *out, size_t capacity, const struct ccnvr_frame *frame);

/* CRC-32 of IEEE 802.3 over data that come in pieces: start with 0. */
uint32_t ccnvr_crc32(uint32_t crc, const uint8_t *data, size_t length);

#endif
