// One launch updates all parameters: they lie in one array, each beginning on a block of its own, so that a block
// belongs to one parameter. The parts of its gradient (see kernels_convolution.cu) are added up here, in order.
//
// Constants: RULE, NESTEROV, MOMENTUM (whether there is any).

#define SGD 0
#define ADAM 1
#define ADAMW 2
#define ADAGRAD 3

// Where the gradient of a block's parameter is: `first` float of it in the array of parts, and how many parts there
// are, `apart` floats from each other.
struct Place {
    int first, shares, apart, unused;
};

extern "C" __global__ void __launch_bounds__(256)
update(float* __restrict__ values, const float* __restrict__ parts, const Place* __restrict__ places,
       float* __restrict__ first_moments, float* __restrict__ second_moments, Progress* progress, float momentum,
       float weight_decay, float beta1, float rest1, float beta2, float rest2, float eps)
{
    Place place = places[blockIdx.x];
    float rate = progress->learning_rate;
    int i = blockIdx.x * 256 + threadIdx.x;
    float value = values[i], gradient = 0.0f;
    for (int share = 0; share < place.shares; ++share)
        gradient += parts[place.first + (long long)share * place.apart + threadIdx.x];
    if (RULE != ADAMW) gradient = fmaf(weight_decay, value, gradient);
    if (RULE == SGD) {
        float velocity = gradient;
        if (MOMENTUM) {
            velocity = fmaf(momentum, first_moments[i], gradient);
            first_moments[i] = velocity;
        }
        value -= rate * (NESTEROV ? fmaf(momentum, velocity, gradient) : velocity);
    }
    if (RULE == ADAM || RULE == ADAMW) {
        // In double: 1 - beta2^t is a thousandth at first, and float would leave four digits of it.
        float correction1 = (float)(1.0 / (1.0 - progress->beta1_power));
        float correction2 = (float)(1.0 / (1.0 - progress->beta2_power));
        float mean = fmaf(beta1, first_moments[i], rest1 * gradient);
        float square = fmaf(beta2, second_moments[i], rest2 * gradient * gradient);
        first_moments[i] = mean;
        second_moments[i] = square;
        float step = mean * correction1 / (sqrtf(square * correction2) + eps);
        value -= rate * (RULE == ADAMW ? fmaf(weight_decay, value, step) : step);
    }
    if (RULE == ADAGRAD) {
        float square = fmaf(gradient, gradient, first_moments[i]);
        first_moments[i] = square;
        value -= rate * gradient / (sqrtf(square) + eps);
    }
    values[i] = value;
    // Nobody reads this number in the same launch.
    if (blockIdx.x == 0 && threadIdx.x == 0) progress->draw += 1;
}
