/* A second implementation of frames, slow and true to the definitions, which shares nothing with
   ccnvr_frame.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOK_MOST_BODY 1038u
#define BOOK_MOST_ENCODED 1043u

static inline uint32_t book_crc32(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1u) != 0u ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

/* Return the length of the unstuffed data, SIZE_MAX if `data` is not stuffed. BOOK_MOST_ENCODED bytes are
   enough for `out`. */
static inline size_t book_unstuff(const uint8_t *data, size_t length, uint8_t *out)
{
    size_t at = 0;
    size_t written = 0;
    while (at < length) {
        uint8_t code = data[at];
        if (code == 0u || at + code > length || (code == 255u && at + code == length)) {
            return SIZE_MAX;
        }
        for (size_t i = 1; i < code; i++) {
            out[written++] = data[at + i];
        }
        at += code;
        if (code < 255u && at < length) {
            out[written++] = 0;
        }
    }
    return written;
}

/* Return the length of the stuffed data; `length` + `length` / 254 + 2 bytes are enough for `out`. */
static inline size_t book_stuff(const uint8_t *data, size_t length, uint8_t *out)
{
    size_t written = 0;
    size_t start = 0;
    for (;;) {
        size_t run = 0;
        while (start + run < length && run < 254u && data[start + run] != 0u) {
            run++;
        }
        out[written++] = (uint8_t)(run + 1u);
        for (size_t i = 0; i < run; i++) {
            out[written++] = data[start + i];
        }
        start += run;
        if (run < 254u) {
            if (start == length) {
                return written;
            }
            start++;
        }
    }
}

/* Return whether the bytes between two delimiters are a frame of version 1; its body is then in `body`. */
static inline bool book_is_frame(const uint8_t *data, size_t length, uint8_t *body, size_t *body_length)
{
    if (length == 0u || length > BOOK_MOST_ENCODED) {
        return false;
    }
    *body_length = book_unstuff(data, length, body);
    if (*body_length == SIZE_MAX || *body_length < 14u || *body_length > BOOK_MOST_BODY) {
        return false;
    }
    uint32_t crc = book_crc32(body, *body_length - 4u);
    for (size_t i = 0; i < 4u; i++) {
        if (body[*body_length - 4u + i] != (uint8_t)(crc >> (8u * i))) {
            return false;
        }
    }
    unsigned chunk = body[6] | ((unsigned)body[7] << 8);
    unsigned chunks = body[8] | ((unsigned)body[9] << 8);
    return body[0] == 1u && (body[1] & 0xF0u) == 0u && chunk < chunks;
}
