// How a block of fibers runs: barriers, what a warp does together, and the order of threads and blocks.
//
// A thread runs until it waits: at a block barrier, or in an operation that its warp does together.
// Between two barriers the threads run one after another in an order that the caller chooses, which
// is the harshest legal schedule there is: whatever one thread writes, it writes long before or long
// after the others, so that a missing barrier shows as a wrong value in one order or another.
// What real hardware would leave undefined (a barrier that not every thread reaches, lanes that wait
// for each other in different places) ends the launch with a message.
#pragma once

#include "fibers.h"

// Shared arrays of all kernels of a library lie in one section, which the linker bounds by these names.
extern "C" char __start_dlshared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_dlshared[] __attribute__((weak, visibility("hidden")));

namespace host {

// ---------------------------------------------------------------- waiting

__attribute__((noinline)) static void barrier(int line) {
    self->state = State::at_barrier;
    self->line = line;
    leave();
}

__attribute__((noinline)) static void with_warp(WarpOperation* operation) {
    self->state = State::in_warp;
    self->line = operation->line;
    self->operation = operation;
    leave();
}

// ---------------------------------------------------------------- one block

static uint64_t next_random(uint64_t& state) {  // splitmix64, Steele et al. 2014
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

enum class Order : int { forward, reversed, shuffled };

template <class Index>
static void arrange(Index* order, Index count, Order kind, uint64_t& random) {
    for (Index i = 0; i < count; ++i) order[i] = kind == Order::reversed ? count - 1 - i : i;
    if (kind != Order::shuffled) return;
    for (Index i = count; i > 1; --i) {
        Index other = static_cast<Index>(next_random(random) % static_cast<uint64_t>(i));
        Index kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

// Carries out what the lanes of one warp wait for; whether any of them can go on.
static bool settle_warp(unsigned first) {
    WarpOperation* lanes[32] = {};
    unsigned waiting = 0, gone = 0;
    unsigned lanes_here = thread_count - first < 32 ? thread_count - first : 32;
    for (unsigned lane = 0; lane < lanes_here; ++lane) {
        Thread& thread = threads[first + lane];
        if (thread.state == State::in_warp) {
            waiting |= 1u << lane;
            lanes[lane] = thread.operation;
        }
        if (thread.state == State::done) gone |= 1u << lane;
    }
    if (lanes_here < 32) gone |= ~0u << lanes_here;
    bool moved = false;
    while (waiting) {
        unsigned lane = __builtin_ctz(waiting);
        const WarpOperation& operation = *lanes[lane];
        unsigned mask = operation.mask, named = mask & ~gone;
        if (!(mask >> lane & 1)) {
            fault("lane %u is not in its own mask %08x, line %d", lane, mask, operation.line);
            return false;
        }
        bool complete = true;
        for (unsigned other = 0; other < 32; ++other) {
            if (!(named >> other & 1)) continue;
            complete &= lanes[other] && lanes[other]->mask == mask &&
                        lanes[other]->perform == operation.perform && lanes[other]->line == operation.line;
        }
        waiting &= ~(complete ? named : 1u << lane);
        if (!complete) continue;
        operation.perform(lanes, named);
        for (unsigned other = 0; other < 32; ++other) {
            if (!(named >> other & 1)) continue;
            threads[first + other].state = State::ready;
            lanes[other] = nullptr;
        }
        moved = true;
    }
    return moved;
}

static const char* words_for(State state) {
    switch (state) {
        case State::at_barrier: return "waits at the barrier";
        case State::in_warp: return "waits for its warp";
        case State::done: return "has ended";
        default: return "runs";
    }
}

static void tell_divergence() {
    const Thread* one = &threads[0];
    for (unsigned i = 0; i < thread_count; ++i)
        if (threads[i].state != State::done) one = &threads[i];
    for (unsigned i = 0; i < thread_count; ++i) {
        const Thread& other = threads[i];
        if (other.state == one->state && other.line == one->line && other.state != State::in_warp) continue;
        if (&other == one && thread_count > 1) continue;
        fault("thread (%u, %u, %u) %s in line %d, while thread (%u, %u, %u) %s%s%d", one->index.x,
              one->index.y, one->index.z, words_for(one->state), one->line, other.index.x,
              other.index.y, other.index.z, words_for(other.state),
              other.state == State::done ? "; its last wait was in line " : " in line ", other.line);
        return;
    }
}

static void run_block(Order order, uint64_t& random) {
    static uint16_t turn[MOST_THREADS];
    for (unsigned i = 0; i < thread_count; ++i) {
        threads[i].state = State::ready;
        threads[i].line = 0;
#ifdef __SANITIZE_ADDRESS__
        // begin() and its leave() never return, so what they forbade of their frames stays forbidden
        __asan_unpoison_memory_region(stack_of(i) + STACK_BYTES - 1024, 1024);
#endif
        prepare(threads[i], stack_of(i));
    }
    arrange<uint16_t>(turn, thread_count, order, random);
    for (;;) {
        for (unsigned i = 0; i < thread_count; ++i) {
            if (threads[turn[i]].state == State::ready) resume(turn[i]);
        }
        if (message[0]) return;
        unsigned done = 0, at_barrier = 0;
        bool moved = false, same_line = true;
        int line = 0;
        for (unsigned i = 0; i < thread_count; ++i) {
            const Thread& thread = threads[i];
            done += thread.state == State::done;
            if (thread.state == State::at_barrier) {
                same_line &= !at_barrier || thread.line == line;
                line = thread.line;
                ++at_barrier;
            }
        }
        if (done == thread_count) return;
        if (done + at_barrier < thread_count) {
            for (unsigned first = 0; first < thread_count; first += 32) moved |= settle_warp(first);
        }
        if (message[0]) return;
        if (moved) continue;
        if (at_barrier != thread_count || !same_line) return tell_divergence();
        for (unsigned i = 0; i < thread_count; ++i) threads[i].state = State::ready;
        if (order == Order::shuffled) arrange<uint16_t>(turn, thread_count, order, random);
    }
}

// What a block has not written to its shared arrays reads as NaN, and as -1 where it is an integer. Word by word,
// since the sanitizer's memset refuses the margins that it keeps between the arrays.
__attribute__((no_sanitize("address", "undefined"))) static void spoil_shared() {
    if (!__start_dlshared) return;
    volatile char* at = __start_dlshared;
    for (; reinterpret_cast<uintptr_t>(at) % 8 && at < __stop_dlshared; ++at) *at = -1;
    for (; at + 8 <= __stop_dlshared; at += 8) *reinterpret_cast<volatile uint64_t*>(at) = ~uint64_t(0);
    for (; at < __stop_dlshared; ++at) *at = -1;
}

static void make_stacks() {
    if (stacks) return;
    void* got = mmap(nullptr, MOST_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) abort();
    stacks = static_cast<char*>(got);
}

}  // namespace host

// Runs the blocks `part`, `part + parts`, … of a grid, in the order asked for. What goes wrong is
// written to `told`, which stays empty otherwise.
extern "C" __attribute__((visibility("default"))) void host_run(
    void (*body)(void**), void** arguments, const unsigned* grid, const unsigned* block, int order,
    uint64_t seed, unsigned part, unsigned parts, char* told, size_t told_bytes) {
    using namespace host;
    make_stacks();
    host::body = body;
    host::arguments = arguments;
    message = told;
    message_bytes = told_bytes;
    message[0] = 0;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    thread_count = block[0] * block[1] * block[2];
    unsigned number = 0;
    for (unsigned z = 0; z < block[2]; ++z)
        for (unsigned y = 0; y < block[1]; ++y)
            for (unsigned x = 0; x < block[0]; ++x) threads[number++].index = {x, y, z};
    long blocks = static_cast<long>(grid[0]) * grid[1] * grid[2];
    long* turn = static_cast<long*>(malloc(blocks * sizeof(long)));
    arrange<long>(turn, blocks, static_cast<Order>(order), seed);
    for (long i = part; i < blocks && !message[0]; i += parts) {
        blockIdx.x = turn[i] % grid[0];
        blockIdx.y = turn[i] / grid[0] % grid[1];
        blockIdx.z = turn[i] / grid[0] / grid[1];
        spoil_shared();
        run_block(static_cast<Order>(order), seed);
    }
    free(turn);
#ifdef __SANITIZE_ADDRESS__
    // fibers that a fault left waiting never unwound
    if (message[0]) __asan_unpoison_memory_region(stacks, MOST_THREADS * STACK_BYTES);
#endif
}

#ifdef __SANITIZE_ADDRESS__
extern "C" __attribute__((visibility("default"))) void host_poison(void* from, size_t bytes) {
    __asan_poison_memory_region(from, bytes);
}
extern "C" __attribute__((visibility("default"))) void host_unpoison(void* from, size_t bytes) {
    __asan_unpoison_memory_region(from, bytes);
}
#endif
