/* What the library was built from, and which of its instruction sets this processor has. */

#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED const char *harness_source_hash(void) { return SOURCE_HASH; }

EXPORTED int harness_supports(const char *level)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(level, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    if (!strcmp(level, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
    if (!strcmp(level, "neon"))
        return 1;
#endif
    return !strcmp(level, "baseline");
}
