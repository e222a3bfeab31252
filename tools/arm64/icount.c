/* A QEMU plugin that counts guest instructions between marks.
 *
 * A mark is the system call getpgid(MARK + n), which fails and changes nothing. Each mark prints
 * "n instructions-since-the-last-mark". The counter is not atomic, so the guest must use one thread.
 * Debian ships no header of QEMU's plugin interface (version 1), so its few declarations are here. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x51500000u
#define MOST_MARKS 0x100000u
#define GETPGID_AARCH64 155

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_info;
typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t);

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int add_u64, void *counter, uint64_t amount);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);

EXPORT int qemu_plugin_version = 1;

static uint64_t instructions, at_last_mark;
static FILE *out;

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &instructions, qemu_plugin_tb_n_insns(block));
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != GETPGID_AARCH64 || a < MARK || a >= MARK + MOST_MARKS)
        return;
    fprintf(out, "%llu %llu\n", (unsigned long long)(a - MARK), (unsigned long long)(instructions - at_last_mark));
    fflush(out);
    at_last_mark = instructions;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    out = argc == 1 && !strncmp(argv[0], "out=", 4) ? fopen(argv[0] + 4, "w") : NULL;
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
