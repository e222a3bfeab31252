/* An instrument on a pseudo-terminal of this computer, made of the same C that a microcontroller runs. It
   simulates the 512-pixel handheld of simulators/handheld.py, which sees synthetic soils. It prints the URL
   of its port; SIGUSR1 presses its button, SIGTERM ends it.

   ./host_instrument [--boot N] [--seed N] [--pace X] */
#define _GNU_SOURCE
#include "ccnvr_device.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PIXELS 512u
#define SATURATION 65535.0
#define MEMORY_BYTES 1024u

/* As in simulators/bench.py: counts per microsecond of the brightest pixel on the white panel and in the
   dark, then counts and electrons. */
#define WHITE_RATE 4.2
#define DARK_RATE 0.12
#define DARK_OFFSET 900.0
#define ELECTRONS_PER_COUNT 60.0
#define READ_NOISE 3.0
#define PANEL 0.99
#define CENTI_CELSIUS 2500

struct simulation {
    int master;
    uint32_t baud;
    double pace;
    uint64_t random;
    uint32_t integration_us;
    uint32_t soils_seen;
    uint64_t done_ms; /* when the current scan will be complete; 0 if there is none */
    uint8_t memory[MEMORY_BYTES];
};

static volatile sig_atomic_t presses;
static volatile sig_atomic_t stopped;

static struct ccnvr_slot slots[CCNVR_SLOTS(CCNVR_SAMPLES_KEPT)];
static uint32_t sums[CCNVR_SLOTS(CCNVR_SAMPLES_KEPT) * PIXELS];
static float wavelengths_nm[PIXELS];
static double signal_of_white[PIXELS];
static const struct ccnvr_doubles dispersion = {{1101.5, 2.775, -9.0e-5}, 3};
static const struct ccnvr_doubles linearity = {{1.0}, 1};

static void on_signal(int number)
{
    if (number == SIGUSR1) {
        presses++;
    } else {
        stopped = 1;
    }
}

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* --- light --- */

/* Return a uniform number in (0, 1), by splitmix64 (Steele, Lea & Flood 2014). */
static double uniform(struct simulation *simulation)
{
    uint64_t z = simulation->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

/* Return a standard normal number, by Box & Muller 1958. */
static double normal(struct simulation *simulation)
{
    double radius = sqrt(-2.0 * log(uniform(simulation)));
    return radius * cos(6.283185307179586 * uniform(simulation));
}

static void calibrate(void)
{
    double brightest = 0.0;
    for (unsigned i = 0; i < PIXELS; i++) {
        double nm = dispersion.values[0] + dispersion.values[1] * i + dispersion.values[2] * i * i;
        double um = nm / 1000.0;
        double photons = pow(um, -4.0) / expm1(14387.77 / (um * 2700.0));
        wavelengths_nm[i] = (float)nm;
        signal_of_white[i] = photons / (1.0 + exp((nm - 2450.0) / 40.0));
        brightest = fmax(brightest, signal_of_white[i]);
    }
    for (unsigned i = 0; i < PIXELS; i++) {
        signal_of_white[i] *= WHITE_RATE / brightest;
    }
}

static double band(double nm, double centre, double width)
{
    return exp(-0.5 * (nm - centre) * (nm - centre) / (width * width));
}

/* Return the reflectance of one of ten soils: a slope with the bands of hydroxyl, water and clay. */
static double soil_reflectance(uint32_t soil, double nm)
{
    double depth = 0.4 + 0.1 * (soil % 10u);
    double level = 0.25 + 0.02 * (soil % 10u) + 0.1 * (nm - 1100.0) / 1400.0;
    double absorbed = 0.03 * band(nm, 1414.0, 25.0) + 0.08 * band(nm, 1915.0, 35.0) + 0.04 * band(nm, 2207.0, 20.0);
    return level * pow(10.0, -depth * absorbed);
}

static double reflectance(const struct simulation *simulation, enum ccnvr_scan_kind kind, unsigned pixel)
{
    if (kind == CCNVR_SCAN_KIND_DARK) {
        return 0.0;
    }
    return kind == CCNVR_SCAN_KIND_WHITE ? PANEL : soil_reflectance(simulation->soils_seen, (double)wavelengths_nm[pixel]);
}

static void expose(
    struct simulation *simulation, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *pixel_sums, struct ccnvr_reading *reading)
{
    double dark = DARK_RATE * simulation->integration_us;
    for (unsigned i = 0; i < PIXELS; i++) {
        double light = signal_of_white[i] * simulation->integration_us * reflectance(simulation, kind, i);
        double deviation = sqrt((light + dark) / ELECTRONS_PER_COUNT + READ_NOISE * READ_NOISE);
        pixel_sums[i] = 0;
        for (uint16_t scan = 0; scan < averages; scan++) {
            double counts = rint(light + dark + DARK_OFFSET + deviation * normal(simulation));
            reading->saturated = reading->saturated || counts >= SATURATION;
            pixel_sums[i] += (uint32_t)fmin(fmax(counts, 0.0), SATURATION);
        }
    }
    reading->temperature_centi_c = CENTI_CELSIUS;
    simulation->soils_seen += kind == CCNVR_SCAN_KIND_SAMPLE;
}

/* --- callbacks --- */

static enum ccnvr_result set_integration(void *context, uint32_t integration_us)
{
    struct simulation *simulation = context;
    simulation->integration_us = integration_us;
    simulation->done_ms = 0;
    return CCNVR_DONE;
}

static enum ccnvr_result read_counts(
    void *context, enum ccnvr_scan_kind kind, uint16_t averages, uint32_t *pixel_sums, struct ccnvr_reading *reading)
{
    struct simulation *simulation = context;
    if (simulation->done_ms == 0u) {
        double light_ms = (double)simulation->integration_us * averages / 1000.0;
        simulation->done_ms = clock_ms() + (uint64_t)(simulation->pace * light_ms);
    }
    if (clock_ms() < simulation->done_ms) {
        return CCNVR_BUSY;
    }
    expose(simulation, kind, averages, pixel_sums, reading);
    return CCNVR_DONE;
}

static void switch_nothing(void *context, bool on)
{
    (void)context;
    (void)on;
}

static int16_t read_temperature(void *context)
{
    (void)context;
    return CENTI_CELSIUS;
}

static void read_memory(void *context, uint16_t offset, uint8_t *data, size_t length)
{
    const struct simulation *simulation = context;
    memcpy(data, simulation->memory + offset, length);
}

static enum ccnvr_result write_memory(void *context, uint16_t offset, const uint8_t *data, size_t length)
{
    struct simulation *simulation = context;
    memcpy(simulation->memory + offset, data, length);
    return CCNVR_DONE;
}

static void set_baud(void *context, uint32_t baud)
{
    struct simulation *simulation = context;
    simulation->baud = baud;
}

/* --- the port --- */

/* A pseudo-terminal carries bytes at any rate. At another rate than the host's, a real line would deliver
   wrong bytes. */
static uint8_t heard(const struct simulation *simulation, uint8_t byte)
{
    struct termios2 host;
    bool same = ioctl(simulation->master, TCGETS2, &host) != 0 || host.c_ospeed == simulation->baud;
    return same ? byte : byte ^ 0xA5u;
}

static void send(void *context, const uint8_t *data, size_t length)
{
    const struct simulation *simulation = context;
    uint8_t bytes[CCNVR_BUILDER_BYTES];
    for (size_t i = 0; i < length; i++) {
        bytes[i] = heard(simulation, data[i]);
    }
    for (size_t sent = 0; sent < length && !stopped;) {
        struct pollfd ready = {simulation->master, POLLOUT, 0};
        if (poll(&ready, 1, 100) > 0) {
            ssize_t written = write(simulation->master, bytes + sent, length - sent);
            sent += written > 0 ? (size_t)written : 0u;
        }
    }
}

static int open_port(void)
{
    struct termios2 raw;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        return -1;
    }
    /* The slave stays open here too, so that a host can leave and come back without a hang-up. */
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0 || ioctl(slave, TCGETS2, &raw) != 0) {
        return -1;
    }
    raw.c_iflag = 0;
    raw.c_oflag = 0;
    raw.c_lflag = 0;
    return ioctl(slave, TCSETS2, &raw) == 0 ? master : -1;
}

static const struct ccnvr_instrument instrument = {
    .model = "ccnvr simulated NIR-512",
    .serial = "SIM-512-C",
    .firmware = "C reference 1",
    .wavelengths_nm = wavelengths_nm,
    .pixels = PIXELS,
    .saturation_counts = (uint32_t)SATURATION,
    .shortest_integration_us = 100,
    .longest_integration_us = 500000,
    .most_averages = 1000,
    .slowest_baud = 9600,
    .starting_baud = CCNVR_DEFAULT_BAUD,
    .fastest_baud = 12000000,
    .memory_bytes = MEMORY_BYTES,
    .has_button = true,
    .coefficients = {&dispersion, &linearity},
    .send = send,
    .set_integration = set_integration,
    .read_counts = read_counts,
    .set_lamp = switch_nothing,
    .set_shutter = switch_nothing,
    .read_temperature = read_temperature,
    .read_memory = read_memory,
    .write_memory = write_memory,
    .set_baud = set_baud,
};

static void serve(struct simulation *simulation, struct ccnvr_device *device)
{
    struct pollfd arrived = {simulation->master, POLLIN, 0};
    sig_atomic_t pressed = 0;
    while (!stopped) {
        uint8_t bytes[256];
        ssize_t count = poll(&arrived, 1, device->scanning ? 1 : 20) > 0 ? read(simulation->master, bytes, sizeof bytes) : 0;
        for (; pressed < presses; pressed++) {
            ccnvr_device_press(device);
        }
        ccnvr_device_poll(device, (uint32_t)clock_ms());
        for (ssize_t i = 0; i < count; i++) {
            bytes[i] = heard(simulation, bytes[i]);
            ccnvr_device_receive(device, &bytes[i], 1);
        }
    }
}

static bool parse(int count, char **arguments, struct simulation *simulation, uint32_t *boot)
{
    for (int i = 1; i < count; i += 2) {
        char *end = NULL;
        double value = i + 1 < count ? strtod(arguments[i + 1], &end) : -1.0;
        if (end == NULL || *end != '\0' || !(value >= 0.0 && value < 4294967296.0)) {
            return false;
        }
        if (strcmp(arguments[i], "--boot") == 0) {
            *boot = (uint32_t)value;
        } else if (strcmp(arguments[i], "--seed") == 0) {
            simulation->random = (uint64_t)value;
        } else if (strcmp(arguments[i], "--pace") == 0) {
            simulation->pace = value;
        } else {
            return false;
        }
    }
    return true;
}

int main(int count, char **arguments)
{
    static struct simulation simulation = {.baud = CCNVR_DEFAULT_BAUD, .pace = 1.0, .random = 1};
    static struct ccnvr_device device;
    static const struct ccnvr_memory memory = {slots, sums, CCNVR_SLOTS(CCNVR_SAMPLES_KEPT)};
    uint32_t boot = (uint32_t)time(NULL);
    if (!parse(count, arguments, &simulation, &boot)) {
        fprintf(stderr, "use: %s [--boot N] [--seed N] [--pace X], numbers from 0 to below 2^32\n", arguments[0]);
        return 2;
    }
    simulation.master = open_port();
    if (simulation.master < 0) {
        fprintf(stderr, "no pseudo-terminal can be opened (%s)\n", strerror(errno));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    memset(simulation.memory, 0xFF, sizeof simulation.memory);
    calibrate();
    ccnvr_device_init(&device, &instrument, &memory, boot, &simulation);
    printf("serial://%s\n", ptsname(simulation.master));
    fflush(stdout);
    serve(&simulation, &device);
    return 0;
}
