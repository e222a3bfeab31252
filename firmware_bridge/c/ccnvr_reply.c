/* Replies are built in the device's buffer and sent; there they stay in case the request is repeated. */
#include "ccnvr_internal.h"

#include <string.h>

struct ccnvr_text ccnvr_text_of(const char *words)
{
    struct ccnvr_text text = {words, strlen(words)};
    return text;
}

static void begin_reply(struct ccnvr_device *device, struct ccnvr_builder *builder, uint8_t type, uint16_t chunk, uint16_t chunks)
{
    struct ccnvr_frame frame = {type, device->request.sequence, chunk, chunks, NULL, 0};
    ccnvr_builder_begin(builder, device->reply, sizeof device->reply, &frame);
}

void ccnvr_end_reply(struct ccnvr_device *device, struct ccnvr_builder *builder)
{
    device->reply_length = ccnvr_builder_end(builder);
    device->instrument->send(device->context, device->reply, device->reply_length);
}

static void reply_with(struct ccnvr_device *device, uint8_t type, const uint8_t *payload, size_t length)
{
    struct ccnvr_builder builder;
    begin_reply(device, &builder, type, 0, 1);
    ccnvr_builder_put(&builder, payload, length);
    ccnvr_end_reply(device, &builder);
}

void ccnvr_answer(struct ccnvr_device *device, const uint8_t *payload, size_t length)
{
    reply_with(device, device->request.type | 0x80u, payload, length);
}

void ccnvr_refuse(struct ccnvr_device *device, enum ccnvr_error_code code, const char *detail)
{
    uint8_t payload[CCNVR_LONGEST_REFUSAL];
    struct ccnvr_refusal refusal = {(uint16_t)code, ccnvr_text_of(detail)};
    reply_with(device, CCNVR_TYPE_ERROR, payload, ccnvr_pack_refusal(&refusal, payload));
}

void ccnvr_refuse_malformed(struct ccnvr_device *device)
{
    ccnvr_refuse(device, CCNVR_ERROR_CODE_MALFORMED, "malformed payload");
}

/* Return whether the chunk asked for exists, and begin the reply with it if so. */
bool ccnvr_begin_chunk(struct ccnvr_device *device, struct ccnvr_builder *builder, size_t bytes)
{
    uint16_t chunks = (uint16_t)((bytes + CCNVR_MAX_PAYLOAD - 1u) / CCNVR_MAX_PAYLOAD);
    if (device->request.chunk >= chunks) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "no such chunk");
        return false;
    }
    begin_reply(device, builder, device->request.type | 0x80u, device->request.chunk, chunks);
    return true;
}

size_t ccnvr_chunk_end(const struct ccnvr_device *device, size_t total, size_t per_chunk)
{
    size_t end = (device->request.chunk + 1u) * per_chunk;
    return end < total ? end : total;
}
