/* Tests of the golden vectors in both directions and of the device; exits with 1 if a check fails. */
#include "test_instrument.h"

#include <stdio.h>
#include <stdlib.h>

static int failures;
static int checks;

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

static void check(bool condition, const char *text, const char *file, int line)
{
    checks++;
    if (!condition) {
        failures++;
        printf("%s:%d: %s\n", file, line, text);
    }
}

/* Each payload packs into its bytes, which unpack into what packs into them again; and of a payload that
   is cut short, nothing beyond its end is read. */
#define CHECK_PAYLOAD(payload, message, wire)                                            \
    do {                                                                                 \
        uint8_t packed[CCNVR_MAX_PAYLOAD];                                               \
        struct ccnvr_##payload again;                                                    \
        memset(&again, 0, sizeof again);                                                 \
        CHECK(ccnvr_pack_##payload(&(message), packed) == sizeof(wire));                 \
        CHECK(memcmp(packed, wire, sizeof(wire)) == 0);                                  \
        CHECK(ccnvr_unpack_##payload(wire, sizeof(wire), &again));                       \
        CHECK(ccnvr_pack_##payload(&again, packed) == sizeof(wire));                     \
        CHECK(memcmp(packed, wire, sizeof(wire)) == 0);                                  \
        for (size_t length = 0; length < sizeof(wire); length++) {                       \
            uint8_t *cut = malloc(length + (length == 0u));                              \
            memcpy(cut, wire, length);                                                   \
            (void)ccnvr_unpack_##payload(cut, length, &again);                           \
            free(cut);                                                                   \
        }                                                                                \
    } while (0)

#include "test_vectors.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint8_t buffer[CCNVR_PARSER_BYTES];

static enum ccnvr_event push_all(struct ccnvr_parser *parser, const uint8_t *data, size_t length, struct ccnvr_frame *frame)
{
    enum ccnvr_event event = CCNVR_NOTHING;
    for (size_t i = 0; i < length; i++) {
        CHECK(event == CCNVR_NOTHING);
        event = ccnvr_parser_push(parser, data[i], frame);
    }
    return event;
}

static void check_vector(struct ccnvr_parser *parser, const struct frame_vector *vector)
{
    struct ccnvr_frame frame;
    CHECK(push_all(parser, vector->wire, vector->wire_length, &frame) == CCNVR_FRAME);
    CHECK(frame.type == vector->frame.type && frame.sequence == vector->frame.sequence);
    CHECK(frame.chunk == vector->frame.chunk && frame.chunks == vector->frame.chunks);
    CHECK(frame.length == vector->frame.length && memcmp(frame.payload, vector->frame.payload, frame.length) == 0);
}

static void frames_decode_with_garbage_between(void)
{
    struct ccnvr_parser parser;
    struct ccnvr_frame frame;
    ccnvr_parser_init(&parser, buffer, sizeof buffer);
    for (size_t i = 0; i < COUNT(frame_vectors); i++) {
        check_vector(&parser, &frame_vectors[i]);
        for (size_t j = 0; j < COUNT(damage_vectors); j++) {
            CHECK(push_all(&parser, damage_vectors[j].wire, damage_vectors[j].wire_length, &frame) == damage_vectors[j].reason);
        }
        CHECK(ccnvr_parser_push(&parser, 0, &frame) == CCNVR_NOTHING);
        check_vector(&parser, &frame_vectors[i]);
    }
}

static void frames_encode(void)
{
    uint8_t wire[CCNVR_BUILDER_BYTES];
    for (size_t i = 0; i < COUNT(frame_vectors); i++) {
        const struct frame_vector *vector = &frame_vectors[i];
        if (vector->encodes) {
            CHECK(ccnvr_build(wire, sizeof wire, &vector->frame) == vector->wire_length);
            CHECK(memcmp(wire, vector->wire, vector->wire_length) == 0);
            CHECK(ccnvr_build(wire, vector->wire_length - 1u, &vector->frame) == 0u);
        }
    }
}

static void what_does_not_fit_the_wire_is_not_built(void)
{
    static uint8_t payload[CCNVR_MAX_PAYLOAD + 1u];
    uint8_t wire[2 * CCNVR_BUILDER_BYTES];
    struct ccnvr_frame frame = {1, 0, 0, 1, payload, sizeof payload};
    CHECK(ccnvr_build(wire, sizeof wire, &frame) == 0u);
    frame.length = 1;
    frame.chunks = 0;
    CHECK(ccnvr_build(wire, sizeof wire, &frame) == 0u);
}

static void a_small_parser_refuses_what_it_cannot_hold(void)
{
    struct ccnvr_parser parser;
    struct ccnvr_frame frame;
    uint8_t *small = malloc(CCNVR_REQUEST_BYTES);
    ccnvr_parser_init(&parser, small, CCNVR_REQUEST_BYTES);
    for (size_t i = 0; i < COUNT(frame_vectors); i++) {
        const struct frame_vector *vector = &frame_vectors[i];
        enum ccnvr_event expected = vector->frame.length <= CCNVR_MAX_REQUEST ? CCNVR_FRAME : CCNVR_BAD_LENGTH;
        CHECK(push_all(&parser, vector->wire, vector->wire_length, &frame) == expected);
    }
    ccnvr_parser_init(&parser, small, 2u * CCNVR_MAX_BODY);
    CHECK(parser.capacity == CCNVR_MAX_BODY);
    free(small);
}

/* --- the device --- */

static struct test_bench bench;
static struct ccnvr_device device;

/* Send a request and return the type of the only reply, which is in `answer`; 0 if there is none. */
static struct ccnvr_frame answer;

static uint8_t ask_again(uint8_t type, uint16_t sequence, uint16_t chunk, const uint8_t *payload, size_t length)
{
    uint8_t wire[CCNVR_BUILDER_BYTES];
    struct ccnvr_frame request = {type, sequence, chunk, 0xFFFF, payload, length};
    struct ccnvr_parser parser;
    bench.sent_length = 0;
    ccnvr_device_receive(&device, wire, ccnvr_build(wire, sizeof wire, &request));
    ccnvr_parser_init(&parser, buffer, sizeof buffer);
    return push_all(&parser, bench.sent, bench.sent_length, &answer) == CCNVR_FRAME ? answer.type : 0u;
}

static uint8_t ask(uint8_t type, uint16_t chunk, const uint8_t *payload, size_t length)
{
    static uint16_t sequence;
    return ask_again(type, ++sequence, chunk, payload, length);
}

static bool refused(uint8_t type, enum ccnvr_error_code code)
{
    struct ccnvr_refusal refusal;
    return type == CCNVR_TYPE_ERROR && ccnvr_unpack_refusal(answer.payload, answer.length, &refusal) && refusal.code == code;
}

static uint8_t scan(uint8_t kind, uint32_t integration_us, uint16_t averages)
{
    uint8_t payload[CCNVR_LONGEST_SCAN_REQUEST];
    struct ccnvr_scan_request request = {kind, integration_us, averages};
    return ask(CCNVR_TYPE_SCAN, 0, payload, ccnvr_pack_scan_request(&request, payload));
}

static uint8_t ask_number(uint8_t type, uint16_t chunk, uint32_t number)
{
    uint8_t payload[CCNVR_LONGEST_SCAN_NUMBER];
    struct ccnvr_scan_number wanted = {number};
    return ask(type, chunk, payload, ccnvr_pack_scan_number(&wanted, payload));
}

static uint8_t hold(uint8_t lamp, uint8_t shutter)
{
    uint8_t payload[] = {lamp, shutter};
    return ask(CCNVR_TYPE_HOLD, 0, payload, sizeof payload);
}

static uint8_t set_baud(uint32_t baud)
{
    uint8_t payload[CCNVR_LONGEST_BAUD_RATE];
    struct ccnvr_baud_rate rate = {baud};
    return ask(CCNVR_TYPE_BAUD, 0, payload, ccnvr_pack_baud_rate(&rate, payload));
}

static uint8_t write_at(uint16_t offset, size_t length)
{
    uint8_t payload[CCNVR_MAX_REQUEST] = {(uint8_t)offset, (uint8_t)(offset >> 8), 1, 2, 3};
    return ask(CCNVR_TYPE_WRITE, 0, payload, 2u + length);
}

static void scans_are_kept_until_acknowledged(void)
{
    struct ccnvr_scanned scanned;
    test_start(&bench, &device, &test_full);
    CHECK(refused(ask_number(CCNVR_TYPE_OLDEST, 0, 0), CCNVR_ERROR_CODE_NO_SUCH_SCAN));
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 3) == CCNVR_TYPE_SCANNED);
    CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == 1u && !scanned.saturated);
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 3) == CCNVR_TYPE_SCANNED);
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 3), CCNVR_ERROR_CODE_STORE_FULL));
    CHECK(scan(CCNVR_SCAN_KIND_WHITE, 100, 3) == CCNVR_TYPE_SCANNED);
    CHECK(scan(CCNVR_SCAN_KIND_WHITE, 100, 3) == CCNVR_TYPE_SCANNED);
    CHECK(refused(ask_number(CCNVR_TYPE_READ, 0, 3), CCNVR_ERROR_CODE_NO_SUCH_SCAN));
    CHECK(ask_number(CCNVR_TYPE_READ, 1, 4) == CCNVR_TYPE_DATA && answer.length == 4u * (TEST_PIXELS - 256u));
    CHECK(answer.payload[0] == (uint8_t)(3u * 1256u) && answer.payload[1] == (uint8_t)((3u * 1256u) >> 8));
    CHECK(refused(ask_number(CCNVR_TYPE_READ, 2, 4), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(ask_number(CCNVR_TYPE_ACKNOWLEDGE, 0, 1) == CCNVR_TYPE_ACKNOWLEDGED);
    CHECK(ask_number(CCNVR_TYPE_ACKNOWLEDGE, 0, 1) == CCNVR_TYPE_ACKNOWLEDGED);
    CHECK(ask_number(CCNVR_TYPE_OLDEST, 0, 0) == CCNVR_TYPE_OLDEST_SCANNED);
    CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == 2u);
    CHECK(ask_number(CCNVR_TYPE_OLDEST, 0, 2) == CCNVR_TYPE_OLDEST_SCANNED);
    CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == 4u && scanned.saturated);
    /* A slot that is free again comes before an older scan, so the oldest must be found by its number. */
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 3) == CCNVR_TYPE_SCANNED);
    CHECK(ask_number(CCNVR_TYPE_OLDEST, 0, 0) == CCNVR_TYPE_OLDEST_SCANNED);
    CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == 2u);
}

static void a_repeated_request_is_not_carried_out_again(void)
{
    static const uint8_t payload[] = {2, 100, 0, 0, 0, 1, 0};
    uint8_t first[64];
    test_start(&bench, &device, &test_full);
    CHECK(ask_again(CCNVR_TYPE_SCAN, 9, 0, payload, sizeof payload) == CCNVR_TYPE_SCANNED);
    size_t length = bench.sent_length;
    memcpy(first, bench.sent, length);
    CHECK(ask_again(CCNVR_TYPE_SCAN, 9, 0, payload, sizeof payload) == CCNVR_TYPE_SCANNED);
    CHECK(length == bench.sent_length && memcmp(first, bench.sent, length) == 0 && bench.scans == 1u);
    CHECK(ask_again(CCNVR_TYPE_SCAN, 10, 0, payload, sizeof payload) == CCNVR_TYPE_SCANNED && bench.scans == 2u);
}

static void a_scan_takes_its_time(void)
{
    static const uint8_t payload[] = {2, 100, 0, 0, 0, 1, 0};
    test_start(&bench, &device, &test_full);
    bench.counts_result = CCNVR_BUSY;
    CHECK(ask_again(CCNVR_TYPE_SCAN, 700, 0, payload, sizeof payload) == 0u && bench.lamp && bench.shutter);
    CHECK(ask_again(CCNVR_TYPE_SCAN, 700, 0, payload, sizeof payload) == 0u && bench.scans == 1u);
    ccnvr_device_poll(&device, 1);
    CHECK(bench.scans == 2u && bench.sent_length == 0u);
    bench.counts_result = CCNVR_DONE;
    ccnvr_device_poll(&device, 2);
    CHECK(bench.scans == 3u && bench.sent_length > 0u && !bench.lamp && !bench.shutter);
    /* Another request abandons the scan. */
    bench.counts_result = CCNVR_BUSY;
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1) == 0u);
    CHECK(ask(CCNVR_TYPE_STATUS, 0, NULL, 0) == CCNVR_TYPE_STATUS_NOW && !bench.lamp);
    ccnvr_device_poll(&device, 3);
    CHECK(bench.scans == 4u);
}

static void failures_of_hardware_are_told(void)
{
    test_start(&bench, &device, &test_full);
    bench.integration_result = CCNVR_FAILED;
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1), CCNVR_ERROR_CODE_HARDWARE) && bench.scans == 0u && !bench.lamp);
    bench.integration_result = CCNVR_DONE;
    bench.counts_result = CCNVR_FAILED;
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1), CCNVR_ERROR_CODE_HARDWARE) && bench.scans == 1u);
    CHECK(refused(ask_number(CCNVR_TYPE_OLDEST, 0, 0), CCNVR_ERROR_CODE_NO_SUCH_SCAN));
    bench.write_result = CCNVR_FAILED;
    CHECK(refused(write_at(0, 3), CCNVR_ERROR_CODE_HARDWARE));
}

static void what_is_out_of_range_is_refused(void)
{
    test_start(&bench, &device, &test_full);
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 9, 1), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 1001, 1), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 10, 0), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 10, 101), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(ask(CCNVR_TYPE_WAVELENGTHS, 2, NULL, 0), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(ask(CCNVR_TYPE_MEMORY, 2, NULL, 0), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(write_at(TEST_MEMORY - 2u, 3), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(set_baud(9599), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(set_baud(1000001), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(ask(0x55, 0, NULL, 0), CCNVR_ERROR_CODE_UNKNOWN_REQUEST));
}

static void malformed_payloads_are_refused(void)
{
    static const uint8_t junk[3] = {9, 9, 9};
    test_start(&bench, &device, &test_full);
    for (uint8_t type = CCNVR_TYPE_HELLO; type <= CCNVR_TYPE_WRITE; type++) {
        CHECK(refused(ask(type, 0, junk, type == CCNVR_TYPE_WRITE ? 2u : sizeof junk), CCNVR_ERROR_CODE_MALFORMED));
    }
    CHECK(refused(hold(3, 0), CCNVR_ERROR_CODE_MALFORMED));
    CHECK(refused(hold(0, 3), CCNVR_ERROR_CODE_MALFORMED));
}

static void no_scan_is_taken_in_the_wrong_light(void)
{
    test_start(&bench, &device, &test_full);
    CHECK(hold(CCNVR_HELD_ON, CCNVR_HELD_AUTOMATIC) == CCNVR_TYPE_HELD && bench.lamp && !bench.shutter);
    CHECK(scan(CCNVR_SCAN_KIND_DARK, 100, 1) == CCNVR_TYPE_SCANNED && bench.lamp);
    CHECK(hold(CCNVR_HELD_ON, CCNVR_HELD_ON) == CCNVR_TYPE_HELD && bench.shutter);
    CHECK(refused(scan(CCNVR_SCAN_KIND_DARK, 100, 1), CCNVR_ERROR_CODE_WRONG_STATE));
    CHECK(hold(CCNVR_HELD_AUTOMATIC, CCNVR_HELD_ON) == CCNVR_TYPE_HELD);
    CHECK(scan(CCNVR_SCAN_KIND_DARK, 100, 1) == CCNVR_TYPE_SCANNED);
    CHECK(hold(CCNVR_HELD_AUTOMATIC, CCNVR_HELD_OFF) == CCNVR_TYPE_HELD && !bench.shutter);
    CHECK(refused(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1), CCNVR_ERROR_CODE_WRONG_STATE));
    CHECK(hold(CCNVR_HELD_OFF, CCNVR_HELD_AUTOMATIC) == CCNVR_TYPE_HELD);
    CHECK(refused(scan(CCNVR_SCAN_KIND_WHITE, 100, 1), CCNVR_ERROR_CODE_WRONG_STATE));
}

static void the_rate_falls_back_when_nothing_is_understood(void)
{
    static const uint8_t noise[] = {1, 2, 3};
    test_start(&bench, &device, &test_full);
    ccnvr_device_poll(&device, 0xFFFFFFF0u);
    CHECK(set_baud(1000000) == CCNVR_TYPE_BAUD_SET && bench.baud == 1000000u);
    CHECK(ask(CCNVR_TYPE_STATUS, 0, NULL, 0) == CCNVR_TYPE_STATUS_NOW);
    ccnvr_device_poll(&device, 100000u);
    CHECK(bench.baud == 1000000u); /* silence changes nothing */
    ccnvr_device_receive(&device, noise, sizeof noise);
    ccnvr_device_poll(&device, 100000u + CCNVR_BAUD_FALLBACK_MS);
    CHECK(bench.baud == 1000000u);
    ccnvr_device_poll(&device, 100001u + CCNVR_BAUD_FALLBACK_MS);
    CHECK(bench.baud == 115200u);
    /* At the starting rate there is nothing to fall back to; and the clock may wrap. */
    ccnvr_device_receive(&device, noise, sizeof noise);
    ccnvr_device_poll(&device, 200000u);
    ccnvr_device_receive(&device, (const uint8_t *)"", 1);
    CHECK(set_baud(9600) == CCNVR_TYPE_BAUD_SET && bench.baud == 9600u);
    ccnvr_device_poll(&device, 200001u + CCNVR_BAUD_FALLBACK_MS);
    CHECK(bench.baud == 115200u);
    CHECK(set_baud(115200) == CCNVR_TYPE_BAUD_SET && bench.baud == 115200u);
}

static void another_version_is_answered_in_ours(void)
{
    struct ccnvr_parser parser;
    uint8_t body[] = {2, 0, 1, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0};
    uint8_t wire[32];
    uint32_t crc = ccnvr_crc32(0, body, 10);
    test_start(&bench, &device, &test_full);
    for (size_t i = 0; i < 4u; i++) {
        body[10u + i] = (uint8_t)(crc >> (8u * i));
    }
    /* By hand, because the builder writes no other version. */
    size_t length = 0;
    size_t start = 0;
    for (size_t i = 0; i <= sizeof body; i++) {
        if (i == sizeof body || body[i] == 0u) {
            wire[length++] = (uint8_t)(i - start + 1u);
            memcpy(wire + length, body + start, i - start);
            length += i - start;
            start = i + 1u;
        }
    }
    wire[length++] = 0;
    ccnvr_device_receive(&device, wire, length);
    ccnvr_parser_init(&parser, buffer, sizeof buffer);
    CHECK(push_all(&parser, bench.sent, bench.sent_length, &answer) == CCNVR_FRAME && answer.sequence == 0u);
    CHECK(refused(answer.type, CCNVR_ERROR_CODE_OTHER_VERSION));
}

static void a_bare_instrument_has_little_and_scans(void)
{
    static const uint8_t nonce[4] = {1, 2, 3, 4};
    static const uint8_t linearity[1] = {CCNVR_COEFFICIENT_KIND_LINEARITY};
    struct ccnvr_capabilities capabilities;
    struct ccnvr_coefficients coefficients;
    test_start(&bench, &device, &test_bare);
    CHECK(ask(CCNVR_TYPE_HELLO, 0, nonce, sizeof nonce) == CCNVR_TYPE_CAPABILITIES);
    CHECK(ccnvr_unpack_capabilities(answer.payload, answer.length, &capabilities));
    CHECK(capabilities.features == 0u && capabilities.fastest_baud == 0u && capabilities.memory_bytes == 0u);
    CHECK(capabilities.samples_kept == TEST_SAMPLES && capabilities.nonce == 0x04030201u);
    CHECK(scan(CCNVR_SCAN_KIND_DARK, 100, 1) == CCNVR_TYPE_SCANNED);
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1) == CCNVR_TYPE_SCANNED);
    CHECK(refused(hold(CCNVR_HELD_ON, 0), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(refused(hold(0, CCNVR_HELD_ON), CCNVR_ERROR_CODE_OUT_OF_RANGE));
    CHECK(hold(0, 0) == CCNVR_TYPE_HELD);
    CHECK(refused(ask(CCNVR_TYPE_MEMORY, 0, NULL, 0), CCNVR_ERROR_CODE_UNKNOWN_REQUEST));
    CHECK(refused(write_at(0, 3), CCNVR_ERROR_CODE_UNKNOWN_REQUEST));
    CHECK(refused(set_baud(9600), CCNVR_ERROR_CODE_UNKNOWN_REQUEST));
    CHECK(ask(CCNVR_TYPE_COEFFICIENTS, 0, linearity, 1) == CCNVR_TYPE_COEFFICIENTS_DATA);
    CHECK(ccnvr_unpack_coefficients(answer.payload, answer.length, &coefficients) && coefficients.values.length == 0u);
}

static void a_full_instrument_tells_and_remembers(void)
{
    static const uint8_t nonce[4] = {1, 2, 3, 4};
    static const uint8_t wavelength[1] = {CCNVR_COEFFICIENT_KIND_WAVELENGTH};
    struct ccnvr_capabilities capabilities;
    struct ccnvr_coefficients coefficients;
    struct ccnvr_status status;
    test_start(&bench, &device, &test_full);
    CHECK(ask(CCNVR_TYPE_HELLO, 0, nonce, sizeof nonce) == CCNVR_TYPE_CAPABILITIES);
    CHECK(ccnvr_unpack_capabilities(answer.payload, answer.length, &capabilities));
    CHECK(capabilities.features == 15u && capabilities.fastest_baud == 1000000u && capabilities.boot == 7u);
    CHECK(ask(CCNVR_TYPE_WAVELENGTHS, 1, NULL, 0) == CCNVR_TYPE_WAVELENGTHS_DATA && answer.chunks == 2u);
    ccnvr_device_press(&device);
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1) == CCNVR_TYPE_SCANNED);
    CHECK(hold(CCNVR_HELD_ON, CCNVR_HELD_ON) == CCNVR_TYPE_HELD);
    CHECK(ccnvr_unpack_status(answer.payload, answer.length, &status) && status.flags == 3u && status.presses == 1u);
    CHECK(status.waiting == 1u && status.temperature_centi_c == 2000);
    CHECK(write_at(1200, 3) == CCNVR_TYPE_WRITTEN);
    CHECK(ask(CCNVR_TYPE_MEMORY, 1, NULL, 0) == CCNVR_TYPE_MEMORY_DATA && answer.length == TEST_MEMORY - CCNVR_MAX_PAYLOAD);
    CHECK(answer.payload[1200u - CCNVR_MAX_PAYLOAD + 2u] == 3u);
    CHECK(ask(CCNVR_TYPE_COEFFICIENTS, 0, wavelength, 1) == CCNVR_TYPE_COEFFICIENTS_DATA);
    CHECK(ccnvr_unpack_coefficients(answer.payload, answer.length, &coefficients) && coefficients.values.values[1] == 2.0);
}

/* By boot and number a host tells a restart that no byte on the line shows. */
static void a_restart_shows_in_boot_and_number(void)
{
    struct ccnvr_status status;
    struct ccnvr_scanned scanned;
    test_start(&bench, &device, &test_full);
    for (uint32_t number = 1; number <= TEST_SAMPLES; number++) {
        CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1) == CCNVR_TYPE_SCANNED);
        CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == number);
        CHECK(ask(CCNVR_TYPE_STATUS, 0, NULL, 0) == CCNVR_TYPE_STATUS_NOW);
        CHECK(ccnvr_unpack_status(answer.payload, answer.length, &status) && status.boot == 7u);
    }
    ccnvr_device_init(&device, &test_full, &test_memory, 8, &bench);
    CHECK(refused(ask_number(CCNVR_TYPE_READ, 0, 2), CCNVR_ERROR_CODE_NO_SUCH_SCAN));
    CHECK(scan(CCNVR_SCAN_KIND_SAMPLE, 100, 1) == CCNVR_TYPE_SCANNED);
    CHECK(ccnvr_unpack_scanned(answer.payload, answer.length, &scanned) && scanned.number == 1u);
    CHECK(ask(CCNVR_TYPE_STATUS, 0, NULL, 0) == CCNVR_TYPE_STATUS_NOW);
    CHECK(ccnvr_unpack_status(answer.payload, answer.length, &status) && status.boot == 8u);
}

int main(void)
{
    all_payloads();
    frames_decode_with_garbage_between();
    frames_encode();
    what_does_not_fit_the_wire_is_not_built();
    a_small_parser_refuses_what_it_cannot_hold();
    scans_are_kept_until_acknowledged();
    a_repeated_request_is_not_carried_out_again();
    a_scan_takes_its_time();
    failures_of_hardware_are_told();
    what_is_out_of_range_is_refused();
    malformed_payloads_are_refused();
    no_scan_is_taken_in_the_wrong_light();
    the_rate_falls_back_when_nothing_is_understood();
    another_version_is_answered_in_ours();
    a_bare_instrument_has_little_and_scans();
    a_full_instrument_tells_and_remembers();
    a_restart_shows_in_boot_and_number();
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0;
}
