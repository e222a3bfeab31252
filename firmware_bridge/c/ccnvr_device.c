/* The dispatch of requests, their repeats, time, and the rate of the line. */
#include "ccnvr_internal.h"

#include <string.h>

void ccnvr_device_init(
    struct ccnvr_device *device,
    const struct ccnvr_instrument *instrument,
    const struct ccnvr_memory *memory,
    uint32_t boot,
    void *context)
{
    memset(device, 0, sizeof *device);
    device->instrument = instrument;
    device->memory = *memory;
    device->context = context;
    device->boot = boot;
    device->next_number = 1;
    device->baud = instrument->starting_baud;
    for (uint8_t i = 0; i < memory->slot_count; i++) {
        memory->slots[i].used = false;
    }
    ccnvr_parser_init(&device->parser, device->body, sizeof device->body);
}

void ccnvr_device_press(struct ccnvr_device *device)
{
    device->presses++;
}

static void change_baud(struct ccnvr_device *device, uint32_t baud)
{
    device->baud = baud;
    device->instrument->set_baud(device->context, baud);
    ccnvr_parser_init(&device->parser, device->body, sizeof device->body);
    device->unheard = baud != device->instrument->starting_baud;
    device->unheard_ms = device->now_ms;
}

static void on_baud(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    struct ccnvr_baud_rate rate;
    if (!ccnvr_unpack_baud_rate(request->payload, request->length, &rate)) {
        ccnvr_refuse_malformed(device);
        return;
    }
    if (instrument->set_baud == NULL) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_UNKNOWN_REQUEST, "the baud rate is fixed");
        return;
    }
    if (rate.baud < instrument->slowest_baud || rate.baud > instrument->fastest_baud) {
        ccnvr_refuse(device, CCNVR_ERROR_CODE_OUT_OF_RANGE, "baud rate");
        return;
    }
    uint8_t payload[CCNVR_LONGEST_BAUD_RATE];
    ccnvr_answer(device, payload, ccnvr_pack_baud_rate(&rate, payload));
    change_baud(device, rate.baud);
}

static void listen_for_sense(struct ccnvr_device *device, enum ccnvr_event event)
{
    if (event == CCNVR_FRAME) {
        device->unheard = false;
    } else if (!device->unheard) {
        device->unheard = true;
        device->unheard_ms = device->now_ms;
    }
}

static void carry_out(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    static const struct {
        uint8_t type;
        void (*answer)(struct ccnvr_device *, const struct ccnvr_frame *);
    } requests[] = {
        {CCNVR_TYPE_HELLO, ccnvr_on_hello},
        {CCNVR_TYPE_WAVELENGTHS, ccnvr_on_wavelengths},
        {CCNVR_TYPE_SCAN, ccnvr_on_scan},
        {CCNVR_TYPE_OLDEST, ccnvr_on_oldest},
        {CCNVR_TYPE_READ, ccnvr_on_read},
        {CCNVR_TYPE_ACKNOWLEDGE, ccnvr_on_acknowledge},
        {CCNVR_TYPE_STATUS, ccnvr_on_status},
        {CCNVR_TYPE_HOLD, ccnvr_on_hold},
        {CCNVR_TYPE_BAUD, on_baud},
        {CCNVR_TYPE_COEFFICIENTS, ccnvr_on_coefficients},
        {CCNVR_TYPE_MEMORY, ccnvr_on_memory},
        {CCNVR_TYPE_WRITE, ccnvr_on_write},
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (requests[i].type == request->type) {
            requests[i].answer(device, request);
            return;
        }
    }
    ccnvr_refuse(device, CCNVR_ERROR_CODE_UNKNOWN_REQUEST, "unknown request");
}

static void take_request(struct ccnvr_device *device, const struct ccnvr_frame *request)
{
    size_t length = CCNVR_HEADER_BYTES + request->length + CCNVR_CRC_BYTES;
    /* A request that is repeated because its reply was lost, or is not ready yet, must not be carried
       out twice. */
    if (length == device->last_length && memcmp(device->last, device->body, length) == 0) {
        if (!device->scanning) {
            device->instrument->send(device->context, device->reply, device->reply_length);
        }
        return;
    }
    ccnvr_give_up_scan(device);
    memcpy(device->last, device->body, length);
    device->last_length = length;
    device->request = *request;
    device->request.payload = NULL;
    carry_out(device, request);
}

static void refuse_version(struct ccnvr_device *device)
{
    /* The reply has sequence 0 and our own version, which the host learns from it. The request before is
       forgotten. */
    device->request.sequence = 0;
    device->last_length = 0;
    ccnvr_give_up_scan(device);
    ccnvr_refuse(device, CCNVR_ERROR_CODE_OTHER_VERSION, "this instrument speaks another version");
}

void ccnvr_device_receive(struct ccnvr_device *device, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        struct ccnvr_frame request;
        enum ccnvr_event event = ccnvr_parser_push(&device->parser, data[i], &request);
        listen_for_sense(device, event);
        if (event == CCNVR_FRAME) {
            take_request(device, &request);
        } else if (event == CCNVR_BAD_VERSION) {
            refuse_version(device);
        }
    }
}

void ccnvr_device_poll(struct ccnvr_device *device, uint32_t now_ms)
{
    const struct ccnvr_instrument *instrument = device->instrument;
    device->now_ms = now_ms;
    if (device->scanning) {
        ccnvr_continue_scan(device);
    }
    if (device->baud != instrument->starting_baud && device->unheard
        && now_ms - device->unheard_ms > CCNVR_BAUD_FALLBACK_MS) {
        /* The last request is forgotten, because a BAUD whose reply was lost must be carried out anew. */
        device->last_length = 0;
        change_baud(device, instrument->starting_baud);
    }
}
