/* Frames of the ccnvr link: a parser, which takes bytes one by one, and a builder. Both do no I/O and
   allocate no memory; the caller owns the buffers. PROTOCOL.md is the specification. */
#ifndef CCNVR_FRAME_H
#define CCNVR_FRAME_H

#include "ccnvr_messages.h"

#define CCNVR_CRC_BYTES 4u
#define CCNVR_MAX_BODY (CCNVR_HEADER_BYTES + CCNVR_MAX_PAYLOAD + CCNVR_CRC_BYTES)

/* The longest frame on the wire, without its delimiter: stuffing adds a byte for each group of up to 254. */
#define CCNVR_MAX_ENCODED (CCNVR_MAX_BODY + (CCNVR_MAX_BODY + 253u) / 254u)

/* The size of a parser's buffer for frames with any payload, and for requests only. */
#define CCNVR_PARSER_BYTES CCNVR_MAX_BODY
#define CCNVR_REQUEST_BYTES (CCNVR_HEADER_BYTES + CCNVR_MAX_REQUEST + CCNVR_CRC_BYTES)

/* The size of a builder's buffer for frames with any payload. */
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
    size_t length;  /* unstuffed bytes, including those beyond the capacity */
    size_t encoded; /* bytes since the last delimiter, counted up to one more than the longest frame has */
    uint8_t code;   /* of the current group */
    uint8_t left;   /* bytes of that group still to come */
};

void ccnvr_parser_init(struct ccnvr_parser *parser, uint8_t *buffer, size_t capacity);

/* Take one byte. After CCNVR_FRAME, `frame` is filled in, and its payload stays in the parser's buffer
   until the next call. */
enum ccnvr_event ccnvr_parser_push(struct ccnvr_parser *parser, uint8_t byte, struct ccnvr_frame *frame);

struct ccnvr_builder {
    uint8_t *out;
    size_t capacity;
    size_t length; /* bytes needed, including those beyond the capacity */
    size_t code_at;
    uint32_t crc;
};

/* Begin a frame, put its payload in any number of pieces, and end it. */
void ccnvr_builder_begin(struct ccnvr_builder *builder, uint8_t *out, size_t capacity, const struct ccnvr_frame *frame);
void ccnvr_builder_put(struct ccnvr_builder *builder, const uint8_t *data, size_t length);
void ccnvr_builder_put_u32(struct ccnvr_builder *builder, uint32_t value);

/* Return the length of the frame with its delimiter; 0 if it did not fit. */
size_t ccnvr_builder_end(struct ccnvr_builder *builder);

/* Build a whole frame with `frame->payload`. Return its length with the delimiter; 0 if it does not
   fit, if the payload is too long, or if `chunk` is not less than `chunks`. */
size_t ccnvr_build(uint8_t *out, size_t capacity, const struct ccnvr_frame *frame);

/* Return the CRC-32 of IEEE 802.3 over data in pieces; `crc` is 0 for the first piece. */
uint32_t ccnvr_crc32(uint32_t crc, const uint8_t *data, size_t length);

#endif
