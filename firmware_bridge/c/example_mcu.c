/* The ccnvr link on a microcontroller without an operating system, with 256 pixels and 4 kept samples.
   Replace what is marked HARDWARE. It links as it is, so that the size of a whole firmware can be
   measured: see docs/firmware.md. */
#include "ccnvr_device.h"

#define PIXELS 256u
#define SAMPLES 4u
#define RING_BYTES 512u /* more than two requests, because the host may repeat one up to three times while a scan blocks */

static volatile uint8_t ring[RING_BYTES];
static volatile uint16_t ring_in;
static uint16_t ring_out;
static volatile uint32_t now_ms;

static struct ccnvr_slot slots[CCNVR_SLOTS(SAMPLES)];
static uint32_t sums[CCNVR_SLOTS(SAMPLES) * PIXELS];
static float wavelengths_nm[PIXELS];
static struct ccnvr_device device;

/* HARDWARE: registers of the port and the detector. Here they are plain variables. */
static volatile uint8_t uart_data;
static volatile uint16_t adc_counts;
static volatile bool adc_ready;
static volatile uint32_t adc_integration_us;
static volatile bool lamp_pin;

/* HARDWARE: the interrupt of the port, for each byte; on a framing error, put 0xFF into the ring. */
void uart_interrupt(void);
void uart_interrupt(void)
{
    ring[ring_in] = uart_data;
    ring_in = (uint16_t)((ring_in + 1u) % RING_BYTES);
}

/* HARDWARE: the interrupt of a timer, every millisecond. */
void timer_interrupt(void);
void timer_interrupt(void)
{
    now_ms++;
}

static void send(void *context, const uint8_t *data, size_t length)
{
    (void)context;
    for (size_t i = 0; i < length; i++) {
        uart_data = data[i]; /* HARDWARE: wait for room, then write */
    }
}

static enum ccnvr_result set_integration(void *context, uint32_t integration_us)
{
    (void)context;
    adc_integration_us = integration_us; /* HARDWARE */
    return CCNVR_DONE;
}

static enum ccnvr_result read_counts(
    void *context, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *pixel_sums, struct ccnvr_reading *reading)
{
    (void)context;
    (void)kind; /* HARDWARE: for a white scan, return CCNVR_BUSY until the operator presses the button */
    for (uint16_t i = 0; i < PIXELS; i++) {
        pixel_sums[i] = 0;
    }
    for (uint16_t scan = 0; scan < averages; scan++) {
        for (uint16_t i = 0; i < PIXELS; i++) {
            while (!adc_ready) {
            }
            uint16_t counts = adc_counts;
            reading->saturated = reading->saturated || counts == 0xFFFFu;
            pixel_sums[i] += counts;
        }
    }
    return CCNVR_DONE;
}

static void set_lamp(void *context, bool on)
{
    (void)context;
    lamp_pin = on; /* HARDWARE; wait until it has warmed up, or return CCNVR_BUSY above */
}

static const struct ccnvr_instrument instrument = {
    .model = "example",
    .serial = "0001", /* HARDWARE: the chip's own number */
    .firmware = "1.0",
    .wavelengths_nm = wavelengths_nm,
    .pixels = PIXELS,
    .saturation_counts = 65535,
    .shortest_integration_us = 100,
    .longest_integration_us = 1000000,
    .most_averages = 1000,
    .starting_baud = CCNVR_DEFAULT_BAUD,
    .send = send,
    .set_integration = set_integration,
    .read_counts = read_counts,
    .set_lamp = set_lamp,
};

int main(void)
{
    static const struct ccnvr_memory memory = {slots, sums, CCNVR_SLOTS(SAMPLES)};
    uint32_t boot = 1; /* HARDWARE: a counter in flash, increased at each start, or a random number */
    for (uint16_t i = 0; i < PIXELS; i++) {
        wavelengths_nm[i] = 900.0f + 3.125f * (float)i; /* HARDWARE: the detector's calibration */
    }
    ccnvr_device_init(&device, &instrument, &memory, boot, NULL);
    for (;;) {
        while (ring_out != ring_in) {
            uint8_t byte = ring[ring_out];
            ring_out = (uint16_t)((ring_out + 1u) % RING_BYTES);
            ccnvr_device_receive(&device, &byte, 1);
        }
        ccnvr_device_poll(&device, now_ms);
    }
}
