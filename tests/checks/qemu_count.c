// A plugin of qemu that says how many instructions a program ran. Debian's qemu comes without plugins and
// without their header, so the part of the interface (version 1) that this needs is declared here.
//     cc -shared -fPIC -O1 tests/checks/qemu_count.c -o count.so && qemu-aarch64 -plugin ./count.so PROGRAM,
//     one thread
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*callback)(uint64_t, struct qemu_plugin_tb*));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, int add, void* to,
                                              uint64_t value);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*callback)(uint64_t, void*), void* data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t count;

static void count_block(uint64_t id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &count, qemu_plugin_tb_n_insns(block));
}
static void print_count(uint64_t id, void* data) {
  (void)id;
  (void)data;
  fprintf(stderr, "instructions: %llu\n", (unsigned long long)count);
}
__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void* info, int argc,
                                                               char** argv) {
  (void)info;
  (void)argc;
  (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
  qemu_plugin_register_atexit_cb(id, print_count, 0);
  return 0;
}
