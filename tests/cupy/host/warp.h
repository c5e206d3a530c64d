// What the lanes of a warp do together: shuffles, votes and the warp's own barrier.
//
// Every lane leaves what it brings and waits; when all living lanes of the mask stand in the same
// line, the last one's arrival settles it for all of them (blocks.h). A value read from a lane that
// takes no part is undefined on a device, and is all ones here, a NaN.
#pragma once

#include "blocks.h"

namespace host {

static void perform_shuffle(WarpOperation* const* lanes, unsigned mask) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        int from = lanes[lane]->lane;
        if (mask >> from & 1) {
            memcpy(lanes[lane]->out, lanes[from]->in, lanes[lane]->bytes);
        } else {
            memset(lanes[lane]->out, 0xFF, lanes[lane]->bytes);
        }
    }
}

static void perform_nothing(WarpOperation* const*, unsigned) {}

static void perform_ballot(WarpOperation* const* lanes, unsigned mask) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) votes |= unsigned(*static_cast<const int*>(lanes[lane]->in) != 0) << lane;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) *static_cast<unsigned*>(lanes[lane]->out) = votes;
    }
}

static inline int lane_number() { return static_cast<int>((self - threads) & 31); }

template <class T>
static inline T shuffle(unsigned mask, T value, int from, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    T result;
    WarpOperation operation = {perform_shuffle, &value, &result, mask, from, sizeof(T), line};
    with_warp(&operation);
    return result;
}

// Sources as the CUDA programming guide defines them for segments of `width` lanes: outside the
// segment (up, down) or above it (xor) a lane gets its own value back.
template <class T>
static inline T shuffle_from(unsigned mask, T value, int source, int width, int line) {
    int segment = lane_number() & ~(width - 1);
    return shuffle(mask, value, segment + (source & (width - 1)), line);
}
template <class T>
static inline T shuffle_up(unsigned mask, T value, unsigned by, int width, int line) {
    int lane = lane_number(), from = lane - static_cast<int>(by);
    return shuffle(mask, value, from < (lane & ~(width - 1)) ? lane : from, line);
}
template <class T>
static inline T shuffle_down(unsigned mask, T value, unsigned by, int width, int line) {
    int lane = lane_number(), from = lane + static_cast<int>(by);
    return shuffle(mask, value, from > (lane | (width - 1)) ? lane : from, line);
}
template <class T>
static inline T shuffle_xor(unsigned mask, T value, int with, int width, int line) {
    int lane = lane_number(), from = lane ^ with;
    return shuffle(mask, value, from > (lane | (width - 1)) ? lane : from, line);
}

static inline void warp_barrier(unsigned mask, int line) {
    WarpOperation operation = {perform_nothing, nullptr, nullptr, mask, 0, 0, line};
    with_warp(&operation);
}

static inline unsigned ballot(unsigned mask, int vote, int line) {
    unsigned votes;
    WarpOperation operation = {perform_ballot, &vote, &votes, mask, 0, 0, line};
    with_warp(&operation);
    return votes;
}

}  // namespace host

// The default arguments (mask of all lanes for __syncwarp, width 32) are functions' business.
#define HOST_SHUFFLE(name, implementation, Source)                                        \
    template <class T>                                                                    \
    static inline T name(unsigned mask, T value, Source source, int width = 32,           \
                         int line = __builtin_LINE()) {                                   \
        return host::implementation(mask, value, source, width, line);                    \
    }
HOST_SHUFFLE(__shfl_sync, shuffle_from, int)
HOST_SHUFFLE(__shfl_up_sync, shuffle_up, unsigned)
HOST_SHUFFLE(__shfl_down_sync, shuffle_down, unsigned)
HOST_SHUFFLE(__shfl_xor_sync, shuffle_xor, int)
#undef HOST_SHUFFLE

static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    host::warp_barrier(mask, line);
}
static inline unsigned __ballot_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return host::ballot(mask, vote, line);
}
static inline int __any_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return host::ballot(mask, vote, line) != 0;
}
