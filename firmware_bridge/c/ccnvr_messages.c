/* The messages of the ccnvr link, PROTOCOL.md. Generated from link.toml by `make generate`: change that file, not this one. */
#include "ccnvr_messages.h"

#include <string.h>

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

size_t ccnvr_pack_hello(const struct ccnvr_hello *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->nonce, 4);
    return (size_t)(end - out);
}

bool ccnvr_unpack_hello(const uint8_t *payload, size_t length, struct ccnvr_hello *message)
{
    struct reader in = {payload, length, true};
    message->nonce = (uint32_t)get(&in, 4);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_capabilities(const struct ccnvr_capabilities *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->nonce, 4);
    end = put(end, message->boot, 4);
    end = put(end, message->pixels, 2);
    end = put(end, message->saturation_counts, 4);
    end = put(end, message->shortest_integration_us, 4);
    end = put(end, message->longest_integration_us, 4);
    end = put(end, message->most_averages, 2);
    end = put_name(end, &message->model);
    end = put_name(end, &message->serial);
    end = put_name(end, &message->firmware);
    end = put(end, message->features, 4);
    end = put(end, message->memory_bytes, 2);
    end = put(end, message->fastest_baud, 4);
    end = put(end, message->samples_kept, 1);
    return (size_t)(end - out);
}

bool ccnvr_unpack_capabilities(const uint8_t *payload, size_t length, struct ccnvr_capabilities *message)
{
    struct reader in = {payload, length, true};
    message->nonce = (uint32_t)get(&in, 4);
    message->boot = (uint32_t)get(&in, 4);
    message->pixels = (uint16_t)get(&in, 2);
    message->saturation_counts = (uint32_t)get(&in, 4);
    message->shortest_integration_us = (uint32_t)get(&in, 4);
    message->longest_integration_us = (uint32_t)get(&in, 4);
    message->most_averages = (uint16_t)get(&in, 2);
    message->model = get_name(&in);
    message->serial = get_name(&in);
    message->firmware = get_name(&in);
    if (in.whole && in.left == 0u) {
        message->features = 0;
        message->memory_bytes = 0;
        message->fastest_baud = 0;
        message->samples_kept = 8;
        return true;
    }
    message->features = (uint32_t)get(&in, 4);
    message->memory_bytes = (uint16_t)get(&in, 2);
    message->fastest_baud = (uint32_t)get(&in, 4);
    message->samples_kept = (uint8_t)get(&in, 1);
    return in.whole;
}

size_t ccnvr_pack_scan_request(const struct ccnvr_scan_request *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->kind, 1);
    end = put(end, message->integration_us, 4);
    end = put(end, message->averages, 2);
    return (size_t)(end - out);
}

bool ccnvr_unpack_scan_request(const uint8_t *payload, size_t length, struct ccnvr_scan_request *message)
{
    struct reader in = {payload, length, true};
    message->kind = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->kind <= 2;
    message->integration_us = (uint32_t)get(&in, 4);
    message->averages = (uint16_t)get(&in, 2);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_scanned(const struct ccnvr_scanned *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->number, 4);
    end = put(end, message->kind, 1);
    end = put(end, message->saturated, 1);
    end = put(end, message->integration_us, 4);
    end = put(end, message->averages, 2);
    end = put(end, message->pixels, 2);
    end = put(end, (uint16_t)message->temperature_centi_c, 2);
    end = put(end, message->checksum, 4);
    return (size_t)(end - out);
}

bool ccnvr_unpack_scanned(const uint8_t *payload, size_t length, struct ccnvr_scanned *message)
{
    struct reader in = {payload, length, true};
    message->number = (uint32_t)get(&in, 4);
    message->kind = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->kind <= 2;
    message->saturated = (get(&in, 1) & 1u) != 0u;
    message->integration_us = (uint32_t)get(&in, 4);
    message->averages = (uint16_t)get(&in, 2);
    message->pixels = (uint16_t)get(&in, 2);
    message->temperature_centi_c = (int16_t)(uint16_t)get(&in, 2);
    message->checksum = (uint32_t)get(&in, 4);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_scan_number(const struct ccnvr_scan_number *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->number, 4);
    return (size_t)(end - out);
}

bool ccnvr_unpack_scan_number(const uint8_t *payload, size_t length, struct ccnvr_scan_number *message)
{
    struct reader in = {payload, length, true};
    message->number = (uint32_t)get(&in, 4);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_refusal(const struct ccnvr_refusal *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->code, 2);
    end = put_bytes(end, message->detail.data, message->detail.length, CCNVR_LONGEST_DETAIL);
    return (size_t)(end - out);
}

bool ccnvr_unpack_refusal(const uint8_t *payload, size_t length, struct ccnvr_refusal *message)
{
    struct reader in = {payload, length, true};
    message->code = (uint16_t)get(&in, 2);
    message->detail.length = in.left;
    message->detail.data = (const char *)get_bytes(&in, in.left);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_status(const struct ccnvr_status *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->boot, 4);
    end = put(end, message->presses, 4);
    end = put(end, (uint16_t)message->temperature_centi_c, 2);
    end = put(end, message->waiting, 1);
    end = put(end, message->flags, 1);
    return (size_t)(end - out);
}

bool ccnvr_unpack_status(const uint8_t *payload, size_t length, struct ccnvr_status *message)
{
    struct reader in = {payload, length, true};
    message->boot = (uint32_t)get(&in, 4);
    message->presses = (uint32_t)get(&in, 4);
    message->temperature_centi_c = (int16_t)(uint16_t)get(&in, 2);
    message->waiting = (uint8_t)get(&in, 1);
    message->flags = (uint8_t)get(&in, 1);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_hold(const struct ccnvr_hold *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->lamp, 1);
    end = put(end, message->shutter, 1);
    return (size_t)(end - out);
}

bool ccnvr_unpack_hold(const uint8_t *payload, size_t length, struct ccnvr_hold *message)
{
    struct reader in = {payload, length, true};
    message->lamp = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->lamp <= 2;
    message->shutter = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->shutter <= 2;
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_baud_rate(const struct ccnvr_baud_rate *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->baud, 4);
    return (size_t)(end - out);
}

bool ccnvr_unpack_baud_rate(const uint8_t *payload, size_t length, struct ccnvr_baud_rate *message)
{
    struct reader in = {payload, length, true};
    message->baud = (uint32_t)get(&in, 4);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_coefficients_request(const struct ccnvr_coefficients_request *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->kind, 1);
    return (size_t)(end - out);
}

bool ccnvr_unpack_coefficients_request(const uint8_t *payload, size_t length, struct ccnvr_coefficients_request *message)
{
    struct reader in = {payload, length, true};
    message->kind = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->kind <= 1;
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_coefficients(const struct ccnvr_coefficients *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->kind, 1);
    end = put_doubles(end, &message->values);
    return (size_t)(end - out);
}

bool ccnvr_unpack_coefficients(const uint8_t *payload, size_t length, struct ccnvr_coefficients *message)
{
    struct reader in = {payload, length, true};
    message->kind = (uint8_t)get(&in, 1);
    in.whole = in.whole && message->kind <= 1;
    get_doubles(&in, &message->values);
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_memory_block(const struct ccnvr_memory_block *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->offset, 2);
    end = put_bytes(end, message->data.data, message->data.length, CCNVR_MAX_REQUEST - 2u);
    return (size_t)(end - out);
}

bool ccnvr_unpack_memory_block(const uint8_t *payload, size_t length, struct ccnvr_memory_block *message)
{
    struct reader in = {payload, length, true};
    message->offset = (uint16_t)get(&in, 2);
    message->data.length = in.left;
    message->data.data = get_bytes(&in, in.left);
    in.whole = in.whole && message->data.length > 0u && message->data.length <= CCNVR_MAX_REQUEST - 2u;
    return in.whole && in.left == 0u;
}

size_t ccnvr_pack_memory_written(const struct ccnvr_memory_written *message, uint8_t *out)
{
    uint8_t *end = out;
    end = put(end, message->offset, 2);
    end = put(end, message->length, 2);
    return (size_t)(end - out);
}

bool ccnvr_unpack_memory_written(const uint8_t *payload, size_t length, struct ccnvr_memory_written *message)
{
    struct reader in = {payload, length, true};
    message->offset = (uint16_t)get(&in, 2);
    message->length = (uint16_t)get(&in, 2);
    return in.whole && in.left == 0u;
}
