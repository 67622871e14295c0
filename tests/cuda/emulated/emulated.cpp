#include "emulated.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <vector>

enum { WARP = 32, MOST_THREADS = 1024, STACK_BYTES = 128 << 10, SHARED_LIMIT = 227 << 10 };

dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- fibers ---- */

/* Keeps the registers that a call preserves on the stack, the stack in *save, and goes on with another one. */
extern "C" void emulated_switch(void **save, void *load);
extern "C" void emulated_begin(void);
#if defined(__x86_64__)
asm(".text\n.globl emulated_switch\n.hidden emulated_switch\n.type emulated_switch, @function\nemulated_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".section .note.GNU-stack,\"\",@progbits\n.text\n");
enum { FRAME_WORDS = 8, FRAME_START = 6 };
#elif defined(__aarch64__)
asm(".text\n.globl emulated_switch\n.hidden emulated_switch\n.type emulated_switch, %function\nemulated_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n"
    "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\n"
    "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\nadd sp, sp, #160\nret\n"
    ".section .note.GNU-stack,\"\",@progbits\n.text\n");
enum { FRAME_WORDS = 20, FRAME_START = 11 };
#else
#error "the emulator switches stacks on x86-64 and arm64 alone"
#endif

struct copy {
    void *to;
    const void *from;
    int group;
};

struct fiber {
    void *stack, *saved;
    dim3 index;
    const unsigned *waits_for; /* the generation of a barrier, or NULL */
    unsigned generation;
    bool done;
    int waited; /* calls of wait_for_previous */
    int group;  /* of copies: the one that the next commit ends */
    std::vector<struct copy> copies;
};

struct barrier {
    int arrived, members;
    unsigned generation;
};

static struct {
    struct fiber fiber[MOST_THREADS];
    struct barrier warp[MOST_THREADS / WARP], cta;
    struct emulated_lane exchange[MOST_THREADS / WARP][2][WARP];
    struct fiber *running;
    int index; /* of the running fiber */
    void *scheduler;
    const std::function<void()> *kernel;
    __attribute__((aligned(128))) uint8_t shared[SHARED_LIMIT];
    bool backward, overlap;
    void *guard;
    size_t guard_bytes;
} machine;

[[noreturn]] static void stop(const char *what)
{
    (void)fprintf(stderr, "emulated GPU: block %u %u, thread %u: %s\n", blockIdx.x, blockIdx.y, threadIdx.x, what);
    abort();
}

extern "C" void emulated_begin(void)
{
    (*machine.kernel)();
    machine.running->done = true;
    emulated_switch(&machine.running->saved, machine.scheduler);
}

static void prepare(struct fiber *f)
{
    if (!f->stack) {
        f->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->stack == MAP_FAILED)
            stop("no memory for a stack");
    }
    void **frame = (void **)((uint8_t *)f->stack + STACK_BYTES) - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    frame[FRAME_START] = (void *)emulated_begin;
    f->saved = frame;
    f->waits_for = NULL;
    f->done = false;
    f->waited = f->group = 0;
    f->copies.clear();
}

static void resume(int index)
{
    struct fiber *f = &machine.fiber[index];
    machine.running = f;
    machine.index = index;
    threadIdx = f->index;
    f->waits_for = NULL;
    emulated_switch(&machine.scheduler, f->saved);
}

static bool ready(const struct fiber *f)
{
    return !f->done && (!f->waits_for || *f->waits_for != f->generation);
}

/* Runs the warp's threads until all have ended or wait for others. */
static bool run_warp(int warp, int n_thread)
{
    bool any = false;
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < WARP; i++) {
            int index = warp * WARP + (machine.backward ? WARP - 1 - i : i);
            if (index >= n_thread || !ready(&machine.fiber[index]))
                continue;
            resume(index);
            more = any = true;
        }
    }
    return any;
}

static void arrive(struct barrier *barrier)
{
    unsigned generation = barrier->generation;
    if (++barrier->arrived == barrier->members) {
        barrier->arrived = 0;
        barrier->generation++;
        return;
    }
    struct fiber *f = machine.running;
    f->waits_for = &barrier->generation;
    f->generation = generation;
    emulated_switch(&f->saved, machine.scheduler);
}

void emulated_barrier(void)
{
    arrive(&machine.cta);
}

void emulated_warp_barrier(void)
{
    arrive(&machine.warp[machine.index / WARP]);
}

/* Two in turn: no lane is two collectives ahead of another. */
struct emulated_lane *emulated_exchange(void)
{
    int warp = machine.index / WARP;
    return machine.exchange[warp][machine.warp[warp].generation % 2];
}

int emulated_lane_index(void)
{
    return machine.index % WARP;
}

void *emulated_shared(void)
{
    return machine.shared;
}

void *emulated_aligned(const void *p, size_t alignment)
{
    if ((uintptr_t)p % alignment)
        stop("an address is not aligned");
    return (void *)p;
}

/* The operands of a warp, row by row and column by column. */
struct operands {
    int8_t a[16][32], b[8][32];
};

static int32_t dot(const int8_t a[32], const int8_t b[32])
{
    int32_t sum = 0;
    for (int k = 0; k < 32; k++)
        sum += (int16_t)a[k] * (int16_t)b[k];
    return sum;
}

void emulated_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4])
{
    struct operands *o = (struct operands *)emulated_exchange();
    int lane = emulated_lane_index(), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++)
        memcpy(&o->a[g + i % 2 * 8][i / 2 * 16 + 4 * t], &a[i], 4);
    for (int i = 0; i < 2; i++)
        memcpy(&o->b[g][i * 16 + 4 * t], &b[i], 4);
    emulated_warp_barrier();
    for (int i = 0; i < 4; i++)
        d[i] = c[i] + dot(o->a[g + i / 2 * 8], o->b[2 * t + i % 2]);
}

/* ---- asynchronous copies ---- */

void emulated_copy_async(void *shared, const void *global)
{
    if (machine.backward)
        memcpy(shared, global, 16);
    else
        machine.running->copies.push_back({shared, global, machine.running->group});
}

void emulated_copy_commit(void)
{
    machine.running->group++;
}

void emulated_copy_wait(int newest)
{
    struct fiber *f = machine.running;
    size_t kept = 0;
    for (const struct copy &copy : f->copies)
        if (copy.group < f->group - newest)
            memcpy(copy.to, copy.from, 16);
        else
            f->copies[kept++] = copy;
    f->copies.resize(kept);
}

/* ---- memory that the kernel before may still write ---- */

static void protect(bool on)
{
    if (machine.guard && mprotect(machine.guard, machine.guard_bytes, on ? PROT_NONE : PROT_READ | PROT_WRITE))
        stop("mprotect failed");
}

void emulated_wait_for_previous(void)
{
    machine.running->waited++;
    emulated_barrier();
    if (machine.overlap && machine.guard) {
        protect(false);
        emulated_barrier();
    }
}

static void caught(int)
{
    static const char text[] = "emulated GPU: memory of an earlier kernel was touched before wait_for_previous\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(134);
}

void emulated_guard(void *memory, size_t bytes)
{
    machine.guard = memory;
    machine.guard_bytes = bytes;
    (void)signal(SIGSEGV, memory ? caught : SIG_DFL);
}

void emulated_order(bool backward)
{
    machine.backward = backward;
}

/* ---- kernels ---- */

static void run_cta(int n_thread, size_t shared_bytes)
{
    int warps = (n_thread + WARP - 1) / WARP;
    memset(machine.shared, 0xFF, shared_bytes);
    machine.cta = {0, n_thread, 0};
    for (int w = 0; w < warps; w++)
        machine.warp[w] = {0, n_thread - w * WARP < WARP ? n_thread - w * WARP : WARP, 0};
    for (int i = 0; i < n_thread; i++) {
        struct fiber *f = &machine.fiber[i];
        prepare(f);
        f->index = dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y,
                        (unsigned)i / blockDim.x / blockDim.y);
    }
    protect(machine.overlap);
    for (bool any = true; any;) {
        any = false;
        for (int w = 0; w < warps; w++)
            any = run_warp(machine.backward ? warps - 1 - w : w, n_thread) || any;
    }
    for (int i = 0; i < n_thread; i++) {
        threadIdx = machine.fiber[i].index;
        if (!machine.fiber[i].done)
            stop("it waits for threads that do not come");
        if (machine.overlap && machine.fiber[i].waited != 1)
            stop("wait_for_previous was not called once");
    }
}

static void run_grid(const cudaLaunchConfig_t &config, const std::function<void()> &kernel, bool overlap)
{
    int n_thread = (int)(config.blockDim.x * config.blockDim.y * config.blockDim.z);
    gridDim = config.gridDim;
    blockDim = config.blockDim;
    machine.kernel = &kernel;
    machine.overlap = overlap;
    unsigned count = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned i = 0; i < count; i++) {
        unsigned block = machine.backward ? count - 1 - i : i;
        blockIdx = dim3(block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y);
        run_cta(n_thread, config.dynamicSmemBytes);
    }
    machine.overlap = false;
}

/* ---- the runtime ---- */

struct emulated_graph {
    std::vector<std::function<void()>> work;
};

/* A stream does its work as late as it may: when somebody waits for it. */
struct emulated_stream {
    struct emulated_graph *capturing;
    std::vector<std::function<void()>> pending;
};

struct emulated_event {
    struct timespec time;
    cudaStream_t stream; /* where it was recorded */
};

static std::vector<cudaStream_t> streams;

static cudaError_t submit(cudaStream_t stream, std::function<void()> work)
{
    (stream->capturing ? stream->capturing->work : stream->pending).push_back(work);
    return cudaSuccess;
}

static void finish(cudaStream_t stream)
{
    std::vector<std::function<void()>> pending;
    pending.swap(stream->pending);
    for (const std::function<void()> &work : pending)
        work();
}

cudaError_t emulated_launch(const cudaLaunchConfig_t &config, std::function<void()> kernel)
{
    unsigned n_thread = config.blockDim.x * config.blockDim.y * config.blockDim.z;
    unsigned n_block = config.gridDim.x * config.gridDim.y * config.gridDim.z;
    if (n_thread < 1 || n_thread > MOST_THREADS || n_block < 1 || config.gridDim.y > 65535 ||
        config.gridDim.z > 65535 || config.dynamicSmemBytes > SHARED_LIMIT)
        return cudaErrorInvalidValue;
    bool overlap = false;
    for (unsigned i = 0; i < config.numAttrs; i++)
        overlap = overlap || config.attrs[i].val.programmaticStreamSerializationAllowed;
    cudaLaunchConfig_t kept = config;
    kept.attrs = NULL;
    return submit(config.stream, [=] { run_grid(kept, kernel, overlap); });
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess                         ? "no error"
           : error == cudaErrorMemoryAllocation         ? "out of memory"
           : error == cudaErrorNoDevice                 ? "no CUDA-capable device is detected"
           : error == cudaErrorStreamCaptureUnsupported ? "operation not permitted when stream is capturing"
                                                        : "invalid argument";
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = {};
    (void)snprintf(p->name, sizeof p->name, "emulated GPU");
    p->major = 9;
    p->multiProcessorCount = 2;
    p->sharedMemPerBlockOptin = SHARED_LIMIT;
    p->totalGlobalMem = (size_t)8 << 30;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)8 << 30;
    return cudaSuccess;
}

/* Whole pages, so that emulated_guard can close them; the first byte past the end is out of bounds for AddressSanitizer
 * where the size is a multiple of a page. */
cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    *memory = NULL;
    if (bytes > (size_t)8 << 30 || posix_memalign(memory, 4096, (bytes + 4095) / 4096 * 4096))
        return cudaErrorMemoryAllocation;
    memset(*memory, 0xFF, bytes);
    return cudaSuccess;
}

/* Waits for everything, as CUDA's does. */
cudaError_t cudaFree(void *memory)
{
    for (cudaStream_t stream : streams)
        finish(stream);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    *memory = malloc(bytes);
    if (!*memory)
        return cudaErrorMemoryAllocation;
    memset(*memory, 0xFF, bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    return cudaFree(memory);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream)
{
    return submit(stream, [=] { memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    return submit(stream, [=] { memset(memory, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new emulated_stream{};
    streams.push_back(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    finish(stream);
    std::erase(streams, stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (stream->capturing)
        return cudaErrorStreamCaptureUnsupported;
    finish(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    stream->capturing = new emulated_graph;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = stream->capturing;
    stream->capturing = NULL;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    *executable = new emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    for (const std::function<void()> &work : executable->work)
        (void)submit(stream, work);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    *event = new emulated_event{};
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->stream = stream;
    return submit(stream, [=] { (void)clock_gettime(CLOCK_MONOTONIC, &event->time); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (event->stream)
        finish(event->stream);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    *milliseconds =
        (float)(to->time.tv_sec - from->time.tv_sec) * 1e3f + (float)(to->time.tv_nsec - from->time.tv_nsec) * 1e-6f;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}
