/* Requests about the instrument itself, lamp and shutter, and the user memory. */
#include "ccnvr_internal.h"

#include <string.h>

void ccnvr_on_hello(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    struct ccnvr_hello hello;
    if (!ccnvr_unpack_hello(request->payload, request->length, &hello)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    struct ccnvr_capabilities capabilities = {
        .nonce = hello.nonce,
        .boot = device->boot,
        .pixels = instrument->pixels,
        .saturation_counts = instrument->saturation_counts,
        .shortest_integration_us = instrument->shortest_integration_us,
        .longest_integration_us = instrument->longest_integration_us,
        .most_averages = instrument->most_averages,
        .model = ccnvr_text_of(instrument->model),
        .serial = ccnvr_text_of(instrument->serial),
        .firmware = ccnvr_text_of(instrument->firmware),
        .memory_bytes = instrument->memory_bytes,
        .fastest_baud = instrument->set_baud != NULL ? instrument->fastest_baud : 0u,
        .samples_kept = (uint8_t)(device->memory.slot_count - 2u),
    };
    capabilities.features |= instrument->set_lamp != NULL ? CCNVR_FEATURE_LAMP : 0u;
    capabilities.features |= instrument->set_shutter != NULL ? CCNVR_FEATURE_SHUTTER : 0u;
    capabilities.features |= instrument->has_button ? CCNVR_FEATURE_BUTTON : 0u;
    capabilities.features |= instrument->read_temperature != NULL ? CCNVR_FEATURE_THERMOMETER : 0u;
    uint8_t payload[CCNVR_LONGEST_CAPABILITIES];
    ccnvr_answer(device, payload, ccnvr_pack_capabilities(&capabilities, payload));
}

void ccnvr_on_wavelengths(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    size_t pixels = device->instrument->pixels;
    struct ccnvr_builder builder;
    if (request->length > 0u) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (!ccnvr_begin_chunk(device, &builder, 4u * pixels)) {
        return;
    }
    for (size_t i = request->chunk * WORDS_PER_CHUNK; i < ccnvr_chunk_end(device, pixels, WORDS_PER_CHUNK); i++) {
        uint32_t bits;
        memcpy(&bits, &device->instrument->wavelengths_nm[i], sizeof bits);
        ccnvr_builder_put_u32(&builder, bits);
    }
    ccnvr_end_reply(device, &builder);
}

static void answer_status(struct ccnvr_device *device)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    struct ccnvr_status status = {.boot = device->boot, .presses = device->presses, .waiting = ccnvr_samples_waiting(device)};
    status.temperature_centi_c = instrument->read_temperature != NULL ? instrument->read_temperature(device->context) : (int16_t)0;
    status.flags = (uint8_t)((device->lamp == CCNVR_HELD_ON ? CCNVR_STATUS_FLAG_LAMP_ON : 0u)
                             | (device->shutter == CCNVR_HELD_ON ? CCNVR_STATUS_FLAG_SHUTTER_OPEN : 0u));
    uint8_t payload[CCNVR_LONGEST_STATUS];
    ccnvr_answer(device, payload, ccnvr_pack_status(&status, payload));
}

void ccnvr_on_status(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    if (request->length > 0u) {
        ccnvr_refuse_malformed(device);
        return;
    }
    answer_status(device);
}

void ccnvr_on_hold(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_hold hold;
    if (!ccnvr_unpack_hold(request->payload, request->length, &hold)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (hold.lamp != CCNVR_HELD_AUTOMATIC && device->instrument->set_lamp == NULL) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "there is no lamp");
        return;
    }
    if (hold.shutter != CCNVR_HELD_AUTOMATIC && device->instrument->set_shutter == NULL) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "there is no shutter");
        return;
    }
    device->lamp = hold.lamp;
    device->shutter = hold.shutter;
    ccnvr_light_at_rest(device);
    answer_status(device);
}

void ccnvr_on_coefficients(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_coefficients_request wanted;
    struct ccnvr_coefficients found = {.kind = 0};
    if (!ccnvr_unpack_coefficients_request(request->payload, request->length, &wanted)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    found.kind = wanted.kind;
    if (device->instrument->coefficients[wanted.kind] != NULL) {
        found.values = *device->instrument->coefficients[wanted.kind];
    }
    uint8_t payload[CCNVR_LONGEST_COEFFICIENTS];
    ccnvr_answer(device, payload, ccnvr_pack_coefficients(&found, payload));
}

void ccnvr_on_memory(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_builder builder;
    size_t total = device->instrument->memory_bytes;
    if (request->length > 0u) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (total == 0u) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_UNKNOWN_REQUEST, "there is no user memory");
        return;
    }
    if (!ccnvr_begin_chunk(device, &builder, total)) {
        return;
    }
    size_t end = ccnvr_chunk_end(device, total, CCNVR_MAX_PAYLOAD);
    for (size_t at = request->chunk * CCNVR_MAX_PAYLOAD; at < end;) {
        uint8_t block[32];
        size_t length = end - at < sizeof block ? end - at : sizeof block;
        device->instrument->read_memory(device->context, (uint16_t)at, block, length);
        ccnvr_builder_put(&builder, block, length);
        at += length;
    }
    ccnvr_end_reply(device, &builder);
}

void ccnvr_on_write(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_memory_block block;
    if (!ccnvr_unpack_memory_block(request->payload, request->length, &block)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (device->instrument->memory_bytes == 0u) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_UNKNOWN_REQUEST, "there is no user memory");
        return;
    }
    if (block.offset + block.data.length > device->instrument->memory_bytes) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "beyond the end of the user memory");
        return;
    }
    if (device->instrument->write_memory(device->context, block.offset, block.data.data, block.data.length) != CCNVR_DONE) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_HARDWARE, "the user memory cannot be written");
        return;
    }
    struct ccnvr_memory_written written = {block.offset, (uint16_t)block.data.length};
    uint8_t payload[CCNVR_LONGEST_MEMORY_WRITTEN];
    ccnvr_answer(device, payload, ccnvr_pack_memory_written(&written, payload));
}
