/* The instrument's side of the ccnvr link: request bytes in, reply bytes out through a callback. No I/O, no allocation.

   Fill in a `ccnvr_instrument` and a `ccnvr_memory`, call ccnvr_device_init once, then ccnvr_device_receive with whatever has
   arrived and ccnvr_device_poll every few milliseconds, both from the main loop and not from an interrupt. */
#ifndef CCNVR_DEVICE_H
#define CCNVR_DEVICE_H

#include "ccnvr_frame.h"

/* What a callback answers. */
enum ccnvr_result {
    CCNVR_DONE,
    CCNVR_BUSY,  /* read_counts alone: call again at the next poll */
    CCNVR_FAILED /* the host is told of a hardware error */
};

struct ccnvr_reading {
    bool saturated;              /* a pixel reached saturation in one integration */
    int16_t temperature_centi_c; /* at the detector */
};

/* What an instrument is and what it can do; it may lie in flash. Callbacks marked optional may be NULL where the instrument
   lacks what they are for. `context` is the device's. */
struct ccnvr_instrument {
    const char *model;    /* at most CCNVR_LONGEST_NAME bytes each */
    const char *serial;   /* this instrument's own, not empty */
    const char *firmware;
    const float *wavelengths_nm; /* one for each pixel, increasing */
    uint16_t pixels;
    uint32_t saturation_counts; /* times most_averages below 2^32 */
    uint32_t shortest_integration_us;
    uint32_t longest_integration_us;
    uint16_t most_averages;
    uint32_t slowest_baud; /* of set_baud */
    uint32_t starting_baud;
    uint32_t fastest_baud;
    uint16_t memory_bytes;
    bool has_button;
    const struct ccnvr_doubles *coefficients[2]; /* by enum ccnvr_coefficient_kind; NULL if there are none */

    /* Send all of `data`. */
    void (*send)(void *context, const uint8_t *data, size_t length);

    /* A scan begins: use this integration time. A scan that was still under way is given up. */
    enum ccnvr_result (*set_integration)(void *context, uint32_t integration_us);

    /* Add up `averages` integrations into `sums`, one for each pixel, and fill in `reading`. Either wait and answer CCNVR_DONE,
       or answer CCNVR_BUSY until the scan is complete; `sums` stays the same meanwhile. */
    enum ccnvr_result (*read_counts)(
        void *context, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *sums, struct ccnvr_reading *reading);

    /* Optional: switch the lamp, open or close the shutter. */
    void (*set_lamp)(void *context, bool on);
    void (*set_shutter)(void *context, bool open);

    /* Optional: the detector's temperature in 0.01 degrees C. */
    int16_t (*read_temperature)(void *context);

    /* Optional, both or neither: the user memory, `memory_bytes` of it, which survives a loss of power. */
    void (*read_memory)(void *context, uint16_t offset, uint8_t *data, size_t length);
    enum ccnvr_result (*write_memory)(void *context, uint16_t offset, const uint8_t *data, size_t length);

    /* Optional: wait until what was sent has left, then run the port at this rate. */
    void (*set_baud)(void *context, uint32_t baud);
};

/* A kept scan's description; its data lie in ccnvr_memory.sums. */
struct ccnvr_slot {
    struct ccnvr_scanned scanned;
    bool used;
};

/* The caller's memory. `slots` has room for one dark, one white and at least one sample scan; `sums` for `pixels` sums in each. */
struct ccnvr_memory {
    struct ccnvr_slot *slots;
    uint32_t *sums;
    uint8_t slot_count; /* 3 to 255 */
};

#define CCNVR_SLOTS(samples) ((samples) + 2u)

struct ccnvr_device {
    const struct ccnvr_instrument *instrument;
    struct ccnvr_memory memory;
    void *context;
    struct ccnvr_parser parser;
    struct ccnvr_frame request;          /* the one under way, without its payload */
    struct ccnvr_scan_request scan;      /* the one under way */
    uint32_t boot;
    uint32_t presses;
    uint32_t next_number;
    uint32_t baud;
    uint32_t now_ms;
    uint32_t unheard_ms; /* when bytes began to arrive that are no frame */
    size_t last_length;  /* of `last`: 0 if there is none */
    size_t reply_length;
    uint8_t slot; /* where the scan under way goes */
    uint8_t lamp; /* enum ccnvr_held */
    uint8_t shutter;
    bool scanning;
    bool unheard;
    uint8_t body[CCNVR_REQUEST_BYTES];
    uint8_t last[CCNVR_REQUEST_BYTES]; /* the request answered last */
    uint8_t reply[CCNVR_BUILDER_BYTES];
};

/* `boot` must differ from that of each earlier start: a counter in non-volatile memory, or a random number. */
void ccnvr_device_init(
    struct ccnvr_device *device,
    const struct ccnvr_instrument *instrument,
    const struct ccnvr_memory *memory,
    uint32_t boot,
    void *context);

/* Take what has arrived; a framing error or a break counts as a byte, of any value but 0. */
void ccnvr_device_receive(struct ccnvr_device *device, const uint8_t *data, size_t length);

/* Let time pass, in milliseconds of any clock that wraps at 2^32. */
void ccnvr_device_poll(struct ccnvr_device *device, uint32_t now_ms);

/* The button was pressed. */
void ccnvr_device_press(struct ccnvr_device *device);

#endif
