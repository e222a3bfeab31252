/* The instrument's side of the ccnvr link: request bytes in, reply bytes out through a callback. It does
   no I/O and allocates no memory.

   Fill in a `ccnvr_instrument` and a `ccnvr_memory`, and call ccnvr_device_init once. Then call
   ccnvr_device_receive with whatever has arrived, and ccnvr_device_poll every few milliseconds, both from
   the main loop and not from an interrupt. */
#ifndef CCNVR_DEVICE_H
#define CCNVR_DEVICE_H

#include "ccnvr_frame.h"

/* The result of a callback. */
enum ccnvr_result {
    CCNVR_DONE,
    CCNVR_BUSY,  /* only of read_counts: it is called again at the next poll */
    CCNVR_FAILED /* the host is told of a hardware error */
};

struct ccnvr_reading {
    bool saturated;              /* a pixel reached saturation in one integration */
    int16_t temperature_centi_c; /* at the detector */
};

/* What an instrument is and what it can do; it may be in flash. Optional callbacks may be NULL if the
   instrument lacks what they are for. `context` is what ccnvr_device_init was given. */
struct ccnvr_instrument {
    const char *model;    /* these three have at most CCNVR_LONGEST_NAME bytes each */
    const char *serial;   /* different for each instrument, not empty */
    const char *firmware;
    const float *wavelengths_nm; /* one for each pixel, increasing */
    uint16_t pixels;
    uint32_t saturation_counts; /* multiplied by most_averages, it must be below 2^32 */
    uint32_t shortest_integration_us;
    uint32_t longest_integration_us;
    uint16_t most_averages;
    uint32_t slowest_baud; /* the limits of set_baud */
    uint32_t starting_baud;
    uint32_t fastest_baud;
    uint16_t memory_bytes;
    bool has_button;
    const struct ccnvr_doubles *coefficients[2]; /* by enum ccnvr_coefficient_kind; NULL if there are none */

    /* Send all of `data`. */
    void (*send)(void *context, const uint8_t *data, size_t length);

    /* A scan begins: use this integration time. A scan that is still under way is abandoned. */
    enum ccnvr_result (*set_integration)(void *context, uint32_t integration_us);

    /* Add up `averages` integrations in `sums`, one sum for each pixel, and fill in `reading`. Either wait
       and return CCNVR_DONE, or return CCNVR_BUSY until the scan is complete; `sums` is the same array in
       each call for a scan. */
    enum ccnvr_result (*read_counts)(
        void *context, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *sums, struct ccnvr_reading *reading);

    /* Optional: switch the lamp, open or close the shutter. */
    void (*set_lamp)(void *context, bool on);
    void (*set_shutter)(void *context, bool open);

    /* Optional: return the temperature of the detector in 0.01 degrees C. */
    int16_t (*read_temperature)(void *context);

    /* Optional, both or neither: the user memory of `memory_bytes`, which survives a loss of power. */
    void (*read_memory)(void *context, uint16_t offset, uint8_t *data, size_t length);
    enum ccnvr_result (*write_memory)(void *context, uint16_t offset, const uint8_t *data, size_t length);

    /* Optional: wait until everything has been sent, then run the port at this rate. */
    void (*set_baud)(void *context, uint32_t baud);
};

/* The description of a kept scan; its data are in ccnvr_memory.sums. */
struct ccnvr_slot {
    struct ccnvr_scanned scanned;
    bool used;
};

/* Memory that the caller provides. `slots` has room for one dark, one white and at least one sample scan;
   `sums` has room for `pixels` sums in each slot. */
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
    struct ccnvr_frame request;          /* the current one, without its payload */
    struct ccnvr_scan_request scan;      /* the current one */
    uint32_t boot;
    uint32_t presses;
    uint32_t next_number;
    uint32_t baud;
    uint32_t now_ms;
    uint32_t unheard_ms; /* when bytes that form no frame began to arrive */
    size_t last_length;  /* of `last`; 0 if there is none */
    size_t reply_length;
    uint8_t slot; /* where the current scan goes */
    uint8_t lamp; /* enum ccnvr_held */
    uint8_t shutter;
    bool scanning;
    bool unheard;
    uint8_t body[CCNVR_REQUEST_BYTES];
    uint8_t last[CCNVR_REQUEST_BYTES]; /* the request answered last */
    uint8_t reply[CCNVR_BUILDER_BYTES];
};

/* `boot` must differ from that of each earlier start: use a counter in non-volatile memory or a random
   number. */
void ccnvr_device_init(
    struct ccnvr_device *device,
    const struct ccnvr_instrument *instrument,
    const struct ccnvr_memory *memory,
    uint32_t boot,
    void *context);

/* Take what has arrived. Pass a framing error or a break as a byte with any value but 0. */
void ccnvr_device_receive(struct ccnvr_device *device, const uint8_t *data, size_t length);

/* Let time pass; `now_ms` are the milliseconds of any clock that wraps at 2^32. */
void ccnvr_device_poll(struct ccnvr_device *device, uint32_t now_ms);

/* The button was pressed. */
void ccnvr_device_press(struct ccnvr_device *device);

#endif
