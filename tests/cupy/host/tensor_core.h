// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 on 32 fibers.
//
// Which element of A (16×8), B (8×8), C and D (16×8) each lane holds is as in the PTX ISA, "Matrix
// Fragments for mma.m16n8k8" with .tf32: with g = lane / 4 and t = lane % 4,
//     a0 = A[g][t]   a1 = A[g + 8][t]   a2 = A[g][t + 4]   a3 = A[g + 8][t + 4]
//     b0 = B[t][g]   b1 = B[t + 4][g]
//     c0 = C[g][2t]  c1 = C[g][2t + 1]  c2 = C[g + 8][2t]  c3 = C[g + 8][2t + 1]
// Products of two TF32 numbers are exact in double precision; they are added there and rounded once,
// which is at least as exact as the device. An operand that was not rounded to TF32 is a fault: the
// device would cut its last bits off without a word.
#pragma once

#include "blocks.h"

namespace host {

struct Fragments {
    float c[4];
    unsigned a[4];
    unsigned b[2];
};

static void perform_mma(WarpOperation* const* lanes, unsigned mask) {
    if (mask != 0xffffffffu) return fault("mma needs all 32 lanes, %08x came, line %d", mask, lanes[__builtin_ctz(mask)]->line);
    double a[16][8], b[8][8];
    for (int lane = 0; lane < 32; ++lane) {
        const Fragments& own = *static_cast<const Fragments*>(lanes[lane]->in);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            if (own.a[i] & 0x1fff) return fault("operand a%d of lane %d is not rounded to TF32, line %d", i, lane, lanes[lane]->line);
            float value;
            memcpy(&value, &own.a[i], 4);
            a[g + 8 * (i % 2)][t + 4 * (i / 2)] = value;
        }
        for (int i = 0; i < 2; ++i) {
            if (own.b[i] & 0x1fff) return fault("operand b%d of lane %d is not rounded to TF32, line %d", i, lane, lanes[lane]->line);
            float value;
            memcpy(&value, &own.b[i], 4);
            b[t + 4 * i][g] = value;
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const Fragments& own = *static_cast<const Fragments*>(lanes[lane]->in);
        float* d = static_cast<float*>(lanes[lane]->out);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            int row = g + 8 * (i / 2), column = 2 * t + i % 2;
            double sum = own.c[i];
            for (int k = 0; k < 8; ++k) sum += a[row][k] * b[k][column];
            d[i] = static_cast<float>(sum);
        }
    }
}

}  // namespace host

// cvt.rna.tf32.f32: to 10 fraction bits, to nearest, ties away from zero; infinities and NaN stay.
static inline float to_tf32(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return __uint_as_float(bits & ~0x1fffu);
    return __uint_as_float((bits + 0x1000u) & ~0x1fffu);
}

// d += a b
static inline void mma_m16n8k8_tf32(float* d, const float* a, const float* b, int line = __builtin_LINE()) {
    host::Fragments own;
    memcpy(own.a, a, sizeof own.a);
    memcpy(own.b, b, sizeof own.b);
    memcpy(own.c, d, sizeof own.c);
    host::WarpOperation operation = {host::perform_mma, &own, d, 0xffffffffu, 0, 0, line};
    host::with_warp(&operation);
}
