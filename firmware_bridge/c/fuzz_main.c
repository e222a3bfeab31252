/* Runs the entry point of a fuzzer without libFuzzer, on each file of the given folders and on random
   changes of these files.

   fuzz_x CHANGES FOLDER... */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_FILES 1024u
#define MOST_BYTES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *inputs[MOST_FILES];
static size_t sizes[MOST_FILES];
static size_t count;
static uint32_t state = 2463534242u;

/* xorshift32, Marsaglia 2003. */
static uint32_t chance(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

static void load(const char *folder)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory != NULL && count < MOST_FILES && (entry = readdir(directory)) != NULL) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "rb") : NULL;
        if (file != NULL) {
            inputs[count] = malloc(MOST_BYTES);
            if (inputs[count] == NULL) {
                abort();
            }
            sizes[count] = fread(inputs[count], 1, MOST_BYTES, file);
            count++;
            fclose(file);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

static size_t change(uint8_t *data, size_t size)
{
    uint32_t at = chance((uint32_t)size + 1u);
    switch (chance(4)) {
    case 0: /* insert */
        if (size < MOST_BYTES) {
            memmove(data + at + 1, data + at, size - at);
            data[at] = (uint8_t)chance(256);
            return size + 1u;
        }
        return size;
    case 1: /* cut */
        return at;
    default: /* replace */
        if (at < size) {
            data[at] = (uint8_t)chance(256);
        }
        return size;
    }
}

int main(int arguments, char **argument)
{
    long changes = arguments > 1 ? strtol(argument[1], NULL, 10) : 0;
    for (int i = 2; i < arguments; i++) {
        load(argument[i]);
    }
    for (size_t i = 0; i < count; i++) {
        LLVMFuzzerTestOneInput(inputs[i], sizes[i]);
    }
    for (long i = 0; i < changes && count > 0u; i++) {
        uint8_t data[MOST_BYTES];
        size_t chosen = chance((uint32_t)count);
        size_t size = sizes[chosen];
        memcpy(data, inputs[chosen], size);
        for (uint32_t more = 1u + chance(6); more > 0u; more--) {
            size = change(data, size);
        }
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%zu inputs and %ld changed ones\n", count, count > 0u ? changes : 0L);
    for (size_t i = 0; i < count; i++) {
        free(inputs[i]);
    }
    return count > 0u ? 0 : 1;
}
