#include "cpu/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "model/model.h"

struct entry {
    const struct kernels *kernels;
    bool (*runs)(void); /* on this machine */
};

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* Not every compiler knows this one by name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* The compiler's checks include that the operating system saves the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avxvnni(void)
{
    enum { AVX_VNNI = 1 << 4 };
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX_VNNI);
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

/* The tile registers are large, so Linux wants to be asked for them; the permission holds for every thread. */
static bool has_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    enum { AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_TILE) && (d & AMX_INT8) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#elif defined(__aarch64__)
static bool has_dot_products(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

static bool has_matrix_products(void)
{
    return has_dot_products() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
}
#endif

static const struct entry entries[] = {
#if defined(__x86_64__)
    {&amx_kernels, has_amx},         {&avx512_kernels, has_avx512},
    {&avxvnni_kernels, has_avxvnni}, {&avx2_kernels, has_avx2},
#elif defined(__aarch64__)
    {&i8mm_kernels, has_matrix_products},
    {&neon_kernels, has_dot_products},
#endif
    {&scalar_kernels, always},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

const struct kernels *kernels_at(int index)
{
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i].runs() && index-- == 0)
            return entries[i].kernels;
    return NULL;
}

goss_status kernels_pick(const struct kernels **kernels, const char *cap, goss_error *error)
{
    bool below = cap == NULL;
    *kernels = NULL;
    for (int i = 0; i < ENTRIES; i++) {
        below = below || strcmp(cap, entries[i].kernels->name) == 0;
        if (below && entries[i].runs()) {
            *kernels = entries[i].kernels;
            return GOSS_OK;
        }
    }
    return error_set(error, GOSS_E_ARGUMENT, "isa: '%s' is none that this architecture has", cap);
}

product_fn *kernels_product(const struct kernels *kernels, const struct matrix *matrix)
{
    switch (matrix->type) {
    case DTYPE_TILE_MXFP4: return kernels->product_mxfp4;
    case DTYPE_TILE_Q8: return kernels->product_q8;
    case DTYPE_TILE_BF16: return kernels->product_bf16;
    case DTYPE_TILE_F32: return kernels->product_f32;
    default: return NULL;
    }
}
