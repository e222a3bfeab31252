#include "ccnvr_frame.h"

#define FULL_GROUP 0xFFu

/* Polynomial 0x04C11DB7 reflected, four bits at a time: 64 bytes of flash instead of 1 KiB. */
static const uint32_t crc_of_nibble[16] = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
    0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

uint32_t ccnvr_crc32(uint32_t crc, const uint8_t *data, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ crc_of_nibble[crc & 0xFu];
        crc = (crc >> 4) ^ crc_of_nibble[crc & 0xFu];
    }
    return ~crc;
}

static uint16_t u16_at(const uint8_t *data)
{
    return (uint16_t)(data[0] | (data[1] << 8));
}

static uint32_t u32_at(const uint8_t *data)
{
    return u16_at(data) | ((uint32_t)u16_at(data + 2) << 16);
}

static void restart(struct ccnvr_parser *parser)
{
    parser->length = 0;
    parser->encoded = 0;
    parser->code = 0;
    parser->left = 0;
}

void ccnvr_parser_init(struct ccnvr_parser *parser, uint8_t *buffer, size_t capacity)
{
    parser->buffer = buffer;
    parser->capacity = capacity < CCNVR_MAX_BODY ? capacity : CCNVR_MAX_BODY;
    restart(parser);
}

static void keep(struct ccnvr_parser *parser, uint8_t byte)
{
    if (parser->length < parser->capacity) {
        parser->buffer[parser->length] = byte;
    }
    parser->length++;
}

static void unstuff(struct ccnvr_parser *parser, uint8_t byte)
{
    if (parser->encoded > CCNVR_MAX_ENCODED) {
        return;
    }
    parser->encoded++;
    if (parser->left > 0u) {
        parser->left--;
        keep(parser, byte);
        return;
    }
    /* Each group stands for the zero behind it, except a full group and the last one. */
    if (parser->code != 0u && parser->code != FULL_GROUP) {
        keep(parser, 0);
    }
    parser->code = byte;
    parser->left = (uint8_t)(byte - 1u);
}

static enum ccnvr_event finish(const struct ccnvr_parser *parser, struct ccnvr_frame *frame)
{
    const uint8_t *body = parser->buffer;
    if (parser->encoded > CCNVR_MAX_ENCODED) {
        return CCNVR_BAD_LENGTH;
    }
    if (parser->left > 0u || parser->code == FULL_GROUP) {
        return CCNVR_BAD_STUFFING;
    }
    if (parser->length > parser->capacity || parser->length < CCNVR_HEADER_BYTES + CCNVR_CRC_BYTES) {
        return CCNVR_BAD_LENGTH;
    }
    size_t content = parser->length - CCNVR_CRC_BYTES;
    if (ccnvr_crc32(0, body, content) != u32_at(body + content)) {
        return CCNVR_BAD_CHECKSUM;
    }
    /* Only now, because the version byte means something only in a frame that arrived whole. */
    if (body[0] != CCNVR_VERSION) {
        return CCNVR_BAD_VERSION;
    }
    if ((body[1] & CCNVR_INCOMPATIBLE_FLAGS) != 0u) {
        return CCNVR_BAD_FLAGS;
    }
    frame->type = body[2];
    frame->sequence = u16_at(body + 4);
    frame->chunk = u16_at(body + 6);
    frame->chunks = u16_at(body + 8);
    frame->payload = body + CCNVR_HEADER_BYTES;
    frame->length = content - CCNVR_HEADER_BYTES;
    return frame->chunk < frame->chunks ? CCNVR_FRAME : CCNVR_BAD_LENGTH;
}

enum ccnvr_event ccnvr_parser_push(struct ccnvr_parser *parser, uint8_t byte, struct ccnvr_frame *frame)
{
    enum ccnvr_event event = CCNVR_NOTHING;
    if (byte != 0u) {
        unstuff(parser, byte);
        return CCNVR_NOTHING;
    }
    /* Two delimiters in a row are an idle line and not damage. */
    if (parser->encoded > 0u) {
        event = finish(parser, frame);
    }
    restart(parser);
    return event;
}

static void write_at(struct ccnvr_builder *builder, size_t position, uint8_t byte)
{
    if (position < builder->capacity) {
        builder->out[position] = byte;
    }
}

static void open_group(struct ccnvr_builder *builder)
{
    builder->code_at = builder->length++;
}

static void close_group(struct ccnvr_builder *builder)
{
    write_at(builder, builder->code_at, (uint8_t)(builder->length - builder->code_at));
}

static void stuff(struct ccnvr_builder *builder, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] != 0u) {
            write_at(builder, builder->length++, data[i]);
        }
        if (data[i] == 0u || builder->length - builder->code_at == FULL_GROUP) {
            close_group(builder);
            open_group(builder);
        }
    }
}

static void pack_u32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4u; i++) {
        out[i] = (uint8_t)(value >> (8u * i));
    }
}

void ccnvr_builder_begin(struct ccnvr_builder *builder, uint8_t *out, size_t capacity, const struct ccnvr_frame *frame)
{
    uint8_t header[CCNVR_HEADER_BYTES] = {CCNVR_VERSION, 0, frame->type, 0};
    header[4] = (uint8_t)frame->sequence;
    header[5] = (uint8_t)(frame->sequence >> 8);
    header[6] = (uint8_t)frame->chunk;
    header[7] = (uint8_t)(frame->chunk >> 8);
    header[8] = (uint8_t)frame->chunks;
    header[9] = (uint8_t)(frame->chunks >> 8);
    builder->out = out;
    builder->capacity = capacity;
    builder->length = 0;
    builder->crc = 0;
    open_group(builder);
    ccnvr_builder_put(builder, header, sizeof header);
}

void ccnvr_builder_put(struct ccnvr_builder *builder, const uint8_t *data, size_t length)
{
    builder->crc = ccnvr_crc32(builder->crc, data, length);
    stuff(builder, data, length);
}

void ccnvr_builder_put_u32(struct ccnvr_builder *builder, uint32_t value)
{
    uint8_t bytes[4];
    pack_u32(bytes, value);
    ccnvr_builder_put(builder, bytes, sizeof bytes);
}

size_t ccnvr_builder_end(struct ccnvr_builder *builder)
{
    uint8_t crc[CCNVR_CRC_BYTES];
    pack_u32(crc, builder->crc);
    stuff(builder, crc, sizeof crc);
    close_group(builder);
    write_at(builder, builder->length++, 0);
    return builder->length <= builder->capacity ? builder->length : 0u;
}

size_t ccnvr_build(uint8_t *out, size_t capacity, const struct ccnvr_frame *frame)
{
    struct ccnvr_builder builder;
    if (frame->length > CCNVR_MAX_PAYLOAD || frame->chunk >= frame->chunks) {
        return 0;
    }
    ccnvr_builder_begin(&builder, out, capacity, frame);
    ccnvr_builder_put(&builder, frame->payload, frame->length);
    return ccnvr_builder_end(&builder);
}
