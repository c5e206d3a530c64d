// One fiber for each CUDA thread of a block: what is known of it, and switching from one to another.
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if !defined(__x86_64__) && !defined(HOST_UCONTEXT)
#define HOST_UCONTEXT
#endif
#ifdef HOST_UCONTEXT
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

namespace host {

constexpr unsigned MOST_THREADS = 1024;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK_BYTES = 132 * 1024;
#else
// Not a power of two: the tops of all stacks would compete for the same few lines of the cache.
constexpr size_t STACK_BYTES = 33 * 1024 + 576;
#endif

enum class State : uint8_t { ready, at_barrier, in_warp, done };

// An operation that all lanes of a mask do together; carried out when the last of them has come.
struct WarpOperation {
    void (*perform)(WarpOperation* const* lanes, unsigned mask);
    const void* in;
    void* out;
    unsigned mask;
    int lane;   // of shuffles: where to read
    int bytes;  // of shuffles: size of a value
    int line;
};

struct Thread {
    void* stack_pointer;
    WarpOperation* operation;
    uint3 index;
    int line;
    State state;
#ifdef HOST_UCONTEXT
    ucontext_t context;
#endif
};

static Thread threads[MOST_THREADS];
static Thread* self;
static unsigned thread_count;
static char* stacks;
static void (*body)(void**);
static void** arguments;
static char* message;
static size_t message_bytes;

static void fault(const char* format, ...) {
    if (message[0]) return;  // the first one is the cause
    va_list list;
    va_start(list, format);
    int used = snprintf(message, message_bytes, "block (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z);
    vsnprintf(message + used, message_bytes - used, format, list);
    va_end(list);
}

// ---------------------------------------------------------------- switching

#ifdef __SANITIZE_ADDRESS__
static const void* main_stack;
static size_t main_stack_bytes;
#endif

static void leave();

[[noreturn]] static void begin() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_bytes);
#endif
    body(arguments);
    self->state = State::done;
    leave();
    abort();
}

#ifdef HOST_UCONTEXT

static ucontext_t scheduler;

static void prepare(Thread& thread, char* stack) {
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = stack;
    thread.context.uc_stack.ss_size = STACK_BYTES;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, begin, 0);
}

static void enter(Thread& thread) { swapcontext(&scheduler, &thread.context); }
static void switch_back() { swapcontext(&self->context, &scheduler); }

#else

// swapcontext calls the kernel to save the signal mask, which costs more than a thread's work
// between two barriers; this saves what a called function must keep, and nothing else.
extern "C" void host_switch(void** save, void* load) __attribute__((visibility("hidden")));
asm(R"(
.text
.type host_switch, @function
host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size host_switch, .-host_switch
)");

static void* scheduler;

static void prepare(Thread& thread, char* stack) {
    uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + STACK_BYTES) & ~uintptr_t(15);
    void** slot = reinterpret_cast<void**>(top - 16);  // begin() finds the stack as after a call
    *slot = reinterpret_cast<void*>(begin);
    for (int i = 1; i <= 6; ++i) slot[-i] = nullptr;
    thread.stack_pointer = slot - 6;
}

static void enter(Thread& thread) { host_switch(&scheduler, thread.stack_pointer); }
static void switch_back() { host_switch(&self->stack_pointer, scheduler); }

#endif

static char* stack_of(unsigned number) { return stacks + number * STACK_BYTES; }

static void leave() {
#ifdef __SANITIZE_ADDRESS__
    void* kept = nullptr;
    bool last = self->state == State::done;
    __sanitizer_start_switch_fiber(last ? nullptr : &kept, main_stack, main_stack_bytes);
#endif
    switch_back();
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(kept, &main_stack, &main_stack_bytes);
#endif
}

static void resume(unsigned number) {
    self = &threads[number];
    threadIdx = self->index;
#ifdef __SANITIZE_ADDRESS__
    void* kept = nullptr;
    __sanitizer_start_switch_fiber(&kept, stack_of(number), STACK_BYTES);
#endif
    enter(*self);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
#endif
}

}  // namespace host
