// One tiled matrix product, C[m][n] = sum over k of A[m][k] B[k][n], for convolutions and linear layers.
//
// A block makes a tile of BM x BN; it goes through k in steps of BK. Each step's parts of A and B are brought into
// shared memory by loaders (the *sources* below), which know where an element really lies, so that no matrix of
// unfolded windows is ever written. While a step is multiplied, the next one is already on its way into registers,
// and two copies of the tiles in shared memory make one barrier a step enough.
//
// fp32: a thread makes TM x TN elements in registers, in groups of 4 x 4: for each k it reads TM + TN numbers from
// shared memory as float4 and does TM * TN multiply-adds, so that larger register tiles need less shared memory
// bandwidth. tf32: a warp makes WM x WN elements with tensor-core products of 16 x 8 x 8.
//
// A small tile has few threads, and a multiprocessor needs many: GROUPS of them each take their part of every step's k,
// and the first one adds up in the end (fp32).
//
// Constants: BM BN BK, TM TN GROUPS (fp32) or WM WN (tf32), TF32, VA VB (elements per load of A and B, 1 or 4).

#ifndef GROUPS
#define GROUPS 1
#endif

#if TF32
#define WARPS ((BM / WM) * (BN / WN))
static_assert(THREADS == 32 * WARPS, "a warp makes WM x WN");
// The 4 k and 8 rows that a warp's fragment reads then lie in 32 banks.
#define PAD 8
#else
#define UNITS ((BM / TM) * (BN / TN))
static_assert(THREADS == GROUPS * UNITS, "a thread of a group makes TM x TN");
// Keeps rows aligned for float4 and spreads the transposing stores over the banks.
#define PAD 4
#endif

// Left alone (0), the compiler squeezes blocks of groups into so few registers that it must spill some to memory.
#if GROUPS > 1
#define LEAST_BLOCKS 2
#else
#define LEAST_BLOCKS 0
#endif

// Only what has tensor cores for it may see their instructions.
#if TF32 && !defined(DLBENCH_HOST)
__device__ __forceinline__ float to_tf32(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

// d += a b for a 16 x 8 tile with 8 k; how the elements lie in a warp's lanes: PTX ISA, mma.m16n8k8.
__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const float a[4], const float b[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif

__device__ __forceinline__ float operand(float value)
{
#if TF32
    return to_tf32(value);
#else
    return value;
#endif
}

// What a source reads: V elements of `base` from `offset` on, or zeros where that is below 0, outside of everything.
template <int V>
__device__ __forceinline__ void load_or_zero(float* values, const float* base, int offset)
{
#pragma unroll
    for (int v = 0; v < V; ++v) values[v] = 0.0f;
    if (offset >= 0) load<V>(values, base + offset);
}

// How the threads of a block share out ALONG x ACROSS elements that lie one after the other along the first: in each
// pass a thread takes V of them, at `along()` and `across(pass)`.
template <int ALONG, int ACROSS, int V>
struct Passes {
    static constexpr int PER_PASS = THREADS * V / ALONG;
    static constexpr int PASSES = (ACROSS + PER_PASS - 1) / PER_PASS;
    float values[PASSES][V];

    __device__ __forceinline__ int along() const { return (int)threadIdx.x % (ALONG / V) * V; }
    __device__ __forceinline__ int across(int pass) const
    {
        return (int)threadIdx.x / (ALONG / V) + pass * PER_PASS;
    }
    __device__ __forceinline__ bool takes(int pass) const { return ACROSS % PER_PASS == 0 || across(pass) < ACROSS; }
};

// A tile of SIDE x BK whose elements lie one after the other along k: stored apart, since tiles are kept k by k.
template <int SIDE, int V>
struct AlongK : Passes<BK, SIDE, V> {
    __device__ __forceinline__ int k() const { return this->along(); }
    __device__ __forceinline__ int side(int pass) const { return this->across(pass); }

    __device__ __forceinline__ void put(float* tile)
    {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass)
            if (this->takes(pass))
#pragma unroll
                for (int v = 0; v < V; ++v)
                    tile[(k() + v) * (SIDE + PAD) + side(pass)] = operand(this->values[pass][v]);
    }
};

// The same where the elements of one k lie one after the other.
template <int SIDE, int V>
struct AlongSide : Passes<SIDE, BK, V> {
    __device__ __forceinline__ int side() const { return this->along(); }
    __device__ __forceinline__ int k(int pass) const { return this->across(pass); }

    __device__ __forceinline__ void put(float* tile)
    {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass)
            if (this->takes(pass)) {
                float made[V];
#pragma unroll
                for (int v = 0; v < V; ++v) made[v] = operand(this->values[pass][v]);
                save<V>(tile + k(pass) * (SIDE + PAD) + side(), made);
            }
    }
};

static_assert(THREADS * VA >= BM && THREADS * VB >= BN, "a pass of the loaders covers a side");
static_assert(THREADS * VA >= BK && THREADS * VB >= BK, "a pass of the loaders covers the k of a step");

// A thread's part of the tile, and where in the tile it lies. `visit` hands out every row of WIDTH neighbouring
// columns; `visit_windows` every four rows that follow one another from a multiple of four on, in one thread or,
// for tf32, in four lanes that exchange them.
#if TF32
struct Product {
    static constexpr int MS = WM / 16, NS = WN / 8;
    float sums[MS][NS][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < MS; ++i)
#pragma unroll
            for (int j = 0; j < NS; ++j)
#pragma unroll
                for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
    }

    __device__ __forceinline__ int first_row() const { return (int)threadIdx.x / 32 / (BN / WN) * WM; }
    __device__ __forceinline__ int first_column() const { return (int)threadIdx.x / 32 % (BN / WN) * WN; }

    __device__ __forceinline__ void add(const float* a_tile, const float* b_tile)
    {
        int group = (int)threadIdx.x % 32 / 4, lane = (int)threadIdx.x % 4;
#pragma unroll
        for (int k = 0; k < BK; k += 8) {
            float a[MS][4], b[NS][2];
            const float* a_at = a_tile + (k + lane) * (BM + PAD) + first_row() + group;
            const float* b_at = b_tile + (k + lane) * (BN + PAD) + first_column() + group;
#pragma unroll
            for (int i = 0; i < MS; ++i) {
                a[i][0] = a_at[16 * i];
                a[i][1] = a_at[16 * i + 8];
                a[i][2] = a_at[16 * i + 4 * (BM + PAD)];
                a[i][3] = a_at[16 * i + 8 + 4 * (BM + PAD)];
            }
#pragma unroll
            for (int j = 0; j < NS; ++j) {
                b[j][0] = b_at[8 * j];
                b[j][1] = b_at[8 * j + 4 * (BN + PAD)];
            }
#pragma unroll
            for (int i = 0; i < MS; ++i)
#pragma unroll
                for (int j = 0; j < NS; ++j) mma_m16n8k8_tf32(sums[i][j], a[i], b[j]);
        }
    }

    __device__ __forceinline__ void gather() {}

    template <class Visit>
    __device__ __forceinline__ void visit(Visit& visitor)
    {
        int group = (int)threadIdx.x % 32 / 4, lane = (int)threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < MS; ++i)
#pragma unroll
            for (int j = 0; j < NS; ++j)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    visitor.row(first_row() + 16 * i + 8 * half + group, first_column() + 8 * j + 2 * lane,
                                sums[i][j] + 2 * half);
    }

    template <class Visit>
    __device__ __forceinline__ void visit_windows(Visit& visitor)
    {
        int group = (int)threadIdx.x % 32 / 4, lane = (int)threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < MS; ++i)
#pragma unroll
            for (int j = 0; j < NS; ++j)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float window[4][2];
#pragma unroll
                    for (int place = 0; place < 4; ++place)
#pragma unroll
                        for (int e = 0; e < 2; ++e)
                            window[place][e] = __shfl_sync(0xffffffffu, sums[i][j][2 * half + e],
                                                           (group / 4 * 4 + place) * 4 + lane);
                    // All four lanes have the window now; one of them ends it.
                    if (group % 4 == 0)
                        visitor.window(first_row() + 16 * i + 8 * half + group, first_column() + 8 * j + 2 * lane,
                                       window[0], window[1], window[2], window[3]);
                }
    }
};
#define WIDTH 2
#else
struct Product {
    static constexpr int A_APART = BM * 4 / TM, B_APART = BN * 4 / TN;
    float sums[TM][TN];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j) sums[i][j] = 0.0f;
    }

    __device__ __forceinline__ int unit() const { return (int)threadIdx.x % UNITS; }
    __device__ __forceinline__ int group() const { return (int)threadIdx.x / UNITS; }
    __device__ __forceinline__ int first_row() const { return unit() / (BN / TN) * 4; }
    __device__ __forceinline__ int first_column() const { return unit() % (BN / TN) * 4; }

    __device__ __forceinline__ void add(const float* a_tile, const float* b_tile)
    {
        a_tile += group() * (BK / GROUPS) * (BM + PAD);
        b_tile += group() * (BK / GROUPS) * (BN + PAD);
#pragma unroll
        for (int k = 0; k < BK / GROUPS; ++k) {
            float a[TM], b[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4) load<4>(a + i, a_tile + k * (BM + PAD) + i / 4 * A_APART + first_row());
#pragma unroll
            for (int j = 0; j < TN; j += 4) load<4>(b + j, b_tile + k * (BN + PAD) + j / 4 * B_APART + first_column());
#pragma unroll
            for (int i = 0; i < TM; ++i)
#pragma unroll
                for (int j = 0; j < TN; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
        }
    }

    // The groups' sums, one after the other, to the first group.
    __device__ __forceinline__ void gather()
    {
#if GROUPS > 1
        __shared__ float others[TM * TN * UNITS];
        for (int from = 1; from < GROUPS; ++from) {
            if (group() == from)
#pragma unroll
                for (int i = 0; i < TM; ++i)
#pragma unroll
                    for (int j = 0; j < TN; ++j) others[(i * TN + j) * UNITS + unit()] = sums[i][j];
            __syncthreads();
            if (group() == 0)
#pragma unroll
                for (int i = 0; i < TM; ++i)
#pragma unroll
                    for (int j = 0; j < TN; ++j) sums[i][j] += others[(i * TN + j) * UNITS + unit()];
            __syncthreads();
        }
#endif
    }

    template <class Visit>
    __device__ __forceinline__ void visit(Visit& visitor)
    {
        if (group()) return;
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; j += 4)
                visitor.row(i / 4 * A_APART + first_row() + i % 4, j / 4 * B_APART + first_column(), sums[i] + j);
    }

    template <class Visit>
    __device__ __forceinline__ void visit_windows(Visit& visitor)
    {
        if (group()) return;
#pragma unroll
        for (int i = 0; i < TM; i += 4)
#pragma unroll
            for (int j = 0; j < TN; j += 4)
                visitor.window(i / 4 * A_APART + first_row(), j / 4 * B_APART + first_column(), sums[i] + j,
                               sums[i + 1] + j, sums[i + 2] + j, sums[i + 3] + j);
    }
};
#define WIDTH 4
#endif

// The steps of a block from `begin` to `end`, a multiple of BK apart except at the end of k, where the sources give
// zeros.
template <class ASource, class BSource>
__device__ __forceinline__ void multiply(Product& product, ASource& a, BSource& b, int begin, int end)
{
    __shared__ __align__(16) float a_tiles[2][BK * (BM + PAD)];
    __shared__ __align__(16) float b_tiles[2][BK * (BN + PAD)];
    product.clear();
    a.fetch();
    b.fetch();
    a.put(a_tiles[0]);
    b.put(b_tiles[0]);
    __syncthreads();
    int now = 0;
    for (int k = begin; k < end; k += BK) {
        bool more = k + BK < end;
        if (more) {
            a.fetch();
            b.fetch();
        }
        product.add(a_tiles[now], b_tiles[now]);
        if (more) {
            a.put(a_tiles[1 - now]);
            b.put(b_tiles[1 - now]);
        }
        __syncthreads();
        now = 1 - now;
    }
    product.gather();
}

// Stores WIDTH neighbours, as one where their number and place allow it.
template <bool TOGETHER>
__device__ __forceinline__ void store(float* to, const float* values, int count)
{
    if (TOGETHER && WIDTH == 4) {
        *(float4*)to = make_float4(values[0], values[1], values[WIDTH > 2 ? 2 : 0], values[WIDTH > 3 ? 3 : 0]);
    } else if (TOGETHER) {
        *(float2*)to = make_float2(values[0], values[1]);
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH; ++i)
            if (i < count) to[i] = values[i];
    }
}
