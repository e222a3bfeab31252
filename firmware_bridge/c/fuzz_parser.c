/* Whatever bytes arrive, the parser accepts as a frame exactly what test_by_the_book.h accepts, and the
   builder makes the same bytes of it again. This is an entry point for libFuzzer; fuzz_main.c runs it
   without libFuzzer.

   If the first byte of an input is odd, the rest is a body, to which the CRC and the stuffing are added,
   because noise alone would never pass the CRC. */
#include "ccnvr_frame.h"
#include "test_by_the_book.h"

#include <stdlib.h>
#include <string.h>

#define MOST_INPUT 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_frame(const uint8_t *piece, size_t length, const struct ccnvr_frame *frame, const uint8_t *body, size_t body_length)
{
    uint8_t again[CCNVR_BUILDER_BYTES];
    require(frame->length == body_length - 14u && frame->type == body[2]);
    require(memcmp(frame->payload, body + 10, frame->length) == 0);
    size_t built = ccnvr_build(again, sizeof again, frame);
    /* The parser drops ignorable flags and the reserved byte, so only frames without them come back. */
    if (body[1] == 0u && body[3] == 0u) {
        require(built == length + 1u && memcmp(again, piece, length) == 0);
    }
}

/* The buffers are on the heap with their exact size, so that the sanitizer notices a byte too many. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *buffer = malloc(CCNVR_PARSER_BYTES);
    uint8_t *small = malloc(CCNVR_REQUEST_BYTES);
    struct ccnvr_parser parser;
    struct ccnvr_parser request_parser;
    size_t start = 0;
    require(buffer != NULL && small != NULL);
    ccnvr_parser_init(&parser, buffer, CCNVR_PARSER_BYTES);
    ccnvr_parser_init(&request_parser, small, CCNVR_REQUEST_BYTES);
    for (size_t i = 0; i < size; i++) {
        uint8_t body[BOOK_MOST_ENCODED];
        size_t body_length = 0;
        struct ccnvr_frame frame;
        struct ccnvr_frame request;
        bool taken = ccnvr_parser_push(&parser, data[i], &frame) == CCNVR_FRAME;
        bool request_taken = ccnvr_parser_push(&request_parser, data[i], &request) == CCNVR_FRAME;
        bool expected = data[i] == 0u && book_is_frame(data + start, i - start, body, &body_length);
        require(taken == expected);
        require(request_taken == (expected && body_length <= CCNVR_REQUEST_BYTES));
        if (taken) {
            check_frame(data + start, i - start, &frame, body, body_length);
        }
        start = data[i] == 0u ? i + 1u : start;
    }
    free(buffer);
    free(small);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t body[MOST_INPUT + 4u];
    static uint8_t wire[MOST_INPUT + MOST_INPUT / 254u + 8u];
    if (size < 1u || size > MOST_INPUT) {
        return 0;
    }
    if ((data[0] & 1u) == 0u) {
        feed(data + 1, size - 1u);
        return 0;
    }
    memcpy(body, data + 1, size - 1u);
    uint32_t crc = book_crc32(body, size - 1u);
    for (size_t i = 0; i < 4u; i++) {
        body[size - 1u + i] = (uint8_t)(crc >> (8u * i));
    }
    size_t length = book_stuff(body, size + 3u, wire);
    wire[length++] = 0;
    feed(wire, length);
    return 0;
}
