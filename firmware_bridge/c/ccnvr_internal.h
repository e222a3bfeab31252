/* What the files of the device share; not part of the interface. */
#ifndef CCNVR_INTERNAL_H
#define CCNVR_INTERNAL_H

#include "ccnvr_device.h"

#define WORDS_PER_CHUNK (CCNVR_MAX_PAYLOAD / 4u)

/* ccnvr_reply.c */
struct ccnvr_text ccnvr_text_of(const char *words);
void ccnvr_end_reply(struct ccnvr_device *device, struct ccnvr_builder *builder);
void ccnvr_answer(struct ccnvr_device *device, const uint8_t *payload, size_t length);
void ccnvr_refuse(struct ccnvr_device *device, enum ccnvr_error_code code, const char *detail);
void ccnvr_refuse_malformed(struct ccnvr_device *device);
bool ccnvr_begin_chunk(struct ccnvr_device *device, struct ccnvr_builder *builder, size_t bytes);
size_t ccnvr_chunk_end(const struct ccnvr_device *device, size_t total, size_t per_chunk);

/* ccnvr_scans.c */
uint8_t ccnvr_samples_waiting(const struct ccnvr_device *device);
void ccnvr_light_at_rest(const struct ccnvr_device *device);
void ccnvr_continue_scan(struct ccnvr_device *device);
void ccnvr_give_up_scan(struct ccnvr_device *device);
void ccnvr_on_scan(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_oldest(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_read(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_acknowledge(struct ccnvr_device *device, const struct ccnvr_frame *request);

/* ccnvr_requests.c */
void ccnvr_on_hello(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_wavelengths(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_status(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_hold(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_coefficients(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_memory(struct ccnvr_device *device, const struct ccnvr_frame *request);
void ccnvr_on_write(struct ccnvr_device *device, const struct ccnvr_frame *request);

#endif
