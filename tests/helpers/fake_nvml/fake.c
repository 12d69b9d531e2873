/* A libnvidia-ml.so.1 whose answers come from a text file, read again whenever it changes.
 *
 *   FAKE_NVML=/path/of/state
 *
 * One "DEVICE KEY ANSWER" a line; the last line for a key counts. DEVICE is "sys", a GPU "0", a MIG instance "0/1", or
 * "*" for every GPU. KEY is the name of a function, with its argument behind a slash where it has one that matters
 * (nvmlDeviceGetClockInfo/1, nvmlDeviceGetFieldValues/83), or "*" for every function. ANSWER is a value, "!CODE" for an
 * error, or "hang" to not return until the line is gone. A key that is not there answers NVML_ERROR_NOT_SUPPORTED.
 * Functions that this file does not have are missing from the library, as in an older driver.
 *
 * Events are lines "sys event TYPE DATA GPU [INSTANCE]", delivered in their order, once each.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OK, UNINITIALIZED, BAD_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, VERSION_MISMATCH = 25 };
enum { GPUS = 16, INSTANCES = 8, SLOTS = INSTANCES + 1, LINES = 4096 };
#define API __attribute__((visibility("default")))
#ifndef DRIVER
#define DRIVER "580.65.06"
#endif

typedef struct { char name[8]; } device;
typedef struct { char device[8], key[64], answer[160]; } line;
typedef unsigned long long ull;

static device devices[GPUS * SLOTS]; /* a GPU, then its instances */
static line lines[LINES];
static int count, opened;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* -- the state file ------------------------------------------------------------------------------------------------ */
static short places[4 * LINES]; /* of the last line for a key, plus one; where it hashes to or behind */

static short *place(const char *device, const char *key)
{
    unsigned at = 2166136261U;
    for (const char *c = device; *c; c++) at = (at ^ (unsigned char)*c) * 16777619U;
    for (const char *c = key; *c; c++) at = (at ^ (unsigned char)*c) * 16777619U;
    for (at %= 4 * LINES; places[at]; at = (at + 1) % (4 * LINES))
        if (!strcmp(lines[places[at] - 1].key, key) && !strcmp(lines[places[at] - 1].device, device)) break;
    return &places[at];
}

static void reload(void) /* with the lock held */
{
    static struct timespec seen;
    static ino_t inode;
    struct stat st;
    char text[256];
    const char *path = getenv("FAKE_NVML");
    if (!path || stat(path, &st)) { count = 0; seen.tv_sec = 0; memset(places, 0, sizeof places); return; }
    if (st.st_ino == inode && st.st_mtim.tv_sec == seen.tv_sec && st.st_mtim.tv_nsec == seen.tv_nsec) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    for (count = 0; count < LINES && fgets(text, sizeof text, file);)
        if (sscanf(text, "%7s %63s %159[^\n]", lines[count].device, lines[count].key, lines[count].answer) == 3) count++;
    fclose(file);
    memset(places, 0, sizeof places);
    for (int i = 0; i < count; i++) *place(lines[i].device, lines[i].key) = (short)(i + 1);
    seen = st.st_mtim;
    inode = st.st_ino;
}

static const char *find(const char *device, const char *key)
{
    short at = *place(device, key);
    return at ? lines[at - 1].answer : NULL;
}

static int lookup(const char *device, const char *key, char *answer)
{
    char gpu[8];
    pthread_mutex_lock(&lock);
    reload();
    snprintf(gpu, sizeof gpu, "%s", device);
    gpu[strcspn(gpu, "/")] = 0;
    const char *found = NULL;
    if (strcmp(device, "sys")) {
        const char *all = find(gpu, "*");
        if (all && *all == '!') found = all;
        if (!found) found = find(device, key);
        if (!found && !strchr(device, '/')) found = find("*", key);
    } else
        found = find("sys", key);
    if (found) snprintf(answer, 160, "%s", found);
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

/* The answer to a call: OK with its text, or the code to return. */
static int ask(const char *name, const char *key, char *answer)
{
    char all[160];
    if (lookup("sys", "*", all) && *all == '!') return atoi(all + 1);
    if (!opened) return UNINITIALIZED;
    for (;;) {
        if (!lookup(name, key, answer)) return NOT_SUPPORTED;
        if (*answer == '!') return atoi(answer + 1);
        if (strcmp(answer, "hang")) return OK;
        usleep(10000);
    }
}

static int ask_device(device *d, const char *key, char *answer)
{
    if (d < devices || d >= devices + GPUS * SLOTS) return BAD_ARGUMENT;
    return ask(d->name, key, answer);
}

static int number(device *d, const char *key, double *value)
{
    char answer[160];
    int code = ask_device(d, key, answer);
    if (!code) *value = strtod(answer, NULL);
    return code;
}

/* Up to four numbers of one answer, separated by blanks. */
static int numbers(device *d, const char *key, double *values, int n)
{
    char answer[160], *at = answer;
    int code = ask_device(d, key, answer);
    for (int i = 0; !code && i < n; i++) values[i] = strtod(at, &at);
    return code;
}

static int text(device *d, const char *key, char *out, unsigned size)
{
    char answer[160];
    int code = ask_device(d, key, answer);
    if (code) return code;
    if (strlen(answer) >= size) return TOO_SMALL;
    strcpy(out, answer);
    return OK;
}

static char *with(char *out, const char *name, unsigned argument)
{
    snprintf(out, 64, "%s/%u", name, argument);
    return out;
}

#define TEXT(name) API int name(device *d, char *out, unsigned size) { return text(d, #name, out, size); }
#define NUMBER(name, type) \
    API int name(device *d, type *out) { double v; int code = number(d, #name, &v); if (!code) *out = (type)v; return code; }
#define NUMBER_OF(name, type) \
    API int name(device *d, unsigned of, type *out) { double v; char key[64]; int code = number(d, with(key, #name, of), &v); if (!code) *out = (type)v; return code; }
#define PAIR(name) \
    API int name(device *d, unsigned *one, unsigned *two) { double v[2]; int code = numbers(d, #name, v, 2); if (!code) *one = (unsigned)v[0], *two = (unsigned)v[1]; return code; }

/* -- the library --------------------------------------------------------------------------------------------------- */
API int nvmlInitWithFlags(unsigned flags)
{
    char answer[160];
    (void)flags;
    if (lookup("sys", "*", answer) && *answer == '!') return atoi(answer + 1);
    if (lookup("sys", "nvmlInitWithFlags", answer) && *answer == '!') return atoi(answer + 1);
    if (lookup("sys", "kernel", answer) && strcmp(answer, DRIVER)) return 18; /* this library is another driver's */
    for (int i = 0; i < GPUS * SLOTS; i++)
        snprintf(devices[i].name, 8, i % SLOTS ? "%d/%d" : "%d", i / SLOTS, i % SLOTS - 1);
    opened++;
    return OK;
}
API int nvmlShutdown(void)
{
    if (!opened) return UNINITIALIZED;
    opened--;
    return OK;
}
API const char *nvmlErrorString(int code) { (void)code; return "an error of the fake library"; }
API int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    if (!opened) return UNINITIALIZED;
    if (size <= strlen(DRIVER)) return TOO_SMALL;
    strcpy(out, DRIVER);
    return OK;
}

/* -- devices ------------------------------------------------------------------------------------------------------- */
API int nvmlDeviceGetCount_v2(unsigned *out)
{
    char answer[160];
    int code = ask("sys", "nvmlDeviceGetCount", answer);
    if (!code) *out = (unsigned)atoi(answer);
    return code;
}
API int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out)
{
    unsigned n;
    char answer[160];
    int code = nvmlDeviceGetCount_v2(&n);
    if (code) return code;
    if (index >= n) return BAD_ARGUMENT;
    *out = &devices[index * SLOTS];
    code = ask_device(*out, "nvmlDeviceGetHandleByIndex", answer);
    return code == NOT_SUPPORTED ? OK : code;
}
TEXT(nvmlDeviceGetUUID)
TEXT(nvmlDeviceGetName)
TEXT(nvmlDeviceGetSerial)
TEXT(nvmlDeviceGetVbiosVersion)
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci;
API int nvmlDeviceGetPciInfo_v3(device *d, pci *out)
{
    memset(out, 0, sizeof *out);
    return text(d, "nvmlDeviceGetPciInfo", out->address, sizeof out->address);
}

/* -- MIG ----------------------------------------------------------------------------------------------------------- */
PAIR(nvmlDeviceGetMigMode)
API int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *out) { (void)d; *out = INSTANCES; return OK; }
API int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **out)
{
    char answer[160];
    device *instance = d + 1 + index;
    int code = ask_device(instance, "nvmlDeviceGetUUID", answer);
    *out = instance;
    return code == NOT_SUPPORTED ? NOT_FOUND : code;
}
NUMBER(nvmlDeviceGetGpuInstanceId, unsigned)
NUMBER(nvmlDeviceGetComputeInstanceId, unsigned)

/* -- what is measured ---------------------------------------------------------------------------------------------- */
PAIR(nvmlDeviceGetEncoderUtilization)
PAIR(nvmlDeviceGetDecoderUtilization)
typedef struct { unsigned gpu, memory; } utilization;
API int nvmlDeviceGetUtilizationRates(device *d, utilization *out)
{
    double v[2];
    int code = numbers(d, "nvmlDeviceGetUtilizationRates", v, 2);
    if (!code) out->gpu = (unsigned)v[0], out->memory = (unsigned)v[1];
    return code;
}
/* total, used and, in the second version, reserved */
typedef struct { ull total, free, used; } memory;
typedef struct { unsigned version; ull total, reserved, free, used; } memory_v2;
API int nvmlDeviceGetMemoryInfo(device *d, memory *out)
{
    double v[3];
    int code = numbers(d, "nvmlDeviceGetMemoryInfo", v, 2);
    if (!code) out->total = (ull)v[0], out->used = (ull)v[1], out->free = out->total - out->used;
    return code;
}
API int nvmlDeviceGetMemoryInfo_v2(device *d, memory_v2 *out)
{
    double v[3];
    int code = out->version == 0x02000028 ? numbers(d, "nvmlDeviceGetMemoryInfo_v2", v, 3) : VERSION_MISMATCH;
    if (!code) out->total = (ull)v[0], out->used = (ull)v[1], out->reserved = (ull)v[2], out->free = out->total - out->used - out->reserved;
    return code;
}
API int nvmlDeviceGetTemperature(device *d, unsigned sensor, unsigned *out)
{
    double v;
    (void)sensor;
    int code = number(d, "nvmlDeviceGetTemperature", &v);
    if (!code) *out = (unsigned)v;
    return code;
}
NUMBER(nvmlDeviceGetPowerUsage, unsigned)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, ull)
NUMBER(nvmlDeviceGetSupportedClocksEventReasons, ull)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, ull)
NUMBER(nvmlDeviceGetSupportedClocksThrottleReasons, ull)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, unsigned)
NUMBER_OF(nvmlDeviceGetClockInfo, unsigned)
NUMBER_OF(nvmlDeviceGetMaxClockInfo, unsigned)
NUMBER_OF(nvmlDeviceGetPcieThroughput, unsigned)
API int nvmlDeviceGetTotalEccErrors(device *d, unsigned kind, unsigned counter, ull *out)
{
    double v;
    char key[64];
    (void)counter;
    int code = number(d, with(key, "nvmlDeviceGetTotalEccErrors", kind), &v);
    if (!code) *out = (ull)v;
    return code;
}
API int nvmlDeviceGetRemappedRows(device *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    double v[4];
    int code = numbers(d, "nvmlDeviceGetRemappedRows", v, 4);
    if (!code) *corrected = (unsigned)v[0], *uncorrected = (unsigned)v[1], *pending = (unsigned)v[2], *failed = (unsigned)v[3];
    return code;
}
typedef struct { unsigned id, scope; int64_t time, latency; unsigned type; int code; union { double d; unsigned u; ull l; } value; } field;
API int nvmlDeviceGetFieldValues(device *d, int n, field *fields)
{
    char key[64], answer[160];
    int code = ask_device(d, "nvmlDeviceGetFieldValues", answer);
    if (code && code != NOT_SUPPORTED) return code;
    for (int i = 0; i < n; i++) {
        fields[i].code = ask_device(d, with(key, "nvmlDeviceGetFieldValues", fields[i].id), answer);
        fields[i].type = 3;
        fields[i].value.l = fields[i].code ? 0 : strtoull(answer, NULL, 0);
    }
    return OK;
}

/* -- processes: PID:BYTES,PID:BYTES and PID:TIME:SM:MEMORY:ENCODER:DECODER,..., "-" for none, "+" for success without any -------- */
typedef struct { unsigned pid; ull memory; unsigned gpu_instance, compute_instance; } process;
static int processes(device *d, const char *key, unsigned *n, process *out)
{
    char answer[160], *save = NULL;
    int code = ask_device(d, key, answer);
    unsigned found = 0, room = *n;
    if (code) return code;
    for (char *at = strtok_r(answer, ", ", &save); at && *at != '-'; at = strtok_r(NULL, ", ", &save), found++)
        if (out && found < room) {
            char *memory = strchr(at, ':');
            out[found] = (process){(unsigned)atoi(at), memory ? strtoull(memory + 1, NULL, 0) : ~0ULL, ~0U, ~0U};
        }
    *n = found;
    return found > room ? TOO_SMALL : OK;
}
API int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *n, process *out) { return processes(d, "nvmlDeviceGetComputeRunningProcesses", n, out); }
API int nvmlDeviceGetMPSComputeRunningProcesses_v3(device *d, unsigned *n, process *out) { return processes(d, "nvmlDeviceGetMPSComputeRunningProcesses", n, out); }
typedef struct { unsigned pid; ull time; unsigned sm, memory, encoder, decoder; } process_sample;
API int nvmlDeviceGetProcessUtilization(device *d, process_sample *out, unsigned *n, ull since)
{
    char answer[160], *save = NULL;
    int code = ask_device(d, "nvmlDeviceGetProcessUtilization", answer);
    unsigned found = 0, room = *n;
    (void)since;
    if (code) return code;
    for (char *at = strtok_r(answer, ", ", &save); at && *at != '-' && *at != '+'; at = strtok_r(NULL, ", ", &save), found++) {
        process_sample s = {0};
        sscanf(at, "%u:%llu:%u:%u:%u:%u", &s.pid, &s.time, &s.sm, &s.memory, &s.encoder, &s.decoder);
        if (out && found < room) out[found] = s;
    }
    *n = found;
    return !found && *answer != '+' ? NOT_FOUND : found > room ? TOO_SMALL : OK;
}

/* -- the performance monitor: "gpm/ID"; a metric is the average of both samples ---------------------------------------- */
typedef struct { double values[512]; } gpm_sample;
typedef struct { unsigned id; int code; double value; char *info[3]; } gpm_metric;
typedef struct { unsigned version, n; gpm_sample *before, *now; gpm_metric metrics[]; } gpm_request;
typedef struct { unsigned version, supported; } gpm_support;
API int nvmlGpmQueryDeviceSupport(device *d, gpm_support *out)
{
    double v = 0;
    int code = number(d, "nvmlGpmQueryDeviceSupport", &v);
    out->supported = v != 0;
    return code == NOT_SUPPORTED ? OK : code;
}
API int nvmlGpmSampleAlloc(gpm_sample **out) { return (*out = calloc(1, sizeof **out)) ? OK : 999; }
API int nvmlGpmSampleFree(gpm_sample *sample) { free(sample); return OK; }
API int nvmlGpmSampleGet(device *d, gpm_sample *sample)
{
    char key[64], answer[160];
    int code = ask_device(d, "nvmlGpmSampleGet", answer);
    if (code && code != NOT_SUPPORTED) return code;
    for (unsigned id = 1; id < 62; id = id == 13 ? 20 : id == 21 ? 60 : id + 1)
        if (number(d, with(key, "gpm", id), &sample->values[id])) sample->values[id] = -1e300;
    return OK;
}
API int nvmlGpmMigSampleGet(device *d, unsigned instance, gpm_sample *sample)
{
    double v;
    for (device *i = d + 1; i <= d + INSTANCES; i++)
        if (!number(i, "nvmlDeviceGetGpuInstanceId", &v) && (unsigned)v == instance) return nvmlGpmSampleGet(i, sample);
    return NOT_FOUND;
}
API int nvmlGpmMetricsGet(gpm_request *request)
{
    if (request->version != 1) return VERSION_MISMATCH;
    for (unsigned i = 0; i < request->n; i++) {
        gpm_metric *metric = &request->metrics[i];
        double before = request->before->values[metric->id], now = request->now->values[metric->id];
        metric->code = before == -1e300 || now == -1e300 ? NOT_SUPPORTED : OK;
        metric->value = metric->code ? 0 : (before + now) / 2;
    }
    return OK;
}

/* -- events -------------------------------------------------------------------------------------------------------- */
typedef struct { ull types[GPUS]; int taken, dead; } event_set;
typedef struct { device *device; ull type, data; unsigned gpu_instance, compute_instance; } event;
API int nvmlEventSetCreate(event_set **out)
{
    event_set *set = calloc(1, sizeof *set);
    pthread_mutex_lock(&lock); /* what happened before is not told */
    reload();
    for (int i = 0; i < count; i++) set->taken += !strcmp(lines[i].key, "event");
    pthread_mutex_unlock(&lock);
    *out = set;
    return OK;
}
API int nvmlEventSetFree(event_set *set) { free(set); return OK; }
NUMBER(nvmlDeviceGetSupportedEventTypes, ull)
API int nvmlDeviceRegisterEvents(device *d, ull types, event_set *set)
{
    set->types[(d - devices) / SLOTS] |= types;
    return OK;
}
API int nvmlEventSetWait_v2(event_set *set, event *out, unsigned timeout_ms)
{
    char all[160];
    int seen = 0, code = TIMEOUT;
    if (lookup("sys", "*", all) && *all == '!') return atoi(all + 1);
    if (lookup("sys", "nvmlEventSetWait", all) && *all == '!') set->dead = atoi(all + 1);
    if (set->dead) return set->dead; /* from then on */
    pthread_mutex_lock(&lock);
    reload();
    for (int i = 0; i < count && code == TIMEOUT; i++) {
        ull type, data;
        unsigned gpu, instance = ~0U;
        if (strcmp(lines[i].key, "event") || seen++ < set->taken) continue;
        set->taken++;
        if (sscanf(lines[i].answer, "%llu %llu %u %u", &type, &data, &gpu, &instance) < 3 || !(set->types[gpu] & type)) continue;
        *out = (event){&devices[gpu * SLOTS], type, data, instance, instance};
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    if (code == TIMEOUT) usleep(timeout_ms * 1000);
    return code;
}

/* -- topology ------------------------------------------------------------------------------------------------------ */
API int nvmlDeviceGetTopologyCommonAncestor(device *one, device *other, unsigned *out)
{
    double v;
    char key[64];
    int code = number(one, with(key, "nvmlDeviceGetTopologyCommonAncestor", (unsigned)((other - devices) / SLOTS)), &v);
    if (code == NOT_SUPPORTED) code = number(one, "nvmlDeviceGetTopologyCommonAncestor", &v);
    if (!code) *out = (unsigned)v;
    return code;
}
API int nvmlDeviceGetCpuAffinity(device *d, unsigned words, unsigned long *out)
{
    char answer[160];
    int code = ask_device(d, "nvmlDeviceGetCpuAffinity", answer);
    if (!code && words) memset(out, 0, words * sizeof *out), out[0] = strtoul(answer, NULL, 0);
    return code;
}
API int nvmlDeviceGetMemoryAffinity(device *d, unsigned words, unsigned long *out, unsigned scope)
{
    char answer[160];
    (void)scope;
    int code = ask_device(d, "nvmlDeviceGetMemoryAffinity", answer);
    if (!code && words) out[0] = strtoul(answer, NULL, 0);
    return code;
}
/* the number of links that are up, then how many there are */
API int nvmlDeviceGetNvLinkState(device *d, unsigned link, unsigned *out)
{
    double v[2];
    int code = numbers(d, "nvmlDeviceGetNvLinkState", v, 2);
    if (code) return code;
    if (link >= v[1]) return BAD_ARGUMENT;
    *out = link < v[0];
    return OK;
}
API int nvmlDeviceGetNvLinkRemoteDeviceType(device *d, unsigned link, unsigned *out)
{
    double v;
    (void)link;
    int code = number(d, "nvmlDeviceGetNvLinkRemoteDeviceType", &v);
    if (!code) *out = (unsigned)v;
    return code;
}
API int nvmlDeviceGetNvLinkRemotePciInfo_v2(device *d, unsigned link, pci *out)
{
    char key[64];
    memset(out, 0, sizeof *out);
    return text(d, with(key, "nvmlDeviceGetNvLinkRemotePciInfo", link), out->address, sizeof out->address);
}
