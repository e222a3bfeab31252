"""The parts of the generated C that are the same for every schema."""

from __future__ import annotations

VALUES = """\
/* UTF-8 without a terminating zero. */
struct ccnvr_text {
    const char *data;
    size_t length;
};

struct ccnvr_bytes {
    const uint8_t *data;
    size_t length;
};

struct ccnvr_doubles {
    double values[CCNVR_MOST_COEFFICIENTS];
    size_t length;
};
"""
"""The structures that hold text, bytes and doubles, for the header."""

HELPERS = """\
/* The wire has IEEE 754 doubles; where double is shorter, the firmware must convert. */
typedef char ccnvr_double_has_64_bits[sizeof(double) == 8u ? 1 : -1];

struct reader {
    const uint8_t *at;
    size_t left;
    bool whole;
};

static uint8_t *put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> (8u * i));
    }
    return out + bytes;
}

static uint64_t get(struct reader *in, size_t bytes)
{
    uint64_t value = 0;
    if (in->left < bytes) {
        in->whole = false;
        in->left = 0;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)in->at[i] << (8u * i);
    }
    in->at += bytes;
    in->left -= bytes;
    return value;
}

static uint8_t *put_bytes(uint8_t *out, const void *data, size_t length, size_t most)
{
    size_t sent = length < most ? length : most;
    if (sent > 0u) {
        memcpy(out, data, sent);
    }
    return out + sent;
}

static const uint8_t *get_bytes(struct reader *in, size_t length)
{
    const uint8_t *data = in->at;
    if (in->left < length) {
        in->whole = false;
        in->left = 0;
        return data;
    }
    in->at += length;
    in->left -= length;
    return data;
}

static uint8_t *put_name(uint8_t *out, const struct ccnvr_text *name)
{
    size_t length = name->length < CCNVR_LONGEST_NAME ? name->length : CCNVR_LONGEST_NAME;
    out = put(out, length, 1);
    return put_bytes(out, name->data, length, length);
}

static struct ccnvr_text get_name(struct reader *in)
{
    struct ccnvr_text name;
    name.length = (size_t)get(in, 1);
    if (name.length > CCNVR_LONGEST_NAME) {
        in->whole = false;
        name.length = 0;
    }
    name.data = (const char *)get_bytes(in, name.length);
    return name;
}

static uint8_t *put_doubles(uint8_t *out, const struct ccnvr_doubles *doubles)
{
    for (size_t i = 0; i < doubles->length && i < CCNVR_MOST_COEFFICIENTS; i++) {
        uint64_t bits;
        memcpy(&bits, &doubles->values[i], sizeof bits);
        out = put(out, bits, sizeof bits);
    }
    return out;
}

static void get_doubles(struct reader *in, struct ccnvr_doubles *doubles)
{
    doubles->length = in->left / sizeof(uint64_t);
    if (in->left % sizeof(uint64_t) != 0u || doubles->length > CCNVR_MOST_COEFFICIENTS) {
        in->whole = false;
        doubles->length = 0;
    }
    for (size_t i = 0; i < doubles->length; i++) {
        uint64_t bits = get(in, sizeof bits);
        memcpy(&doubles->values[i], &bits, sizeof bits);
    }
}
"""
"""The functions that write and read one field, for the source."""
