/* The messages of the ccnvr link, PROTOCOL.md. Generated from link.toml by `make generate`: change that file, not this one. */
#ifndef CCNVR_MESSAGES_H
#define CCNVR_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* the version byte of every frame */
#define CCNVR_VERSION 1u
/* flag bits that a receiver must know in order to read the frame */
#define CCNVR_INCOMPATIBLE_FLAGS 240u
/* longest payload of a reply in bytes; also the length of every chunk except the last */
#define CCNVR_MAX_PAYLOAD 1024u
/* longest payload of a request in bytes, which every instrument must be able to receive */
#define CCNVR_MAX_REQUEST 128u
/* rate at which a serial line starts */
#define CCNVR_DEFAULT_BAUD 921600u
/* longest model, serial number or firmware version in bytes */
#define CCNVR_LONGEST_NAME 32u
/* longest text of an ERROR in bytes */
#define CCNVR_LONGEST_DETAIL 200u
/* largest number of values in COEFFICIENTS_DATA */
#define CCNVR_MOST_COEFFICIENTS 16u
/* largest number of pixels */
#define CCNVR_MOST_PIXELS 16384u
/* unacknowledged samples that an instrument keeps if it does not state another number */
#define CCNVR_SAMPLES_KEPT 8u
/* a request is given up after this many time-outs */
#define CCNVR_ATTEMPTS 4u
/* time after which the host repeats a request */
#define CCNVR_REPLY_MS 1000u
/* the same for a white scan, which an operator may have to start */
#define CCNVR_WHITE_MS 30000u
/* time after which the host repeats a request if something damaged arrived */
#define CCNVR_AFTER_DAMAGE_MS 50u
/* time within which an instrument answers; for SCAN, 2 x light time is added */
#define CCNVR_ANSWER_MS 500u
/* time after BAUD_SET by which the instrument has changed its rate and the host may speak */
#define CCNVR_BAUD_SETTLE_MS 50u
/* time with bytes but no frame after which the instrument returns to its starting rate */
#define CCNVR_BAUD_FALLBACK_MS 1500u
#define CCNVR_HEADER_BYTES 10u

enum ccnvr_type {
    CCNVR_TYPE_HELLO = 0x01,
    CCNVR_TYPE_WAVELENGTHS = 0x02,
    CCNVR_TYPE_SCAN = 0x03,
    CCNVR_TYPE_OLDEST = 0x04,
    CCNVR_TYPE_READ = 0x05,
    CCNVR_TYPE_ACKNOWLEDGE = 0x06,
    CCNVR_TYPE_STATUS = 0x07,
    CCNVR_TYPE_HOLD = 0x08,
    CCNVR_TYPE_BAUD = 0x09,
    CCNVR_TYPE_COEFFICIENTS = 0x0A,
    CCNVR_TYPE_MEMORY = 0x0B,
    CCNVR_TYPE_WRITE = 0x0C,
    CCNVR_TYPE_CAPABILITIES = 0x81,
    CCNVR_TYPE_WAVELENGTHS_DATA = 0x82,
    CCNVR_TYPE_SCANNED = 0x83,
    CCNVR_TYPE_OLDEST_SCANNED = 0x84,
    CCNVR_TYPE_DATA = 0x85,
    CCNVR_TYPE_ACKNOWLEDGED = 0x86,
    CCNVR_TYPE_STATUS_NOW = 0x87,
    CCNVR_TYPE_HELD = 0x88,
    CCNVR_TYPE_BAUD_SET = 0x89,
    CCNVR_TYPE_COEFFICIENTS_DATA = 0x8A,
    CCNVR_TYPE_MEMORY_DATA = 0x8B,
    CCNVR_TYPE_WRITTEN = 0x8C,
    CCNVR_TYPE_ERROR = 0xFF,
};

/* What a scan looks at. */
enum ccnvr_scan_kind {
    /* no light: lamp off or shutter closed */
    CCNVR_SCAN_KIND_DARK = 0,
    /* the white reference: the instrument's own, or the panel, which the operator announces with the button */
    CCNVR_SCAN_KIND_WHITE = 1,
    /* the sample */
    CCNVR_SCAN_KIND_SAMPLE = 2,
};

/* Why a request was refused. */
enum ccnvr_error_code {
    /* there is no such request, or this instrument lacks what it is for */
    CCNVR_ERROR_CODE_UNKNOWN_REQUEST = 1,
    /* the payload is too short, too long, or holds a value that no version has */
    CCNVR_ERROR_CODE_MALFORMED = 2,
    /* a value is outside the limits in CAPABILITIES, or a chunk is beyond the last */
    CCNVR_ERROR_CODE_OUT_OF_RANGE = 3,
    /* the scan is not kept */
    CCNVR_ERROR_CODE_NO_SUCH_SCAN = 4,
    /* the instrument already keeps as many samples as it can */
    CCNVR_ERROR_CODE_STORE_FULL = 5,
    /* lamp, detector or memory failed; the text says which */
    CCNVR_ERROR_CODE_HARDWARE = 6,
    /* the frame has another link version */
    CCNVR_ERROR_CODE_OTHER_VERSION = 7,
    /* lamp or shutter is held in a position in which this scan cannot be taken */
    CCNVR_ERROR_CODE_WRONG_STATE = 8,
};

/* How lamp or shutter is held. */
enum ccnvr_held {
    /* as each scan needs it; between scans off, or closed */
    CCNVR_HELD_AUTOMATIC = 0,
    /* lamp off, shutter closed */
    CCNVR_HELD_OFF = 1,
    /* lamp on, shutter open */
    CCNVR_HELD_ON = 2,
};

/* Which calibration. */
enum ccnvr_coefficient_kind {
    /* nm = sum of c[i] x pixel^i, pixels counted from 0; for information, since WAVELENGTHS is authoritative */
    CCNVR_COEFFICIENT_KIND_WAVELENGTH = 0,
    /* true counts = counts / sum of c[i] x counts^i, for counts of one integration minus the dark; not applied to the data */
    CCNVR_COEFFICIENT_KIND_LINEARITY = 1,
};

/* What the instrument has. */
enum ccnvr_feature {
    /* a lamp that it can switch */
    CCNVR_FEATURE_LAMP = 1,
    /* a shutter */
    CCNVR_FEATURE_SHUTTER = 2,
    /* a button */
    CCNVR_FEATURE_BUTTON = 4,
    /* a thermometer at the detector; without it, temperatures have no meaning */
    CCNVR_FEATURE_THERMOMETER = 8,
};

/* Current state. */
enum ccnvr_status_flag {
    /* the lamp is on */
    CCNVR_STATUS_FLAG_LAMP_ON = 1,
    /* the shutter is open */
    CCNVR_STATUS_FLAG_SHUTTER_OPEN = 2,
};

/* UTF-8 without a terminating zero. */
struct ccnvr_text {
    const char *data;
    size_t length;
};

struct ccnvr_bytes {
    const uint8_t *data;
    size_t length;
};

struct ccnvr_doubles {
    double values[CCNVR_MOST_COEFFICIENTS];
    size_t length;
};

/* HELLO. Host to instrument: start a session. The reply repeats `nonce`. */
struct ccnvr_hello {
    uint32_t nonce; /* any number; CAPABILITIES repeats it */
};
#define CCNVR_LONGEST_HELLO (4u)

/* CAPABILITIES. Instrument to host: identity and abilities. Bytes after the last field belong to a later revision and are ignored. */
struct ccnvr_capabilities {
    uint32_t nonce; /* that of HELLO */
    uint32_t boot; /* differs after each start of the instrument */
    uint16_t pixels; /* 2 to 16384 */
    uint32_t saturation_counts; /* largest count of one integration, at least 1; times most_averages it is below 2^32 */
    uint32_t shortest_integration_us; /* microseconds */
    uint32_t longest_integration_us; /* microseconds */
    uint16_t most_averages; /* largest number of integrations in a scan, at least 1 */
    struct ccnvr_text model; /* for the user */
    struct ccnvr_text serial; /* different for each instrument, not empty */
    struct ccnvr_text firmware; /* its version, for the user */
    uint32_t features; /* enum ccnvr_feature: what the instrument has */
    uint16_t memory_bytes; /* size of the user memory; 0 if there is none */
    uint32_t fastest_baud; /* fastest rate that BAUD may set; 0 if the rate is fixed */
    uint8_t samples_kept; /* number of unacknowledged samples that the instrument keeps, at least 1 */
};
#define CCNVR_LONGEST_CAPABILITIES (4u + 4u + 2u + 4u + 4u + 4u + 2u + 1u + CCNVR_LONGEST_NAME + 1u + CCNVR_LONGEST_NAME + 1u + CCNVR_LONGEST_NAME + 4u + 2u + 4u + 1u)

/* SCAN. Host to instrument: take a scan of `averages` integrations. */
struct ccnvr_scan_request {
    uint8_t kind; /* enum ccnvr_scan_kind: what to look at */
    uint32_t integration_us; /* integration time in microseconds */
    uint16_t averages; /* number of integrations to add up */
};
#define CCNVR_LONGEST_SCAN_REQUEST (1u + 4u + 2u)

/* SCANNED. Instrument to host: a scan can be read. Its data are `pixels` u32 sums over the averages, so that averaging loses no precision. */
struct ccnvr_scanned {
    uint32_t number; /* number of the scan, counted from 1 since the start; it rises with each scan */
    uint8_t kind; /* enum ccnvr_scan_kind: as asked for */
    bool saturated; /* a pixel reached saturation */
    uint32_t integration_us; /* as asked for */
    uint16_t averages; /* as asked for */
    uint16_t pixels; /* as in CAPABILITIES */
    int16_t temperature_centi_c; /* at the detector, 0.01 degrees C */
    uint32_t checksum; /* CRC-32 of all its data */
};
#define CCNVR_LONGEST_SCANNED (4u + 1u + 1u + 4u + 2u + 2u + 2u + 4u)

/* scan number. The number of a scan. READ, ACKNOWLEDGE and ACKNOWLEDGED carry it, and OLDEST, which asks for a scan above it. */
struct ccnvr_scan_number {
    uint32_t number; /* number of the scan */
};
#define CCNVR_LONGEST_SCAN_NUMBER (4u)

/* ERROR. Instrument to host: why a request was not carried out. `code` may be unknown to this version. */
struct ccnvr_refusal {
    uint16_t code; /* an error code */
    struct ccnvr_text detail; /* for the user; may be empty */
};
#define CCNVR_LONGEST_REFUSAL (2u + CCNVR_LONGEST_DETAIL)

/* STATUS. Instrument to host: its current state. */
struct ccnvr_status {
    uint32_t boot; /* as in CAPABILITIES; if it differs, the instrument has restarted and its references no longer hold */
    uint32_t presses; /* number of presses of the button since the start, modulo 2^32 */
    int16_t temperature_centi_c; /* at the detector, 0.01 degrees C */
    uint8_t waiting; /* number of samples that wait to be acknowledged */
    uint8_t flags; /* enum ccnvr_status_flag: lamp and shutter */
};
#define CCNVR_LONGEST_STATUS (4u + 4u + 2u + 1u + 1u)

/* HOLD. Host to instrument: hold lamp and shutter, or leave them to the scans again. */
struct ccnvr_hold {
    uint8_t lamp; /* enum ccnvr_held: AUTOMATIC if there is no lamp */
    uint8_t shutter; /* enum ccnvr_held: AUTOMATIC if there is no shutter */
};
#define CCNVR_LONGEST_HOLD (1u + 1u)

/* BAUD. In both directions: the new rate of the serial line. */
struct ccnvr_baud_rate {
    uint32_t baud; /* symbols per second */
};
#define CCNVR_LONGEST_BAUD_RATE (4u)

/* COEFFICIENTS. Host to instrument: which calibration coefficients to send. */
struct ccnvr_coefficients_request {
    uint8_t kind; /* enum ccnvr_coefficient_kind: which calibration */
};
#define CCNVR_LONGEST_COEFFICIENTS_REQUEST (1u)

/* COEFFICIENTS_DATA. Instrument to host: calibration coefficients; none if it has none of that kind. */
struct ccnvr_coefficients {
    uint8_t kind; /* enum ccnvr_coefficient_kind: as asked for */
    struct ccnvr_doubles values; /* lowest power first */
};
#define CCNVR_LONGEST_COEFFICIENTS (1u + 8u * CCNVR_MOST_COEFFICIENTS)

/* WRITE. Host to instrument: bytes to write to the user memory. */
struct ccnvr_memory_block {
    uint16_t offset; /* position of the first byte */
    struct ccnvr_bytes data; /* at least 1 byte */
};
#define CCNVR_LONGEST_MEMORY_BLOCK (2u + CCNVR_MAX_REQUEST - 2u)

/* WRITTEN. Instrument to host: these bytes are written permanently. */
struct ccnvr_memory_written {
    uint16_t offset; /* as asked for */
    uint16_t length; /* number of bytes written, which is all of them */
};
#define CCNVR_LONGEST_MEMORY_WRITTEN (2u + 2u)

/* Each ccnvr_pack_x writes a payload of at most CCNVR_LONGEST_X bytes, and returns its
   length. Each ccnvr_unpack_x returns whether the payload is well formed; text and bytes
   then point into it. */
size_t ccnvr_pack_hello(const struct ccnvr_hello *message, uint8_t *out);
bool ccnvr_unpack_hello(const uint8_t *payload, size_t length, struct ccnvr_hello *message);
size_t ccnvr_pack_capabilities(const struct ccnvr_capabilities *message, uint8_t *out);
bool ccnvr_unpack_capabilities(const uint8_t *payload, size_t length, struct ccnvr_capabilities *message);
size_t ccnvr_pack_scan_request(const struct ccnvr_scan_request *message, uint8_t *out);
bool ccnvr_unpack_scan_request(const uint8_t *payload, size_t length, struct ccnvr_scan_request *message);
size_t ccnvr_pack_scanned(const struct ccnvr_scanned *message, uint8_t *out);
bool ccnvr_unpack_scanned(const uint8_t *payload, size_t length, struct ccnvr_scanned *message);
size_t ccnvr_pack_scan_number(const struct ccnvr_scan_number *message, uint8_t *out);
bool ccnvr_unpack_scan_number(const uint8_t *payload, size_t length, struct ccnvr_scan_number *message);
size_t ccnvr_pack_refusal(const struct ccnvr_refusal *message, uint8_t *out);
bool ccnvr_unpack_refusal(const uint8_t *payload, size_t length, struct ccnvr_refusal *message);
size_t ccnvr_pack_status(const struct ccnvr_status *message, uint8_t *out);
bool ccnvr_unpack_status(const uint8_t *payload, size_t length, struct ccnvr_status *message);
size_t ccnvr_pack_hold(const struct ccnvr_hold *message, uint8_t *out);
bool ccnvr_unpack_hold(const uint8_t *payload, size_t length, struct ccnvr_hold *message);
size_t ccnvr_pack_baud_rate(const struct ccnvr_baud_rate *message, uint8_t *out);
bool ccnvr_unpack_baud_rate(const uint8_t *payload, size_t length, struct ccnvr_baud_rate *message);
size_t ccnvr_pack_coefficients_request(const struct ccnvr_coefficients_request *message, uint8_t *out);
bool ccnvr_unpack_coefficients_request(const uint8_t *payload, size_t length, struct ccnvr_coefficients_request *message);
size_t ccnvr_pack_coefficients(const struct ccnvr_coefficients *message, uint8_t *out);
bool ccnvr_unpack_coefficients(const uint8_t *payload, size_t length, struct ccnvr_coefficients *message);
size_t ccnvr_pack_memory_block(const struct ccnvr_memory_block *message, uint8_t *out);
bool ccnvr_unpack_memory_block(const uint8_t *payload, size_t length, struct ccnvr_memory_block *message);
size_t ccnvr_pack_memory_written(const struct ccnvr_memory_written *message, uint8_t *out);
bool ccnvr_unpack_memory_written(const uint8_t *payload, size_t length, struct ccnvr_memory_written *message);

#endif
