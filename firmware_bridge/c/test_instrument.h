/* A small instrument for the tests of the device. It has two chunks of pixels, room for two samples, and
   callbacks that can be made busy or made to fail. */
#include "ccnvr_device.h"

#include <string.h>

#define TEST_PIXELS 300u
#define TEST_SAMPLES 2u
#define TEST_MEMORY 1500u

struct test_bench {
    uint8_t sent[8192];
    size_t sent_length;
    enum ccnvr_result integration_result;
    enum ccnvr_result counts_result;
    enum ccnvr_result write_result;
    uint32_t baud;
    unsigned scans;
    bool lamp;
    bool shutter;
    uint8_t memory[TEST_MEMORY];
};

static float test_wavelengths[TEST_PIXELS];
static struct ccnvr_slot test_slots[CCNVR_SLOTS(TEST_SAMPLES)];
static uint32_t test_sums[CCNVR_SLOTS(TEST_SAMPLES) * TEST_PIXELS];
static const struct ccnvr_memory test_memory = {test_slots, test_sums, CCNVR_SLOTS(TEST_SAMPLES)};
static const struct ccnvr_doubles test_dispersion = {{900.0, 2.0}, 2};

static void test_send(void *context, const uint8_t *data, size_t length)
{
    struct test_bench *bench = context;
    if (length <= sizeof bench->sent - bench->sent_length) {
        memcpy(bench->sent + bench->sent_length, data, length);
        bench->sent_length += length;
    }
}

static enum ccnvr_result test_set_integration(void *context, uint32_t integration_us)
{
    const struct test_bench *bench = context;
    (void)integration_us;
    return bench->integration_result;
}

static enum ccnvr_result test_read_counts(
    void *context, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *sums, struct ccnvr_reading *reading)
{
    struct test_bench *bench = context;
    for (uint32_t i = 0; i < TEST_PIXELS; i++) {
        sums[i] = averages * (i + 1000u * (uint32_t)kind);
    }
    reading->saturated = kind == CCNVR_SCAN_KIND_WHITE;
    reading->temperature_centi_c = -5;
    bench->scans++;
    return bench->counts_result;
}

static void test_set_lamp(void *context, bool on)
{
    struct test_bench *bench = context;
    bench->lamp = on;
}

static void test_set_shutter(void *context, bool open)
{
    struct test_bench *bench = context;
    bench->shutter = open;
}

static int16_t test_read_temperature(void *context)
{
    (void)context;
    return 2000;
}

static void test_read_memory(void *context, uint16_t offset, uint8_t *data, size_t length)
{
    const struct test_bench *bench = context;
    memcpy(data, bench->memory + offset, length);
}

static enum ccnvr_result test_write_memory(void *context, uint16_t offset, const uint8_t *data, size_t length)
{
    struct test_bench *bench = context;
    memcpy(bench->memory + offset, data, length);
    return bench->write_result;
}

static void test_set_baud(void *context, uint32_t baud)
{
    struct test_bench *bench = context;
    bench->baud = baud;
}

static const struct ccnvr_instrument test_full = {
    .model = "full",
    .serial = "T1",
    .firmware = "1",
    .wavelengths_nm = test_wavelengths,
    .pixels = TEST_PIXELS,
    .saturation_counts = 65535,
    .shortest_integration_us = 10,
    .longest_integration_us = 1000,
    .most_averages = 100,
    .slowest_baud = 9600,
    .starting_baud = 115200,
    .fastest_baud = 1000000,
    .memory_bytes = TEST_MEMORY,
    .has_button = true,
    .coefficients = {&test_dispersion, NULL},
    .send = test_send,
    .set_integration = test_set_integration,
    .read_counts = test_read_counts,
    .set_lamp = test_set_lamp,
    .set_shutter = test_set_shutter,
    .read_temperature = test_read_temperature,
    .read_memory = test_read_memory,
    .write_memory = test_write_memory,
    .set_baud = test_set_baud,
};

/* The least that an instrument can have. */
static const struct ccnvr_instrument test_bare = {
    .model = "",
    .serial = "T2",
    .firmware = "",
    .wavelengths_nm = test_wavelengths,
    .pixels = TEST_PIXELS,
    .saturation_counts = 65535,
    .shortest_integration_us = 10,
    .longest_integration_us = 1000,
    .most_averages = 100,
    .starting_baud = 115200,
    .send = test_send,
    .set_integration = test_set_integration,
    .read_counts = test_read_counts,
};

static void test_start(struct test_bench *bench, struct ccnvr_device *device, const struct ccnvr_instrument *instrument)
{
    memset(bench, 0, sizeof *bench);
    for (uint32_t i = 0; i < TEST_PIXELS; i++) {
        test_wavelengths[i] = 900.0f + 2.0f * (float)i;
    }
    ccnvr_device_init(device, instrument, &test_memory, 7, bench);
}
