// y ← a·x + y, a grid-stride loop.
extern "C" __global__ void saxpy(int count, float a, const float* __restrict__ x, float* __restrict__ y)
{
    int stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}
