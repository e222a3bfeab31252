/* Whatever requests, noise and pauses arrive, the device does not fail, and it answers only with whole
   frames. This is an entry point for libFuzzer; fuzz_main.c runs it without libFuzzer.

   An input is a list of actions. Each is a byte that selects it, followed by its arguments: a request
   with any type and payload, raw bytes, a pause, the button, or a detector that is busy or fails. */
#include "test_by_the_book.h"
#include "test_instrument.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t next(struct input *input)
{
    if (input->left == 0u) {
        return 0;
    }
    input->left--;
    return *input->data++;
}

static const uint8_t *some(struct input *input, size_t *length)
{
    const uint8_t *data = input->data;
    *length = *length < input->left ? *length : input->left;
    input->data += *length;
    input->left -= *length;
    return data;
}

static void send_request(struct ccnvr_device *device, struct input *input, bool repeat)
{
    static uint16_t sequence;
    uint8_t wire[CCNVR_BUILDER_BYTES];
    struct ccnvr_frame frame = {.type = next(input), .chunk = next(input), .chunks = 0xFFFF};
    frame.length = next(input);
    frame.payload = some(input, &frame.length);
    frame.sequence = sequence++;
    size_t length = ccnvr_build(wire, sizeof wire, &frame);
    ccnvr_device_receive(device, wire, length);
    if (repeat) {
        ccnvr_device_receive(device, wire, length);
    }
}

static void check_replies(struct test_bench *bench)
{
    size_t start = 0;
    for (size_t i = 0; i < bench->sent_length; i++) {
        uint8_t body[BOOK_MOST_ENCODED];
        size_t length;
        if (bench->sent[i] == 0u) {
            if (!book_is_frame(bench->sent + start, i - start, body, &length)) {
                abort();
            }
            start = i + 1u;
        }
    }
    if (start != bench->sent_length) {
        abort();
    }
    bench->sent_length = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_bench bench;
    struct input input = {data, size};
    struct ccnvr_device *device = malloc(sizeof *device);
    uint32_t now_ms = 0;
    size_t length;
    if (device == NULL) {
        abort();
    }
    test_start(&bench, device, next(&input) % 2u == 0u ? &test_full : &test_bare);
    while (input.left > 0u) {
        uint8_t action = next(&input);
        switch (action % 8u) {
        case 0:
            length = next(&input);
            const uint8_t *noise = some(&input, &length);
            ccnvr_device_receive(device, noise, length);
            break;
        case 1:
            now_ms += 8u * next(&input);
            ccnvr_device_poll(device, now_ms);
            break;
        case 2:
            ccnvr_device_press(device);
            break;
        case 3:
            bench.counts_result = (enum ccnvr_result)(next(&input) % 3u);
            bench.integration_result = bench.counts_result == CCNVR_FAILED ? CCNVR_FAILED : CCNVR_DONE;
            bench.write_result = bench.integration_result;
            break;
        default:
            send_request(device, &input, action >= 128u);
        }
        check_replies(&bench);
    }
    free(device);
    return 0;
}
