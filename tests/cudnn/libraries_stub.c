/* Stands in for libcudnn.so.9 and libcublas.so.13: checks what it is given, and computes plainly on the CPU.

   A call is refused, with the reason in cudnnGetLastErrorString, where the real library would refuse it, and also where
   it would do what nobody asked for: read memory that was not handed to this very call (stub_memory), write where it
   reads, take an algorithm whose results change from run to run, or a workspace whose size nobody asked for. Sums are
   in double. A target whose beta is 0 is not read. Workspaces are filled with NaN. Math types other than FMA round
   factors to TF32, as an Ampere does where it is let.

   Types and values are those of cudnn_graph_v9.h, cudnn_ops_v9.h, cudnn_cnn_v9.h (9.27.0) and cublas_api.h (13.10). */

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum { FMA = 3, TF32_MODE = 3 };
enum { REGIONS = 32, ASKED = 4096 };
enum { FORWARD, BACKWARD_DATA, BACKWARD_FILTER };
typedef enum { HANDLE = 1, BLAS, TENSOR, FILTER, CONVOLUTION, POOLING, ACTIVATION, ADDITION } Kind;

typedef struct {
    Kind kind;
    int set;         /* whether it says something by now; of cuBLAS, whether its arithmetic was chosen */
    int dims[4];     /* tensors: N C H W, weights: K C H W */
    int strides[4];
    int values[9];   /* what else the setter was given */
    int math, groups;
    double number;
    const void *stream, *workspace;
} Object;

typedef struct {
    int algo, status;
    float time;
    size_t memory;
    int determinism, math;
    int reserved[3];
} Performance;

static char message[512] = "";
static int live;
static int biased;
static struct { const char *begin, *end; } regions[REGIONS];
static int region_count;
static struct { int kind, algo; size_t bytes; } asked[ASKED];
static int asked_count;

/* ---- what tests ask and set */

int stub_live(void) { return live; }
void stub_biased(int yes) { biased = yes; }

void stub_memory(int count, void **addresses, size_t *bytes) {
    region_count = 0;
    for (int i = 0; i < count && i < REGIONS; ++i) {
        regions[i].begin = addresses[i];
        regions[i].end = (char *)addresses[i] + bytes[i];
        region_count++;
    }
}

/* ---- errors */

size_t cudnnGetVersion(void) { return 92700; }
const char *cudnnGetErrorString(int status) { return status == BAD_PARAM ? "BAD_PARAM" : "NOT_SUPPORTED"; }
void cudnnGetLastErrorString(char *text, size_t most) { snprintf(text, most, "%s", message); }

static int refuse(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return BAD_PARAM;
}

#define REQUIRE(fits, ...) \
    do { if (!(fits)) return refuse(__VA_ARGS__); } while (0)
#define TRY(call) \
    do { int status_ = (call); if (status_) return status_; } while (0)

/* ---- handles and descriptors: never freed, so that what is used after its end is seen */

static int make(void **made, Kind kind) {
    REQUIRE(made, "no place for what is made");
    Object *object = calloc(1, sizeof *object);
    object->kind = kind;
    object->groups = 1;
    *made = object;
    live++;
    return SUCCESS;
}

static int end(Object *object, Kind kind) {
    REQUIRE(object && object->kind == kind, "destroyed twice, or as something else");
    object->kind = 0;
    live--;
    return SUCCESS;
}

static int is(const Object *object, Kind kind) {
    REQUIRE(object, "a descriptor is NULL");
    REQUIRE(object->kind == kind, "a descriptor of another kind, or one that was destroyed");
    REQUIRE(object->set, "a descriptor that nobody set");
    return SUCCESS;
}

#define MADE(create, destroy, kind) \
    int create(void **made) { return make(made, kind); } \
    int destroy(void *object) { return end(object, kind); }
MADE(cudnnCreate, cudnnDestroy, HANDLE)
MADE(cublasCreate_v2, cublasDestroy_v2, BLAS)
MADE(cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor, TENSOR)
MADE(cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor, FILTER)
MADE(cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor, CONVOLUTION)
MADE(cudnnCreatePoolingDescriptor, cudnnDestroyPoolingDescriptor, POOLING)
MADE(cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor, ACTIVATION)
MADE(cudnnCreateOpTensorDescriptor, cudnnDestroyOpTensorDescriptor, ADDITION)

static int streamed(Object *handle, Kind kind, void *stream) {
    REQUIRE(handle && handle->kind == kind, "no handle");
    REQUIRE(stream, "the legacy default stream, which cannot be captured");
    handle->stream = stream;
    return SUCCESS;
}
int cudnnSetStream(Object *handle, void *stream) { return streamed(handle, HANDLE, stream); }
int cublasSetStream_v2(Object *handle, void *stream) { return streamed(handle, BLAS, stream); }

int cublasSetWorkspace_v2(Object *handle, void *workspace, size_t bytes) {
    REQUIRE(handle && handle->kind == BLAS && workspace && bytes, "no handle or no workspace");
    handle->workspace = workspace;
    return SUCCESS;
}

int cublasSetMathMode(Object *handle, int mode) {
    REQUIRE(handle && handle->kind == BLAS, "no handle");
    handle->math = mode;
    handle->set = 1;
    return SUCCESS;
}

static int handled(const Object *handle) {
    REQUIRE(handle && handle->kind == HANDLE && handle->stream, "no handle, or one without a stream");
    return SUCCESS;
}

int cudnnSetTensor4dDescriptorEx(Object *t, int type, int n, int c, int h, int w, int sn, int sc, int sh, int sw) {
    REQUIRE(t && t->kind == TENSOR, "no tensor");
    REQUIRE(type == 0, "not float");
    int dims[] = {n, c, h, w}, strides[] = {sn, sc, sh, sw};
    for (int i = 0; i < 4; ++i) REQUIRE(dims[i] > 0 && strides[i] > 0, "dimension %d is %d, stride %d", i, dims[i], strides[i]);
    memcpy(t->dims, dims, sizeof dims);
    memcpy(t->strides, strides, sizeof strides);
    t->set = 1;
    return SUCCESS;
}

int cudnnSetFilter4dDescriptor(Object *f, int type, int format, int k, int c, int h, int w) {
    REQUIRE(f && f->kind == FILTER, "no filter");
    REQUIRE(type == 0 && format == 0, "not float, or not NCHW");
    int dims[] = {k, c, h, w}, strides[] = {c * h * w, h * w, w, 1};
    for (int i = 0; i < 4; ++i) REQUIRE(dims[i] > 0, "dimension %d is %d", i, dims[i]);
    memcpy(f->dims, dims, sizeof dims);
    memcpy(f->strides, strides, sizeof strides);
    f->set = 1;
    return SUCCESS;
}

/* values: padding, stride, dilation, each of height and width; mode, type */
int cudnnSetConvolution2dDescriptor(Object *c, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int type) {
    REQUIRE(c && c->kind == CONVOLUTION, "no convolution");
    REQUIRE(ph >= 0 && pw >= 0 && sh > 0 && sw > 0 && dh > 0 && dw > 0 && type == 0, "sizes, or not float");
    int values[] = {ph, pw, sh, sw, dh, dw, mode, type};
    memcpy(c->values, values, sizeof values);
    c->set = 1;
    return SUCCESS;
}

int cudnnSetConvolutionMathType(Object *c, int math) {
    REQUIRE(c && c->kind == CONVOLUTION, "no convolution");
    c->math = math;
    return SUCCESS;
}

int cudnnSetConvolutionGroupCount(Object *c, int groups) {
    REQUIRE(c && c->kind == CONVOLUTION && groups > 0, "no convolution, or no groups");
    c->groups = groups;
    return SUCCESS;
}

/* values: mode, NaN, window, padding, stride */
int cudnnSetPooling2dDescriptor(Object *p, int mode, int nan, int wh, int ww, int ph, int pw, int sh, int sw) {
    REQUIRE(p && p->kind == POOLING, "no pooling");
    REQUIRE(mode >= 1 && mode <= 3, "pooling %d, whose way back adds in any order, or none at all", mode);
    REQUIRE(wh > 0 && ww > 0 && ph >= 0 && pw >= 0 && ph < wh && pw < ww && sh > 0 && sw > 0, "sizes");
    int values[] = {mode, nan, wh, ww, ph, pw, sh, sw};
    memcpy(p->values, values, sizeof values);
    p->set = 1;
    return SUCCESS;
}

int cudnnSetActivationDescriptor(Object *a, int mode, int nan, double ceiling) {
    REQUIRE(a && a->kind == ACTIVATION && mode >= 0 && mode <= 3, "no activation");
    REQUIRE(mode != 3 || ceiling > 0, "a clipped relu without a ceiling");
    a->values[0] = mode;
    a->values[1] = nan;
    a->number = ceiling;
    a->set = 1;
    return SUCCESS;
}

int cudnnSetOpTensorDescriptor(Object *o, int operation, int type, int nan) {
    REQUIRE(o && o->kind == ADDITION && operation == 0 && type == 0 && nan == 0, "no sum of floats");
    o->set = 1;
    return SUCCESS;
}

/* ---- memory */

static int inside(const void *begin, size_t bytes, const char *what) {
    REQUIRE(begin, "%s is NULL", what);
    const char *from = begin;
    for (int i = 0; i < region_count; ++i)
        if (regions[i].begin <= from && from + bytes <= regions[i].end) return SUCCESS;
    return refuse("%s: %zu bytes that are not in the memory of this call", what, bytes);
}

static size_t extent(const Object *t) {
    size_t last = 1;
    for (int i = 0; i < 4; ++i) last += (size_t)(t->dims[i] - 1) * t->strides[i];
    return last;
}

static int holds(const Object *t, Kind kind, const void *data, const char *what) {
    TRY(is(t, kind));
    return inside(data, extent(t) * sizeof(float), what);
}

static int apart(const Object *s, const void *a, const Object *t, const void *b) {
    const float *from = a, *to = b;
    REQUIRE(from + extent(s) <= to || to + extent(t) <= from, "what is written lies over what is read");
    return SUCCESS;
}

static size_t at(const Object *t, int n, int c, int h, int w) {
    return (size_t)n * t->strides[0] + (size_t)c * t->strides[1] + (size_t)h * t->strides[2] + (size_t)w * t->strides[3];
}

static int alike(const Object *s, const Object *t) {
    REQUIRE(!memcmp(s->dims, t->dims, sizeof s->dims), "tensors of different sizes");
    return SUCCESS;
}

static void store(float *place, double value, float alpha, float beta) {
    *place = (float)(alpha * value + (beta ? beta * *place : 0.0));
}

#define FACTORS REQUIRE(alpha && beta, "no alpha or no beta")
#define EACH(t) \
    for (int n = 0; n < t->dims[0]; ++n) for (int c = 0; c < t->dims[1]; ++c) \
        for (int h = 0; h < t->dims[2]; ++h) for (int w = 0; w < t->dims[3]; ++w)

/* ---- products */

static float rounded(float value, int rounds) {
    if (!rounds) return value;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits = (bits + 0x1000) & 0xFFFFE000;
    memcpy(&value, &bits, 4);
    return value;
}

static int windows(int length, int padding, int span, int stride) { return (length + 2 * padding - span) / stride + 1; }

static int convolves(const Object *x, const Object *f, const Object *c, const Object *y) {
    TRY(is(x, TENSOR)); TRY(is(f, FILTER)); TRY(is(c, CONVOLUTION)); TRY(is(y, TENSOR));
    REQUIRE(f->dims[1] * c->groups == x->dims[1], "%d channels for weights of %d", x->dims[1], f->dims[1]);
    int wanted[] = {x->dims[0], f->dims[0], 0, 0};
    for (int i = 0; i < 2; ++i)
        wanted[2 + i] = windows(x->dims[2 + i], c->values[i], (f->dims[2 + i] - 1) * c->values[4 + i] + 1, c->values[2 + i]);
    REQUIRE(!memcmp(wanted, y->dims, sizeof wanted), "an output of %d x %d where %d x %d come out", y->dims[2], y->dims[3],
            wanted[2], wanted[3]);
    REQUIRE(f->dims[0] % c->groups == 0, "groups");
    return SUCCESS;
}

/* Made up, and never the same for two sizes, so that the size of another convolution shows. */
static size_t needed(int kind, int algo, const Object *x, const Object *f, const Object *y) {
    return algo == 1 ? 4 * (extent(x) + 3 * extent(f) + 5 * extent(y) + kind) : 0;
}

/* The fastest first: what fails, what is not deterministic, what rounds, what is to be taken. */
static int search(int kind, const Object *c, const Object *x, const Object *f, const Object *y, int most, int *count,
                  Performance *found) {
    TRY(convolves(x, f, c, y));
    REQUIRE(count && found && most > 0, "no place for results");
    Performance all[] = {
        {6, NOT_SUPPORTED, -1.0f, 0, 1, c->math, {0}},
        {kind == FORWARD ? 2 : 0, SUCCESS, 0.1f, 0, 0, c->math, {0}},
        {5, SUCCESS, 0.2f, 0, 1, 0, {0}},
        {1, SUCCESS, 0.3f, needed(kind, 1, x, f, y), 1, c->math, {0}},
    };
    *count = most < 4 ? most : 4;
    memcpy(found, all, *count * sizeof *found);
    return SUCCESS;
}

static int workspace_of(int kind, int algo, const Object *c, const Object *x, const Object *f, const Object *y, size_t *bytes) {
    TRY(convolves(x, f, c, y));
    REQUIRE(bytes, "no place for the size");
    *bytes = needed(kind, algo, x, f, y);
    REQUIRE(asked_count < ASKED, "asked too often");
    asked[asked_count].kind = kind;
    asked[asked_count].algo = algo;
    asked[asked_count++].bytes = *bytes;
    return SUCCESS;
}

int cudnnFindConvolutionForwardAlgorithm(Object *handle, Object *x, Object *f, Object *c, Object *y, int most, int *count,
                                         Performance *found) {
    TRY(handled(handle));
    return search(FORWARD, c, x, f, y, most, count, found);
}
int cudnnFindConvolutionBackwardDataAlgorithm(Object *handle, Object *f, Object *dy, Object *c, Object *dx, int most,
                                              int *count, Performance *found) {
    TRY(handled(handle));
    return search(BACKWARD_DATA, c, dx, f, dy, most, count, found);
}
int cudnnFindConvolutionBackwardFilterAlgorithm(Object *handle, Object *x, Object *dy, Object *c, Object *df, int most,
                                                int *count, Performance *found) {
    TRY(handled(handle));
    return search(BACKWARD_FILTER, c, x, df, dy, most, count, found);
}
int cudnnGetConvolutionForwardWorkspaceSize(Object *handle, Object *x, Object *f, Object *c, Object *y, int algo,
                                            size_t *bytes) {
    TRY(handled(handle));
    return workspace_of(FORWARD, algo, c, x, f, y, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(Object *handle, Object *f, Object *dy, Object *c, Object *dx, int algo,
                                                 size_t *bytes) {
    TRY(handled(handle));
    return workspace_of(BACKWARD_DATA, algo, c, dx, f, dy, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(Object *handle, Object *x, Object *dy, Object *c, Object *df, int algo,
                                                   size_t *bytes) {
    TRY(handled(handle));
    return workspace_of(BACKWARD_FILTER, algo, c, x, df, dy, bytes);
}

static int prepared(int kind, int algo, const Object *x, const Object *f, const Object *y, void *workspace, size_t bytes) {
    REQUIRE(algo != 6, "an algorithm that failed in the search");
    REQUIRE(kind == FORWARD ? algo != 2 : algo != 0 && algo != 3, "an algorithm that is not deterministic");
    size_t least = needed(kind, algo, x, f, y);
    int known = 0;
    for (int i = 0; i < asked_count; ++i) known |= asked[i].kind == kind && asked[i].algo == algo && asked[i].bytes == least;
    REQUIRE(known, "a workspace whose size nobody asked for");
    REQUIRE(bytes >= least, "a workspace of %zu bytes for %zu", bytes, least);
    if (least) {
        TRY(inside(workspace, bytes, "workspace"));
        memset(workspace, 0xFF, bytes);
    }
    return SUCCESS;
}

/* One product of the three: adds up over all that meet, in `sums` of the target's extent. */
static int convolve(int kind, const Object *c, const Object *xd, const float *x, const Object *fd, const float *f,
                    const Object *yd, const float *y, const Object *target, float *out, float alpha, float beta) {
    int group_in = fd->dims[1], group_out = fd->dims[0] / c->groups, rounds = c->math != FMA, flips = c->values[6] == 0;
    double *sums = calloc(extent(target), sizeof *sums);
    for (int n = 0; n < yd->dims[0]; ++n)
        for (int k = 0; k < yd->dims[1]; ++k)
            for (int i = 0; i < group_in; ++i)
                for (int r = 0; r < fd->dims[2]; ++r)
                    for (int s = 0; s < fd->dims[3]; ++s) {
                        int channel = k / group_out * group_in + i;
                        size_t tap = flips ? at(fd, k, i, fd->dims[2] - 1 - r, fd->dims[3] - 1 - s) : at(fd, k, i, r, s);
                        double weight = kind == BACKWARD_FILTER ? 0 : rounded(f[tap], rounds), sum = 0;
                        for (int h = 0; h < yd->dims[2]; ++h) {
                            int row = h * c->values[2] - c->values[0] + r * c->values[4];
                            if (row < 0 || row >= xd->dims[2]) continue;
                            for (int w = 0; w < yd->dims[3]; ++w) {
                                int column = w * c->values[3] - c->values[1] + s * c->values[5];
                                if (column < 0 || column >= xd->dims[3]) continue;
                                size_t here = at(xd, n, channel, row, column), there = at(yd, n, k, h, w);
                                if (kind == FORWARD) sums[there] += weight * rounded(x[here], rounds);
                                else if (kind == BACKWARD_DATA) sums[here] += weight * rounded(y[there], rounds);
                                else sum += (double)rounded(x[here], rounds) * rounded(y[there], rounds);
                            }
                        }
                        if (kind == BACKWARD_FILTER) sums[tap] += sum;
                    }
    EACH(target) { size_t i = at(target, n, c, h, w); store(out + i, sums[i], alpha, beta); }
    free(sums);
    return SUCCESS;
}

int cudnnConvolutionForward(Object *handle, float *alpha, Object *xd, float *x, Object *fd, float *f, Object *c, int algo,
                            void *workspace, size_t bytes, float *beta, Object *yd, float *y) {
    TRY(handled(handle)); FACTORS; TRY(convolves(xd, fd, c, yd));
    TRY(holds(xd, TENSOR, x, "x")); TRY(holds(fd, FILTER, f, "w")); TRY(holds(yd, TENSOR, y, "y"));
    TRY(apart(xd, x, yd, y)); TRY(prepared(FORWARD, algo, xd, fd, yd, workspace, bytes));
    return convolve(FORWARD, c, xd, x, fd, f, yd, y, yd, y, *alpha, *beta);
}
int cudnnConvolutionBackwardData(Object *handle, float *alpha, Object *fd, float *f, Object *yd, float *dy, Object *c,
                                 int algo, void *workspace, size_t bytes, float *beta, Object *xd, float *dx) {
    TRY(handled(handle)); FACTORS; TRY(convolves(xd, fd, c, yd));
    TRY(holds(xd, TENSOR, dx, "dx")); TRY(holds(fd, FILTER, f, "w")); TRY(holds(yd, TENSOR, dy, "dy"));
    TRY(apart(yd, dy, xd, dx)); TRY(prepared(BACKWARD_DATA, algo, xd, fd, yd, workspace, bytes));
    return convolve(BACKWARD_DATA, c, xd, dx, fd, f, yd, dy, xd, dx, *alpha, *beta);
}
int cudnnConvolutionBackwardFilter(Object *handle, float *alpha, Object *xd, float *x, Object *yd, float *dy, Object *c,
                                   int algo, void *workspace, size_t bytes, float *beta, Object *fd, float *df) {
    TRY(handled(handle)); FACTORS; TRY(convolves(xd, fd, c, yd));
    TRY(holds(xd, TENSOR, x, "x")); TRY(holds(fd, FILTER, df, "dw")); TRY(holds(yd, TENSOR, dy, "dy"));
    TRY(prepared(BACKWARD_FILTER, algo, xd, fd, yd, workspace, bytes));
    return convolve(BACKWARD_FILTER, c, xd, x, fd, df, yd, dy, fd, df, *alpha, *beta);
}

/* C = alpha op(A) op(B) + beta C, column by column: op(A) is m x k, op(B) is k x n. */
int cublasSgemm_v2(Object *handle, int ta, int tb, int m, int n, int k, float *alpha, float *a, int lda, float *b, int ldb,
                   float *beta, float *c, int ldc) {
    REQUIRE(handle && handle->kind == BLAS && handle->stream && handle->workspace && handle->set,
            "cuBLAS without a handle, a stream, a workspace or an arithmetic");
    FACTORS;
    REQUIRE(m > 0 && n > 0 && k > 0 && lda >= (ta ? k : m) && ldb >= (tb ? n : k) && ldc >= m, "sizes");
    int rounds = handle->math == TF32_MODE;
    TRY(inside(a, 4 * ((size_t)lda * ((ta ? m : k) - 1) + (ta ? k : m)), "A"));
    TRY(inside(b, 4 * ((size_t)ldb * ((tb ? k : n) - 1) + (tb ? n : k)), "B"));
    TRY(inside(c, 4 * ((size_t)ldc * (n - 1) + m), "C"));
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            double sum = 0;
            for (int l = 0; l < k; ++l)
                sum += (double)rounded(a[ta ? l + (size_t)i * lda : i + (size_t)l * lda], rounds) *
                       rounded(b[tb ? j + (size_t)l * ldb : l + (size_t)j * ldb], rounds);
            store(c + i + (size_t)j * ldc, sum, *alpha, *beta);
        }
    return SUCCESS;
}

/* ---- element by element */

static size_t spread(const Object *t, int n, int c, int h, int w) {
    return at(t, t->dims[0] > 1 ? n : 0, t->dims[1] > 1 ? c : 0, t->dims[2] > 1 ? h : 0, t->dims[3] > 1 ? w : 0);
}

int cudnnConvolutionBackwardBias(Object *handle, float *alpha, Object *yd, float *dy, float *beta, Object *bd, float *db) {
    TRY(handled(handle)); FACTORS; TRY(holds(yd, TENSOR, dy, "dy")); TRY(holds(bd, TENSOR, db, "db"));
    REQUIRE(bd->dims[0] == 1 && bd->dims[1] == yd->dims[1] && bd->dims[2] == 1 && bd->dims[3] == 1, "the bias' sizes");
    double *sums = calloc(bd->dims[1], sizeof *sums);
    EACH(yd) sums[c] += dy[at(yd, n, c, h, w)];
    EACH(bd) store(db + at(bd, n, c, h, w), sums[c], *alpha, *beta);
    free(sums);
    return SUCCESS;
}

int cudnnAddTensor(Object *handle, float *alpha, Object *ad, float *a, float *beta, Object *cd, float *sum) {
    TRY(handled(handle)); FACTORS; TRY(holds(ad, TENSOR, a, "A")); TRY(holds(cd, TENSOR, sum, "C")); TRY(apart(ad, a, cd, sum));
    for (int i = 0; i < 4; ++i) REQUIRE(ad->dims[i] == cd->dims[i] || ad->dims[i] == 1, "A fits not into C");
    EACH(cd) store(sum + at(cd, n, c, h, w), a[spread(ad, n, c, h, w)], *alpha, *beta);
    return SUCCESS;
}

int cudnnOpTensor(Object *handle, Object *o, float *alpha, Object *ad, float *a, float *alpha2, Object *bd, float *b,
                  float *beta, Object *cd, float *sum) {
    TRY(handled(handle)); FACTORS; REQUIRE(alpha2, "no alpha"); TRY(is(o, ADDITION));
    TRY(holds(ad, TENSOR, a, "A")); TRY(holds(bd, TENSOR, b, "B")); TRY(holds(cd, TENSOR, sum, "C"));
    TRY(alike(ad, bd)); TRY(alike(ad, cd)); TRY(apart(ad, a, cd, sum)); TRY(apart(bd, b, cd, sum));
    EACH(cd) store(sum + at(cd, n, c, h, w), *alpha * (double)a[at(ad, n, c, h, w)] + *alpha2 * (double)b[at(bd, n, c, h, w)],
                   1.0f, *beta);
    return SUCCESS;
}

int cudnnTransformTensor(Object *handle, float *alpha, Object *xd, float *x, float *beta, Object *yd, float *y) {
    TRY(handled(handle)); FACTORS; TRY(holds(xd, TENSOR, x, "x")); TRY(holds(yd, TENSOR, y, "y")); TRY(alike(xd, yd));
    TRY(apart(xd, x, yd, y));
    EACH(yd) store(y + at(yd, n, c, h, w), x[at(xd, n, c, h, w)], *alpha, *beta);
    return SUCCESS;
}

int cudnnSetTensor(Object *handle, Object *yd, float *y, float *value) {
    TRY(handled(handle)); REQUIRE(value, "no value"); TRY(holds(yd, TENSOR, y, "y"));
    EACH(yd) y[at(yd, n, c, h, w)] = *value;
    return SUCCESS;
}

int cudnnActivationForward(Object *handle, Object *a, float *alpha, Object *xd, float *x, float *beta, Object *yd, float *y) {
    TRY(handled(handle)); FACTORS; TRY(is(a, ACTIVATION)); TRY(holds(xd, TENSOR, x, "x")); TRY(holds(yd, TENSOR, y, "y"));
    TRY(alike(xd, yd));
    EACH(yd) {
        double v = x[at(xd, n, c, h, w)];
        double ways[] = {1 / (1 + exp(-v)), v > 0 ? v : 0, tanh(v), v > 0 ? fmin(v, a->number) : 0};
        store(y + at(yd, n, c, h, w), ways[a->values[0]], *alpha, *beta);
    }
    return SUCCESS;
}

int cudnnActivationBackward(Object *handle, Object *a, float *alpha, Object *yd, float *y, Object *dyd, float *dy, Object *xd,
                            float *x, float *beta, Object *dxd, float *dx) {
    TRY(handled(handle)); FACTORS; TRY(is(a, ACTIVATION)); TRY(holds(yd, TENSOR, y, "y")); TRY(holds(xd, TENSOR, x, "x"));
    TRY(holds(dyd, TENSOR, dy, "dy")); TRY(holds(dxd, TENSOR, dx, "dx")); TRY(alike(xd, yd)); TRY(alike(dyd, yd)); TRY(alike(dxd, yd));
    EACH(yd) {
        double v = x[at(xd, n, c, h, w)], r = y[at(yd, n, c, h, w)];
        double ways[] = {r * (1 - r), v > 0, 1 - r * r, v > 0 && v < a->number};
        store(dx + at(dxd, n, c, h, w), ways[a->values[0]] * dy[at(dyd, n, c, h, w)], *alpha, *beta);
    }
    return SUCCESS;
}

/* ---- pools */

static int pools(const Object *p, const Object *x, const Object *y) {
    TRY(is(p, POOLING)); TRY(is(x, TENSOR)); TRY(is(y, TENSOR));
    REQUIRE(x->dims[0] == y->dims[0] && x->dims[1] == y->dims[1], "images or channels");
    for (int i = 0; i < 2; ++i)
        REQUIRE(y->dims[2 + i] == windows(x->dims[2 + i], p->values[4 + i], p->values[2 + i], p->values[6 + i]),
                "a pool that has other windows than its output");
    return SUCCESS;
}

typedef struct { int first[2], last[2]; double divisor; } Window;

static Window window_of(const Object *p, const Object *x, int row, int column) {
    Window found = {{0}, {0}, 1};
    int place[] = {row, column};
    for (int i = 0; i < 2; ++i) {
        int from = place[i] * p->values[6 + i] - p->values[4 + i], to = from + p->values[2 + i];
        found.first[i] = from < 0 ? 0 : from;
        found.last[i] = to > x->dims[2 + i] ? x->dims[2 + i] : to;
        found.divisor *= p->values[0] == 1 ? p->values[2 + i] : found.last[i] - found.first[i];
    }
    return found;
}

#define EACH_IN(window) \
    for (int i = window.first[0]; i < window.last[0]; ++i) for (int j = window.first[1]; j < window.last[1]; ++j)

int cudnnPoolingForward(Object *handle, Object *p, float *alpha, Object *xd, float *x, float *beta, Object *yd, float *y) {
    TRY(handled(handle)); FACTORS; TRY(pools(p, xd, yd)); TRY(holds(xd, TENSOR, x, "x")); TRY(holds(yd, TENSOR, y, "y"));
    TRY(apart(xd, x, yd, y));
    EACH(yd) {
        Window window = window_of(p, xd, h, w);
        double largest = -INFINITY, sum = 0;
        EACH_IN(window) {
            largest = fmax(largest, x[at(xd, n, c, i, j)]);
            sum += x[at(xd, n, c, i, j)];
        }
        store(y + at(yd, n, c, h, w), p->values[0] == 3 ? largest : sum / window.divisor, *alpha, *beta);
    }
    return SUCCESS;
}

int cudnnPoolingBackward(Object *handle, Object *p, float *alpha, Object *yd, float *y, Object *dyd, float *dy, Object *xd,
                         float *x, float *beta, Object *dxd, float *dx) {
    TRY(handled(handle)); FACTORS; TRY(pools(p, xd, yd)); TRY(holds(yd, TENSOR, y, "y")); TRY(holds(xd, TENSOR, x, "x"));
    TRY(holds(dyd, TENSOR, dy, "dy")); TRY(holds(dxd, TENSOR, dx, "dx")); TRY(alike(dyd, yd)); TRY(alike(dxd, xd));
    TRY(apart(dyd, dy, dxd, dx)); TRY(apart(xd, x, dxd, dx));
    double *sums = calloc(extent(dxd), sizeof *sums);
    EACH(yd) {
        Window window = window_of(p, xd, h, w);
        int found = 0;
        double part = dy[at(dyd, n, c, h, w)];
        EACH_IN(window) {
            if (p->values[0] != 3) sums[at(dxd, n, c, i, j)] += part / window.divisor;
            else if (!found && x[at(xd, n, c, i, j)] == y[at(yd, n, c, h, w)]) {
                found = 1;
                sums[at(dxd, n, c, i, j)] += part;
            }
        }
    }
    EACH(dxd) { size_t i = at(dxd, n, c, h, w); store(dx + i, sums[i], *alpha, *beta); }
    free(sums);
    return SUCCESS;
}

/* ---- batch normalisation */

static int normalises(int mode, const Object *x, const Object *each, double eps) {
    REQUIRE(mode == 1, "not over images and pixels, or in any order");
    TRY(is(x, TENSOR)); TRY(is(each, TENSOR));
    REQUIRE(each->dims[0] == 1 && each->dims[1] == x->dims[1] && each->dims[2] == 1 && each->dims[3] == 1, "one number a channel");
    REQUIRE(eps >= 0, "eps");
    return SUCCESS;
}

#define OF_CHANNELS(data) TRY(holds(each, TENSOR, data, #data))
#define IN_CHANNEL(t) \
    for (int n = 0; n < t->dims[0]; ++n) for (int h = 0; h < t->dims[2]; ++h) for (int w = 0; w < t->dims[3]; ++w)

int cudnnBatchNormalizationForwardTraining(Object *handle, int mode, float *alpha, float *beta, Object *xd, float *x,
                                           Object *yd, float *y, Object *each, float *scale, float *shift, double factor,
                                           float *running_mean, float *running_variance, double eps, float *saved_mean,
                                           float *saved_inverse) {
    TRY(handled(handle)); FACTORS; TRY(normalises(mode, xd, each, eps)); TRY(holds(xd, TENSOR, x, "x"));
    TRY(holds(yd, TENSOR, y, "y")); TRY(alike(xd, yd)); TRY(apart(xd, x, yd, y));
    OF_CHANNELS(scale); OF_CHANNELS(shift); OF_CHANNELS(running_mean); OF_CHANNELS(running_variance);
    OF_CHANNELS(saved_mean); OF_CHANNELS(saved_inverse);
    double count = (double)xd->dims[0] * xd->dims[2] * xd->dims[3];
    for (int c = 0; c < xd->dims[1]; ++c) {
        double mean = 0, variance = 0;
        IN_CHANNEL(xd) mean += x[at(xd, n, c, h, w)];
        mean /= count;
        IN_CHANNEL(xd) variance += pow(x[at(xd, n, c, h, w)] - mean, 2);
        double inverse = 1 / sqrt(variance / count + eps);
        IN_CHANNEL(yd) store(y + at(yd, n, c, h, w), (x[at(xd, n, c, h, w)] - mean) * inverse * scale[c] + shift[c], *alpha, *beta);
        running_mean[c] = (float)(mean * factor + running_mean[c] * (1 - factor));
        running_variance[c] = (float)(variance / (biased ? count : count - 1) * factor + running_variance[c] * (1 - factor));
        saved_mean[c] = (float)mean;
        saved_inverse[c] = (float)inverse;
    }
    return SUCCESS;
}

int cudnnBatchNormalizationForwardInference(Object *handle, int mode, float *alpha, float *beta, Object *xd, float *x,
                                            Object *yd, float *y, Object *each, float *scale, float *shift, float *mean,
                                            float *variance, double eps) {
    TRY(handled(handle)); FACTORS; TRY(normalises(mode, xd, each, eps)); TRY(holds(xd, TENSOR, x, "x"));
    TRY(holds(yd, TENSOR, y, "y")); TRY(alike(xd, yd)); OF_CHANNELS(scale); OF_CHANNELS(shift); OF_CHANNELS(mean);
    OF_CHANNELS(variance);
    EACH(yd) store(y + at(yd, n, c, h, w),
                   (x[at(xd, n, c, h, w)] - (double)mean[c]) / sqrt(variance[c] + eps) * scale[c] + shift[c], *alpha, *beta);
    return SUCCESS;
}

int cudnnBatchNormalizationBackward(Object *handle, int mode, float *alpha, float *beta, float *alpha_parameters,
                                    float *beta_parameters, Object *xd, float *x, Object *dyd, float *dy, Object *dxd,
                                    float *dx, Object *each, float *scale, float *dscale, float *dshift, double eps,
                                    float *mean, float *inverse) {
    TRY(handled(handle)); FACTORS; REQUIRE(alpha_parameters && beta_parameters, "no alpha or no beta");
    TRY(normalises(mode, xd, each, eps)); TRY(holds(xd, TENSOR, x, "x")); TRY(holds(dyd, TENSOR, dy, "dy"));
    TRY(holds(dxd, TENSOR, dx, "dx")); TRY(alike(xd, dyd)); TRY(alike(xd, dxd)); TRY(apart(dyd, dy, dxd, dx));
    OF_CHANNELS(scale); OF_CHANNELS(dscale); OF_CHANNELS(dshift); OF_CHANNELS(mean); OF_CHANNELS(inverse);
    double count = (double)xd->dims[0] * xd->dims[2] * xd->dims[3];
    for (int c = 0; c < xd->dims[1]; ++c) {
        double sum = 0, product = 0;
        IN_CHANNEL(xd) {
            sum += dy[at(dyd, n, c, h, w)];
            product += dy[at(dyd, n, c, h, w)] * (x[at(xd, n, c, h, w)] - (double)mean[c]) * inverse[c];
        }
        store(dscale + c, product, *alpha_parameters, *beta_parameters);
        store(dshift + c, sum, *alpha_parameters, *beta_parameters);
        IN_CHANNEL(xd) {
            double normal = (x[at(xd, n, c, h, w)] - (double)mean[c]) * inverse[c];
            double part = dy[at(dyd, n, c, h, w)] - sum / count - normal * product / count;
            store(dx + at(dxd, n, c, h, w), part * scale[c] * inverse[c], *alpha, *beta);
        }
    }
    return SUCCESS;
}
