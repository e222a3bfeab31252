/* LD_PRELOAD: lets writes and syncs of files whose path contains ".sqlite" fail.

   The file that $FAULT_TRIGGER names says what fails, as "WHAT FIRST COUNT": WHAT is EROFS, EIO,
   ENOSPC or CUT; the calls FIRST to FIRST + COUNT - 1 fail, counted from 0 since the file's content
   changed. CUT writes half of the data and ends the process, as a power cut does. Without the file,
   nothing fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CUT = -1 };

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, ".sqlite") != NULL;
}

static int fault(int fd) {
    static char before[64];
    static long calls;
    const char *trigger = getenv("FAULT_TRIGGER");
    char now[64] = {0}, what[16];
    long first, count;
    int in = trigger ? open(trigger, O_RDONLY) : -1;
    if (in < 0) return 0;
    ssize_t length = read(in, now, sizeof now - 1);
    close(in);
    if (length <= 0 || !ours(fd)) return 0;
    if (strcmp(now, before)) { strcpy(before, now); calls = 0; }
    if (sscanf(now, "%15s %ld %ld", what, &first, &count) != 3) return 0;
    long call = calls++;
    if (call < first || call >= first + count) return 0;
    if (!strcmp(what, "EROFS")) return EROFS;
    if (!strcmp(what, "ENOSPC")) return ENOSPC;
    return strcmp(what, "CUT") ? EIO : CUT;
}

typedef ssize_t (*write_call)(int, const void *, size_t, off64_t);

static ssize_t checked(const char *name, int fd, const void *data, size_t size, off64_t at) {
    write_call real = (write_call)dlsym(RTLD_NEXT, name);
    int error = fault(fd);
    if (error == CUT) { real(fd, data, size / 2, at); _exit(9); }
    if (error) { errno = error; return -1; }
    return real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return checked("pwrite64", fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return checked("pwrite", fd, data, size, at);
}

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int error = fault(fd);
    if (error == CUT) _exit(9);
    if (error) { errno = error; return -1; }
    return real(fd);
}

int fsync(int fd) { return synced("fsync", fd); }

int fdatasync(int fd) { return synced("fdatasync", fd); }
