// C = A·B for row-major A (M×K), B (K×N), with TILE×TILE threads that share a tile of each.
extern "C" __global__ void __launch_bounds__(TILE * TILE)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k)
{
    __shared__ float tile_a[TILE][TILE + 1];
    __shared__ float tile_b[TILE][TILE + 1];
    int row = threadIdx.x / TILE, column = threadIdx.x % TILE;
    int i = blockIdx.y * TILE + row, j = blockIdx.x * TILE + column;
    float sum = 0.0f;
    for (int first = 0; first < k; first += TILE) {
        tile_a[row][column] = i < m && first + column < k ? a[i * k + first + column] : 0.0f;
        tile_b[row][column] = first + row < k && j < n ? b[(first + row) * n + j] : 0.0f;
        __syncthreads();
        for (int l = 0; l < TILE; ++l) sum = fmaf(tile_a[row][l], tile_b[l][column], sum);
        __syncthreads();
    }
    if (i < m && j < n) c[i * n + j] = sum;
}
