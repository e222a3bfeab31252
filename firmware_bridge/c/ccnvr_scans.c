/* Scans are taken, kept until they are acknowledged, and read. */
#include "ccnvr_internal.h"

#define NO_SLOT 0xFFu
#define SUM_BYTES 4u

static uint32_t *sums_of(const struct ccnvr_device *device, uint8_t slot)
{
    return device->memory.sums + (size_t)slot * device->instrument->pixels;
}

uint8_t ccnvr_samples_waiting(const struct ccnvr_device *device)
{
    uint8_t waiting = 0;
    for (uint8_t i = 0; i < device->memory.slot_count; i++) {
        const struct ccnvr_slot *slot = &device->memory.slots[i];
        waiting = (uint8_t)(waiting + (slot->used && slot->scanned.kind == CCNVR_SCAN_KIND_SAMPLE));
    }
    return waiting;
}

/* Dark and white use the first two slots; samples use any other free slot. */
static uint8_t slot_for(const struct ccnvr_device *device, uint8_t kind)
{
    if (kind != CCNVR_SCAN_KIND_SAMPLE) {
        return kind;
    }
    for (uint8_t i = 2; i < device->memory.slot_count; i++) {
        if (!device->memory.slots[i].used) {
            return i;
        }
    }
    return NO_SLOT;
}

static uint8_t slot_of(const struct ccnvr_device *device, uint32_t number)
{
    for (uint8_t i = 0; i < device->memory.slot_count; i++) {
        if (device->memory.slots[i].used && device->memory.slots[i].scanned.number == number) {
            return i;
        }
    }
    return NO_SLOT;
}

static uint32_t checksum(const uint32_t *sums, uint16_t pixels)
{
    uint32_t crc = 0;
    for (uint16_t i = 0; i < pixels; i++) {
        uint8_t bytes[SUM_BYTES];
        for (unsigned j = 0; j < SUM_BYTES; j++) {
            bytes[j] = (uint8_t)(sums[i] >> (8u * j));
        }
        crc = ccnvr_crc32(crc, bytes, sizeof bytes);
    }
    return crc;
}

static void answer_scanned(struct ccnvr_device *device, uint8_t slot)
{
    uint8_t payload[CCNVR_LONGEST_SCANNED];
    ccnvr_answer(device, payload, ccnvr_pack_scanned(&device->memory.slots[slot].scanned, payload));
}

static void light(const struct ccnvr_device *device, bool lamp_on, bool shutter_open)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    if (instrument->set_lamp != NULL) {
        instrument->set_lamp(device->context, lamp_on);
    }
    if (instrument->set_shutter != NULL) {
        instrument->set_shutter(device->context, shutter_open);
    }
}

void ccnvr_light_at_rest(const struct ccnvr_device *device)
{
    light(device, device->lamp == CCNVR_HELD_ON, device->shutter == CCNVR_HELD_ON);
}

/* Return whether lamp and shutter, as they are held, allow the light or darkness of this scan. */
static bool can_take(const struct ccnvr_device *device, uint8_t kind)
{
    bool has_lamp = device->instrument->set_lamp != NULL;
    bool has_shutter = device->instrument->set_shutter != NULL;
    if (kind != CCNVR_SCAN_KIND_DARK) {
        return device->lamp != CCNVR_HELD_OFF && device->shutter != CCNVR_HELD_OFF;
    }
    return (!has_lamp && !has_shutter) || (has_lamp && device->lamp != CCNVR_HELD_ON)
        || (has_shutter && device->shutter != CCNVR_HELD_ON);
}

static void end_scan(struct ccnvr_device *device, enum ccnvr_result result, const struct ccnvr_reading *reading)
{
    const struct ccnvr_scan_request *scan = &device->scan;
    device->scanning = false;
    ccnvr_light_at_rest(device);
    if (result != CCNVR_DONE) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_HARDWARE, "the detector failed");
        return;
    }
    struct ccnvr_slot *slot = &device->memory.slots[device->slot];
    slot->used = true;
    slot->scanned.number = device->next_number++;
    slot->scanned.kind = scan->kind;
    slot->scanned.saturated = reading->saturated;
    slot->scanned.integration_us = scan->integration_us;
    slot->scanned.averages = scan->averages;
    slot->scanned.pixels = device->instrument->pixels;
    slot->scanned.temperature_centi_c = reading->temperature_centi_c;
    slot->scanned.checksum = checksum(sums_of(device, device->slot), device->instrument->pixels);
    answer_scanned(device, device->slot);
}

void ccnvr_continue_scan(struct ccnvr_device *device)
{
    struct ccnvr_reading reading = {false, 0};
    enum ccnvr_result result = device->instrument->read_counts(
        device->context, (enum ccnvr_scan_kind)device->scan.kind, device->scan.averages, sums_of(device, device->slot), &reading);
    device->scanning = result == CCNVR_BUSY;
    if (!device->scanning) {
        end_scan(device, result, &reading);
    }
}

/* The host that asked for it has given up, or another host has come. */
void ccnvr_give_up_scan(struct ccnvr_device *device)
{
    if (device->scanning) {
        device->scanning = false;
        ccnvr_light_at_rest(device);
    }
}

void ccnvr_on_scan(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    struct ccnvr_scan_request *scan = &device->scan;
    if (!ccnvr_unpack_scan_request(request->payload, request->length, scan)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (scan->integration_us < instrument->shortest_integration_us || scan->integration_us > instrument->longest_integration_us) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "integration time");
        return;
    }
    if (scan->averages < 1u || scan->averages > instrument->most_averages) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "averages");
        return;
    }
    if (!can_take(device, scan->kind)) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_WRONG_STATE, "lamp or shutter is held otherwise than this scan needs");
        return;
    }
    device->slot = slot_for(device, scan->kind);
    if (device->slot == NO_SLOT) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_STORE_FULL, "samples wait to be acknowledged");
        return;
    }
    if (scan->kind != CCNVR_SCAN_KIND_DARK) {
        light(device, true, true);
    }
    /* The sums of an earlier reference are overwritten from here on. */
    device->memory.slots[device->slot].used = false;
    if (instrument->set_integration(device->context, scan->integration_us) != CCNVR_DONE) {
        end_scan(device, CCNVR_FAILED, NULL);
        return;
    }
    ccnvr_continue_scan(device);
}

void ccnvr_on_oldest(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_scan_number above;
    uint8_t found = NO_SLOT;
    if (!ccnvr_unpack_scan_number(request->payload, request->length, &above)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    for (uint8_t i = 0; i < device->memory.slot_count; i++) {
        const struct ccnvr_slot *slot = &device->memory.slots[i];
        if (slot->used && slot->scanned.number > above.number
            && (found == NO_SLOT || slot->scanned.number < device->memory.slots[found].scanned.number)) {
            found = i;
        }
    }
    if (found == NO_SLOT) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_NO_SUCH_SCAN, "every scan above is acknowledged");
        return;
    }
    answer_scanned(device, found);
}

void ccnvr_on_read(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_scan_number wanted;
    struct ccnvr_builder builder;
    size_t pixels = device->instrument->pixels;
    if (!ccnvr_unpack_scan_number(request->payload, request->length, &wanted)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    uint8_t slot = slot_of(device, wanted.number);
    if (slot == NO_SLOT) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_NO_SUCH_SCAN, "the scan is not kept");
        return;
    }
    if (!ccnvr_begin_chunk(device, &builder, SUM_BYTES * pixels)) {
        return;
    }
    for (size_t i = request->chunk * WORDS_PER_CHUNK; i < ccnvr_chunk_end(device, pixels, WORDS_PER_CHUNK); i++) {
        ccnvr_builder_put_u32(&builder, sums_of(device, slot)[i]);
    }
    ccnvr_end_reply(device, &builder);
}

void ccnvr_on_acknowledge(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    struct ccnvr_scan_number done;
    if (!ccnvr_unpack_scan_number(request->payload, request->length, &done)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    uint8_t slot = slot_of(device, done.number);
    if (slot != NO_SLOT) {
        device->memory.slots[slot].used = false;
    }
    uint8_t payload[CCNVR_LONGEST_SCAN_NUMBER];
    ccnvr_answer(device, payload, ccnvr_pack_scan_number(&done, payload));
}
