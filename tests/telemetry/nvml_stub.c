/* Stands in for the driver's libnvidia-ml.so.1: does what a scenario file says, and nothing else.

   $DLBENCH_NVML_SCENARIO names a file of lines "key=value". "devices" lists UUIDs in the driver's order; everything
   else belongs to a device, "GPU-x.power_instant", or to all that do not say otherwise, "*.power_instant". A value is
   a number, "@path" (the number that the file holds at the time of the call), "error N" (the call returns N), "hang" (it
   never returns), or for energy "ramp W MS" (rises by W watts, in steps of MS milliseconds), for samples "PERCENT MS" (one each MS).
   "gpm_alloc" and "gpm_get" are "N CODE": the Nth such call returns CODE.
   What the file does not name is not supported. Structures and symbols are those that nvidia-ml-py 13 uses.
   -DOLD_DRIVER leaves out what drivers before 2023 had not got. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { LINES = 256, DEVICES = 16, BUFFER = 120, PIDS = 64 };

typedef struct Device {
    char uuid[96];
    struct Device *parent;
    unsigned instance;
} Device;

typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; } Value;
typedef struct { uint64_t t_us; Device *device; } GpmSample;

static char keys[LINES][96], values[LINES][512];
static int lines, gpus, devices, initialised, gpm_samples;
static Device known[DEVICES];

static uint64_t now_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static const char *of(const char *who, const char *what) {
    char key[192];
    snprintf(key, sizeof key, "%s%s%s", who, *who ? "." : "", what);
    for (int i = 0; i < lines; i++)
        if (!strcmp(keys[i], key)) return values[i];
    return NULL;
}

static const char *text(const Device *device, const char *what) {
    const char *own = of(device->uuid, what);
    /* a slice has nothing of its GPU's unless the scenario says so */
    return own ? own : device->parent ? of("MIG", what) : of("*", what);
}

static int number(const char *told, double *value) {
    char buffer[64] = "";
    if (!told) return NOT_SUPPORTED;
    if (!strncmp(told, "error ", 6)) return atoi(told + 6);
    while (!strcmp(told, "hang")) pause();
    if (*told == '@') {
        FILE *file = fopen(told + 1, "r");
        if (file) {
            size_t n = fread(buffer, 1, sizeof buffer - 1, file);
            buffer[n] = 0;
            fclose(file);
        }
        told = buffer;
    }
    *value = atof(told);
    return SUCCESS;
}

static int get(const Device *device, const char *what, double *value) {
    double lost = 0;
    if (!initialised) return UNINITIALIZED;
    number(text(device->parent ? device->parent : device, "lost"), &lost);
    return lost ? 15 : number(text(device, what), value);
}

static int get_unsigned(const Device *device, const char *what, unsigned *value) {
    double found;
    int code = get(device, what, &found);
    if (code == SUCCESS) *value = (unsigned)found;
    return code;
}

static Device *make(const char *uuid, size_t length, Device *parent, unsigned instance) {
    Device *device = &known[devices++];
    snprintf(device->uuid, sizeof device->uuid, "%.*s", (int)length, uuid);
    device->parent = parent;
    device->instance = instance;
    return device;
}

static unsigned each(const char *list, Device *parent) {
    unsigned count = 0;
    for (const char *at = list; at && *at; count++) {
        size_t length = strcspn(at, ",");
        make(at, length, parent, count + 1);
        at += length + (at[length] == ',');
    }
    return count;
}

int nvmlInitWithFlags(unsigned flags) {
    double code = 0;
    char line[640];
    FILE *file = fopen(getenv("DLBENCH_NVML_SCENARIO") ? getenv("DLBENCH_NVML_SCENARIO") : "", "r");
    (void)flags;
    lines = devices = 0;
    if (!file) return INVALID;
    while (lines < LINES && fgets(line, sizeof line, file)) {
        char *equals = strchr(line, '=');
        if (!equals) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(keys[lines], sizeof keys[0], "%.*s", (int)(equals - line), line);
        snprintf(values[lines++], sizeof values[0], "%s", equals + 1);
    }
    fclose(file);
    number(of("", "init"), &code);
    if (code) return (int)code;
    gpus = (int)each(of("", "devices"), NULL);
    for (int i = 0; i < gpus; i++) each(text(&known[i], "mig"), &known[i]);
    initialised = 1;
    return SUCCESS;
}

int nvmlShutdown(void) {
    if (gpm_samples) fprintf(stderr, "stub: GPM samples that were not given back: %d\n", gpm_samples);
    return initialised = 0, SUCCESS;
}
const char *nvmlErrorString(int code) { static char words[32]; return snprintf(words, 32, "stub error %d", code), words; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = (unsigned)gpus, SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    double code = 0;
    if (index >= (unsigned)gpus) return INVALID;
    number(text(&known[index], "handle"), &code);
    return *device = &known[index], (int)code;
}

int nvmlDeviceGetUUID(Device *device, char *out, unsigned size) { return snprintf(out, size, "%s", device->uuid), SUCCESS; }

int nvmlDeviceGetName(Device *device, char *out, unsigned size) {
    const char *name = text(device, "name");
    return name ? (snprintf(out, size, "%s", name), SUCCESS) : NOT_SUPPORTED;
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(Device *device, Pci *pci) {
    const char *address = text(device, "pci");
    if (!address || sscanf(address, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) != 3) return NOT_SUPPORTED;
    snprintf(pci->bus_id, sizeof pci->bus_id, "%s", address);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    if (device->parent) return INVALID;
    *current = *pending = text(device, "mig") != NULL;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned *count) { return *count = text(device, "mig") ? 7 : 0, SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(Device *gpu, unsigned index, Device **slice) {
    for (int i = gpus; i < devices; i++)
        if (known[i].parent == gpu && known[i].instance == index + 1) return *slice = &known[i], SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(Device *device, unsigned *id) { return *id = device->instance, SUCCESS; }

typedef struct { unsigned long long total, free, used; } MemoryV1;
int nvmlDeviceGetMemoryInfo(Device *device, MemoryV1 *memory) {
    double used = 0, reserved = 0;
    int code = get(device, "memory", &used);
    get(device, "reserved", &reserved);
    memory->total = 1ull << 37;
    memory->used = (unsigned long long)(used + reserved);
    memory->free = memory->total - memory->used;
    return code;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *mw) { return get_unsigned(device, "power_usage", mw); }

int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *mj) {
    double watts, step_ms, value;
    const char *told = text(device, "energy");
    int code = get(device, "energy", &value);
    if (code != SUCCESS) return code;
    if (sscanf(told, "ramp %lf %lf", &watts, &step_ms) == 2) {
        uint64_t steps = now_us(CLOCK_MONOTONIC) / (uint64_t)(1000 * step_ms);
        value = (double)steps * step_ms * watts;
    }
    *mj = (unsigned long long)value;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device *device, int type, unsigned *mhz) {
    return get_unsigned(device, type == 1 ? "sm_clock" : type == 2 ? "memory_clock" : "clock", mhz);
}

int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *celsius) {
    return sensor ? INVALID : get_unsigned(device, "temperature", celsius);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, unsigned long long *reasons) {
    double found = 0;
    int code = get(device, "reasons", &found);
    return *reasons = (unsigned long long)found, code;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } Process;
static int list(Device *device, unsigned *count, Process *out) {
    char buffer[512] = "";
    double ignored;
    unsigned pids[PIDS], found = 0;
    const char *told = text(device, "processes");
    int code = get(device, "processes", &ignored);
    if (code != SUCCESS) return code;
    if (*told == '@') {
        FILE *file = fopen(told + 1, "r");
        if (file) {
            size_t n = fread(buffer, 1, sizeof buffer - 1, file);
            buffer[n] = 0;
            fclose(file);
        }
        told = buffer;
    }
    for (char *end; found < PIDS; found++) {
        unsigned long pid = strtoul(told, &end, 10);
        if (end == told) break;
        pids[found] = (unsigned)pid;
        told = end;
    }
    if (!out) return *count = found, found ? INSUFFICIENT_SIZE : SUCCESS;
    if (*count < found) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < found; i++) out[i] = (Process){pids[i], 1 << 20, 0, 0};
    return *count = found, SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(Device *device, unsigned *count, Process *out) { return list(device, count, out); }

typedef struct { unsigned long long t_us; Value value; } Sample;
int nvmlDeviceGetSamples(Device *device, int kind, unsigned long long since_us, int *type, unsigned *count, Sample *out) {
    double percent, period_ms, ignored;
    const char *told = text(device, "samples");
    int code = kind == 1 ? get(device, "samples", &ignored) : INVALID;
    if (code != SUCCESS) return code;
    if (sscanf(told, "%lf %lf", &percent, &period_ms) != 2) return NOT_FOUND;
    uint64_t period_us = (uint64_t)(1000 * period_ms), last = now_us(CLOCK_REALTIME) / period_us, first = since_us / period_us + 1;
    if (last - first + 1 > BUFFER || first > last + 1) first = last - BUFFER + 1;
    if (first > last) return NOT_FOUND;
    *type = 1;
    if (!out) return *count = (unsigned)(last - first + 1), SUCCESS;
    for (unsigned i = 0; i < *count; i++) out[i].t_us = (first + i) * period_us, out[i].value.ui = (unsigned)percent;
    return SUCCESS;
}

#ifndef OLD_DRIVER

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
int nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *memory) {
    double used = 0, reserved = 0;
    if (memory->version != 0x02000028) return 25;
    int code = get(device, "memory", &used);
    get(device, "reserved", &reserved);
    memory->total = 1ull << 37;
    memory->used = (unsigned long long)used;
    memory->reserved = (unsigned long long)reserved;
    memory->free = memory->total - memory->used - memory->reserved;
    return code;
}

typedef struct { unsigned field, scope; int64_t t_us, latency_us; int type, code; Value value; } Field;
int nvmlDeviceGetFieldValues(Device *device, int count, Field *fields) {
    double lost = 0;
    number(text(device->parent ? device->parent : device, "lost"), &lost);
    if (lost) return 15;
    for (int i = 0; i < count; i++) {
        unsigned field = fields[i].field;
        fields[i].type = field == 83 ? 3 : 1;
        if (field == 83)
            fields[i].code = nvmlDeviceGetTotalEnergyConsumption(device, &fields[i].value.ull);
        else
            fields[i].code = get_unsigned(
                device, field == 185 ? "power_average" : field == 186 ? "power_instant" : "field", &fields[i].value.ui);
    }
    return SUCCESS;
}

typedef struct { unsigned version; int sensor, celsius; } TemperatureV1;
int nvmlDeviceGetTemperatureV(Device *device, TemperatureV1 *temperature) {
    if (temperature->version != 0x100000C) return 25;
    return nvmlDeviceGetTemperature(device, temperature->sensor, (unsigned *)&temperature->celsius);
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *device, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksThrottleReasons(device, reasons);
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *out) { return list(device, count, out); }

typedef struct { unsigned version, supported; } GpmSupport;
int nvmlGpmQueryDeviceSupport(Device *device, GpmSupport *support) {
    return support->version != 1 ? 25 : (support->supported = text(device, "gpm") != NULL, SUCCESS);
}

static int allocs, gets;

/* what the Nth of these calls returns, the one that is made now being counted */
static int nth(const char *what, int *calls) {
    int wanted, code;
    const char *told = of("", what);
    ++*calls;
    return told && sscanf(told, "%d %d", &wanted, &code) == 2 && *calls == wanted ? code : SUCCESS;
}

int nvmlGpmSampleAlloc(GpmSample **sample) {
    int code = nth("gpm_alloc", &allocs);
    if (code != SUCCESS) return code;
    gpm_samples++;
    return (*sample = calloc(1, sizeof **sample)) ? SUCCESS : 20;
}

int nvmlGpmSampleFree(GpmSample *sample) { return gpm_samples--, free(sample), SUCCESS; }

int nvmlGpmSampleGet(Device *device, GpmSample *sample) {
    double ignored;
    int code = nth("gpm_get", &gets);
    if (code != SUCCESS) return code;
    if (device->parent) return INVALID;
    *sample = (GpmSample){now_us(CLOCK_MONOTONIC), device};
    return get(device, "gpm", &ignored);
}

int nvmlGpmMigSampleGet(Device *gpu, unsigned instance, GpmSample *sample) {
    for (int i = gpus; i < devices; i++)
        if (known[i].parent == gpu && known[i].instance == instance)
            return *sample = (GpmSample){now_us(CLOCK_MONOTONIC), &known[i]}, SUCCESS;
    return NOT_FOUND;
}

typedef struct { unsigned id; int code; double value; const char *names[3]; } GpmMetric;
typedef struct { unsigned version, count; GpmSample *first, *second; GpmMetric metrics[]; } GpmMetrics;
int nvmlGpmMetricsGet(GpmMetrics *asked) {
    char what[32];
    if (asked->version != 1) return 25;
    if (asked->second->t_us < asked->first->t_us + 100000 || asked->first->device != asked->second->device) return INVALID;
    for (unsigned i = 0; i < asked->count; i++) {
        snprintf(what, sizeof what, "gpm.%u", asked->metrics[i].id);
        asked->metrics[i].code = get(asked->second->device, what, &asked->metrics[i].value);
    }
    return SUCCESS;
}

#endif
