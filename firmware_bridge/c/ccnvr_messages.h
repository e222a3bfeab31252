/* The messages of the ccnvr link, PROTOCOL.md. Generated from link.toml by `make generate`: change that file, not this one. */
#ifndef CCNVR_MESSAGES_H
#define CCNVR_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* the version byte of every frame */
#define CCNVR_VERSION 1u
/* flag bits that a receiver must know to read the frame */
#define CCNVR_INCOMPATIBLE_FLAGS 240u
/* longest payload of a reply, bytes; also the length of every chunk but the last */
#define CCNVR_MAX_PAYLOAD 1024u
/* longest payload of a request, bytes: all that an instrument must be able to receive */
#define CCNVR_MAX_REQUEST 128u
/* rate at which a serial line starts */
#define CCNVR_DEFAULT_BAUD 921600u
/* longest model, serial number or firmware version, bytes */
#define CCNVR_LONGEST_NAME 32u
/* longest text of an ERROR, bytes */
#define CCNVR_LONGEST_DETAIL 200u
/* most values in COEFFICIENTS */
#define CCNVR_MOST_COEFFICIENTS 16u
/* most pixels */
#define CCNVR_MOST_PIXELS 16384u
/* unacknowledged samples that an instrument keeps unless it states another number */
#define CCNVR_SAMPLES_KEPT 8u
/* a request is given up after this many times its time-out */
#define CCNVR_ATTEMPTS 4u
/* the host repeats a request after this */
#define CCNVR_REPLY_MS 1000u
/* the same for a white scan, which an operator may have to start */
#define CCNVR_WHITE_MS 30000u
/* the host repeats a request this long after something damaged arrived */
#define CCNVR_AFTER_DAMAGE_MS 50u
/* an instrument answers within this, a SCAN within this and 2 x light time */
#define CCNVR_ANSWER_MS 500u
/* after BAUD_SET: the instrument has changed its rate, and the host may speak */
#define CCNVR_BAUD_SETTLE_MS 50u
/* bytes but no frame for this long: the instrument returns to the rate it started with */
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
    /* the white reference: the instrument's own, or the panel, which the operator announces by the button */
    CCNVR_SCAN_KIND_WHITE = 1,
    /* the sample */
    CCNVR_SCAN_KIND_SAMPLE = 2,
};

/* Why a request was refused. */
enum ccnvr_error_code {
    /* no such request, or this instrument lacks what it is for */
    CCNVR_ERROR_CODE_UNKNOWN_REQUEST = 1,
    /* the payload is too short, too long, or holds a value that no version has */
    CCNVR_ERROR_CODE_MALFORMED = 2,
    /* a value outside what CAPABILITIES states, or a chunk beyond the last */
    CCNVR_ERROR_CODE_OUT_OF_RANGE = 3,
    /* the scan is not kept */
    CCNVR_ERROR_CODE_NO_SUCH_SCAN = 4,
    /* as many samples wait as the instrument keeps */
    CCNVR_ERROR_CODE_STORE_FULL = 5,
    /* lamp, detector or memory failed; the text says which */
    CCNVR_ERROR_CODE_HARDWARE = 6,
    /* the frame was of another link version */
    CCNVR_ERROR_CODE_OTHER_VERSION = 7,
    /* lamp or shutter is held so that this scan cannot be taken */
    CCNVR_ERROR_CODE_WRONG_STATE = 8,
};

/* How lamp or shutter is held. */
enum ccnvr_held {
    /* as each scan needs it; at rest off, and closed */
    CCNVR_HELD_AUTOMATIC = 0,
    /* lamp off, shutter closed */
    CCNVR_HELD_OFF = 1,
    /* lamp on, shutter open */
    CCNVR_HELD_ON = 2,
};

/* Which calibration. */
enum ccnvr_coefficient_kind {
    /* nm = sum of c[i] x pixel^i, pixels from 0; WAVELENGTHS is what counts, this tells how it was made */
    CCNVR_COEFFICIENT_KIND_WAVELENGTH = 0,
    /* true counts = counts / sum of c[i] x counts^i, counts of one integration less the dark; not applied to the data */
    CCNVR_COEFFICIENT_KIND_LINEARITY = 1,
};

/* What the instrument has. */
enum ccnvr_feature {
    /* a lamp that it switches */
    CCNVR_FEATURE_LAMP = 1,
    /* a shutter */
    CCNVR_FEATURE_SHUTTER = 2,
    /* a button */
    CCNVR_FEATURE_BUTTON = 4,
    /* a thermometer at the detector; without it temperatures mean nothing */
    CCNVR_FEATURE_THERMOMETER = 8,
};

/* The moment's state. */
enum ccnvr_status_flag {
    /* the lamp is on */
    CCNVR_STATUS_FLAG_LAMP_ON = 1,
    /* the shutter is open */
    CCNVR_STATUS_FLAG_SHUTTER_OPEN = 2,
};

/* UTF-8, not closed by a zero. */
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

/* HELLO. Host to instrument: start a session. `nonce` marks the reply as belonging to it. */
struct ccnvr_hello {
    uint32_t nonce; /* any number; CAPABILITIES carries it back */
};
#define CCNVR_LONGEST_HELLO (4u)

/* CAPABILITIES. Instrument to host: who it is and what it can do. Bytes behind the last field are a later revision's and are ignored. */
struct ccnvr_capabilities {
    uint32_t nonce; /* HELLO's */
    uint32_t boot; /* counts the starts of the instrument; differs after each */
    uint16_t pixels; /* 2 to 16384 */
    uint32_t saturation_counts; /* largest count of one integration, at least 1; times most_averages below 2^32 */
    uint32_t shortest_integration_us; /* microseconds */
    uint32_t longest_integration_us; /* microseconds */
    uint16_t most_averages; /* most integrations in a scan, at least 1 */
    struct ccnvr_text model; /* for people */
    struct ccnvr_text serial; /* this instrument's own, not empty */
    struct ccnvr_text firmware; /* its version, for people */
    uint32_t features; /* enum ccnvr_feature: what it has */
    uint16_t memory_bytes; /* size of the user memory, 0 if there is none */
    uint32_t fastest_baud; /* fastest rate that BAUD may set, 0 if the rate is fixed */
    uint8_t samples_kept; /* unacknowledged samples that it keeps, at least 1 */
};
#define CCNVR_LONGEST_CAPABILITIES (4u + 4u + 2u + 4u + 4u + 4u + 2u + 1u + CCNVR_LONGEST_NAME + 1u + CCNVR_LONGEST_NAME + 1u + CCNVR_LONGEST_NAME + 4u + 2u + 4u + 1u)

/* SCAN. Host to instrument: take a scan of `averages` integrations. */
struct ccnvr_scan_request {
    uint8_t kind; /* enum ccnvr_scan_kind: what to look at */
    uint32_t integration_us; /* integration time, microseconds */
    uint16_t averages; /* integrations to add up */
};
#define CCNVR_LONGEST_SCAN_REQUEST (1u + 4u + 2u)

/* SCANNED. Instrument to host: a scan waits to be read. Its data are `pixels` u32 sums over the averages, so that averaging loses nothing. */
struct ccnvr_scanned {
    uint32_t number; /* the scan's, counted from 1 since the start */
    uint8_t kind; /* enum ccnvr_scan_kind: as asked for */
    bool saturated; /* a pixel reached saturation */
    uint32_t integration_us; /* as asked for */
    uint16_t averages; /* as asked for */
    uint16_t pixels; /* as in CAPABILITIES */
    int16_t temperature_centi_c; /* at the detector, 0.01 degrees C */
    uint32_t checksum; /* CRC-32 of all its data */
};
#define CCNVR_LONGEST_SCANNED (4u + 1u + 1u + 4u + 2u + 2u + 2u + 4u)

/* scan number. A scan's number: the payload of READ, ACKNOWLEDGE, ACKNOWLEDGED and, meaning "above this one", of OLDEST. */
struct ccnvr_scan_number {
    uint32_t number; /* the scan's */
};
#define CCNVR_LONGEST_SCAN_NUMBER (4u)

/* ERROR. Instrument to host: why a request was not carried out; `code` may be one that this version does not know. */
struct ccnvr_refusal {
    uint16_t code; /* an error code */
    struct ccnvr_text detail; /* for people; may be empty */
};
#define CCNVR_LONGEST_REFUSAL (2u + CCNVR_LONGEST_DETAIL)

/* STATUS. Instrument to host: how it is now. */
struct ccnvr_status {
    uint32_t boot; /* as in CAPABILITIES; another one says that the instrument has restarted */
    uint32_t presses; /* presses of the button since the start, modulo 2^32 */
    int16_t temperature_centi_c; /* at the detector, 0.01 degrees C */
    uint8_t waiting; /* samples that wait to be acknowledged */
    uint8_t flags; /* enum ccnvr_status_flag: lamp and shutter */
};
#define CCNVR_LONGEST_STATUS (4u + 4u + 2u + 1u + 1u)

/* HOLD. Host to instrument: hold lamp and shutter, or leave them to the scans again. */
struct ccnvr_hold {
    uint8_t lamp; /* enum ccnvr_held: AUTOMATIC where there is no lamp */
    uint8_t shutter; /* enum ccnvr_held: AUTOMATIC where there is no shutter */
};
#define CCNVR_LONGEST_HOLD (1u + 1u)

/* BAUD. Both ways: the rate of the serial line from now on. */
struct ccnvr_baud_rate {
    uint32_t baud; /* symbols a second */
};
#define CCNVR_LONGEST_BAUD_RATE (4u)

/* COEFFICIENTS. Host to instrument: which calibration coefficients are wanted. */
struct ccnvr_coefficients_request {
    uint8_t kind; /* enum ccnvr_coefficient_kind: which */
};
#define CCNVR_LONGEST_COEFFICIENTS_REQUEST (1u)

/* COEFFICIENTS_DATA. Instrument to host: calibration coefficients, none where it has none of that kind. */
struct ccnvr_coefficients {
    uint8_t kind; /* enum ccnvr_coefficient_kind: as asked for */
    struct ccnvr_doubles values; /* lowest power first */
};
#define CCNVR_LONGEST_COEFFICIENTS (1u + 8u * CCNVR_MOST_COEFFICIENTS)

/* WRITE. Host to instrument: bytes for the user memory. */
struct ccnvr_memory_block {
    uint16_t offset; /* of the first byte */
    struct ccnvr_bytes data; /* at least 1 byte */
};
#define CCNVR_LONGEST_MEMORY_BLOCK (2u + CCNVR_MAX_REQUEST - 2u)

/* WRITTEN. Instrument to host: these bytes are in the user memory for good. */
struct ccnvr_memory_written {
    uint16_t offset; /* as asked for */
    uint16_t length; /* bytes written: all of them */
};
#define CCNVR_LONGEST_MEMORY_WRITTEN (2u + 2u)

/* Each ccnvr_pack_x writes a payload, at most CCNVR_LONGEST_X bytes, and returns its length. Each
   ccnvr_unpack_x says whether the payload is well formed; text and bytes then point into it. */
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
