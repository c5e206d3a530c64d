// D = A·B + C for one tile of 16×8 (A is 16×K, B is K×8, K a multiple of 8), by one warp on tensor cores.
#ifndef DLBENCH_HOST
__device__ __forceinline__ float to_tf32(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const float a[4], const float b[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif

extern "C" __global__ void tensor_tile(const float* __restrict__ a, const float* __restrict__ b,
                                       const float* __restrict__ c, float* __restrict__ d, int k)
{
    int group = threadIdx.x / 4, member = threadIdx.x % 4;
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = c[(group + 8 * (i / 2)) * 8 + 2 * member + i % 2];
    for (int first = 0; first < k; first += 8) {
        float part_a[4], part_b[2];
        for (int i = 0; i < 4; ++i) {
            part_a[i] = to_tf32(a[(group + 8 * (i % 2)) * k + first + member + 4 * (i / 2)]);
        }
        for (int i = 0; i < 2; ++i) part_b[i] = to_tf32(b[(first + member + 4 * i) * 8 + group]);
        mma_m16n8k8_tf32(sums, part_a, part_b);
    }
    for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + 2 * member + i % 2] = sums[i];
}
