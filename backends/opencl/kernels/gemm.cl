// One tiled matrix product, C[m][n] = sum over k of A[m][k] B[k][n], for convolutions and linear layers: what its three
// uses share. No matrix of unfolded windows is ever written; where an element lies is worked out as it is read.
//
// On GPUs a block makes a tile of BM x BN and goes through k in steps of BK. Each step's parts of A and B are brought
// into local memory, two copies of them, so that the next step is on its way into registers while one is multiplied and
// one barrier a step is enough. A thread makes TM x TN elements in registers, in groups of 4 x 4.
//
// On processors a block is one thread with vectors of 16 and no local memory: it goes through its BM x BN in tiles of
// registers, TM rows of TN vectors, and reads A and B from where they lie. Caches do what local memory does elsewhere, so
// what matters is the order in which the tiles are made. Vectors may reach behind the end of a row: memory is longer by
// a vector than what it holds, and the elements that are too many are never stored.
//
// Constants: BM BN TM TN, on GPUs also BK, VA VB (elements per load of A and B, 1 or 4).

#if CPU
// Zeros that stand in for what lies outside an image; behind the options.
#define NOTHING ((__global const float *)(options + OPTION_COUNT))
#define NOTHING_COUNT 1024

// The sums of four vectors.
inline float4 sums_of(float16 a, float16 b, float16 c, float16 d)
{
    float8 a8 = a.lo + a.hi, b8 = b.lo + b.hi, c8 = c.lo + c.hi, d8 = d.lo + d.hi;
    float4 a4 = a8.lo + a8.hi, b4 = b8.lo + b8.hi, c4 = c8.lo + c8.hi, d4 = d8.lo + d8.hi;
    float4 ab = (float4)(a4.s0, a4.s1, b4.s0, b4.s1) + (float4)(a4.s2, a4.s3, b4.s2, b4.s3);
    float4 cd = (float4)(c4.s0, c4.s1, d4.s0, d4.s1) + (float4)(c4.s2, c4.s3, d4.s2, d4.s3);
    return (float4)(ab.s0, ab.s2, cd.s0, cd.s2) + (float4)(ab.s1, ab.s3, cd.s1, cd.s3);
}
#else
// Keeps rows aligned for float4 and spreads the transposing stores over the banks.
#define PAD 4
#define A_ROW (BM + PAD)
#define B_ROW (BN + PAD)
#define A_APART (BM * 4 / TM)
#define B_APART (BN * 4 / TN)

// How the threads of a block share out SIDE x BK elements of which V neighbours are read at once: along k, or along the
// side. In every pass a thread has the same place along the direction in which neighbours lie.
#define PASSES(SIDE, V) ((SIDE * BK + THREADS * V - 1) / (THREADS * V))
#define K_OF(V) ((int)get_local_id(0) % (BK / V) * V)
#define SIDE_AT(V, pass) (((int)get_local_id(0) + (pass) * THREADS) / (BK / V))
#define SIDE_OF(SIDE, V) ((int)get_local_id(0) % (SIDE / V) * V)
#define K_AT(SIDE, V, pass) (((int)get_local_id(0) + (pass) * THREADS) / (SIDE / V))

// What a source reads: V elements of `base` from `offset` on, or zeros where that is below 0, outside of everything.
#define LOAD_OR_ZERO(V, values, base, offset) \
    do { \
        int at_ = (offset); \
        for (int v_ = 0; v_ < V; ++v_) (values)[v_] = 0.0f; \
        if (at_ >= 0) LOAD(V, values, (base) + at_); \
    } while (0)

// Tiles are kept k by k; what was read along k is turned over.
#define PUT_ALONG_K(SIDE, V, tile, values) \
    for (int pass = 0; pass < PASSES(SIDE, V); ++pass) \
        if (SIDE_AT(V, pass) < SIDE) \
            for (int v = 0; v < V; ++v) (tile)[(K_OF(V) + v) * (SIDE + PAD) + SIDE_AT(V, pass)] = (values)[pass * V + v]
#define PUT_ALONG_SIDE(SIDE, V, tile, values) \
    for (int pass = 0; pass < PASSES(SIDE, V); ++pass) \
        if (K_AT(SIDE, V, pass) < BK) \
            SAVE(V, (tile) + K_AT(SIDE, V, pass) * (SIDE + PAD) + SIDE_OF(SIDE, V), (values) + pass * V)

#define OWN_ROW ((int)get_local_id(0) / (BN / TN) * 4)
#define OWN_COLUMN ((int)get_local_id(0) % (BN / TN) * 4)
// Where row i and column j of a thread's own lie in the tile.
#define ROW_AT(i) ((i) / 4 * A_APART + OWN_ROW + (i) % 4)
#define COLUMN_AT(j) ((j) / 4 * B_APART + OWN_COLUMN + (j) % 4)

inline void add_step(float sums[TM][TN], __local const float *a_tile, __local const float *b_tile)
{
#pragma unroll
    for (int k = 0; k < BK; ++k) {
        float a[TM], b[TN];
#pragma unroll
        for (int i = 0; i < TM; i += 4) vstore4(vload4(0, a_tile + k * A_ROW + ROW_AT(i)), 0, a + i);
#pragma unroll
        for (int j = 0; j < TN; j += 4) vstore4(vload4(0, b_tile + k * B_ROW + COLUMN_AT(j)), 0, b + j);
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j) sums[i][j] = fma(a[i], b[j], sums[i][j]);
    }
}

// The steps of a block from `begin` to `end`, a multiple of BK apart except at the end of k, where the sources give
// zeros. Each of the four others is a statement.
#define MULTIPLY(begin, end, FETCH_A, FETCH_B, PUT_A, PUT_B) \
    __local float a_tiles[2][BK * A_ROW], b_tiles[2][BK * B_ROW]; \
    float sums[TM][TN]; \
    for (int i = 0; i < TM; ++i) \
        for (int j = 0; j < TN; ++j) sums[i][j] = 0.0f; \
    int now = 0; \
    FETCH_A; \
    FETCH_B; \
    PUT_A(a_tiles[0]); \
    PUT_B(b_tiles[0]); \
    barrier(CLK_LOCAL_MEM_FENCE); \
    for (int step = begin; step < end; step += BK) { \
        if (step + BK < end) { \
            FETCH_A; \
            FETCH_B; \
        } \
        add_step(sums, a_tiles[now], b_tiles[now]); \
        if (step + BK < end) { \
            PUT_A(a_tiles[1 - now]); \
            PUT_B(b_tiles[1 - now]); \
        } \
        barrier(CLK_LOCAL_MEM_FENCE); \
        now = 1 - now; \
    }
#endif
