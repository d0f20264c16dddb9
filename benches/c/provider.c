/* What a provider costs: reports beside the disk's own writes, and drains.
 *
 *     provider COMMAND OPTIONS ARGUMENT...
 *
 * OPTIONS are those of the provider, a line NAME=VALUE for each. The portals are numbered from 1. Times are
 * printed in microseconds.
 *
 *     install OPTIONS AUTH              installs a portal
 *     compare OPTIONS FILE ROUNDS CALLS reports and writes of a block in turns: a line of times of each
 *     contend OPTIONS FILE              waits for lines on stdin: "report MS" and "write MS" do that for so
 *                                       long, and print a line of times
 *     fill OPTIONS FIRST LAST COUNT     stores COUNT receipts of each of these portals
 *     steady OPTIONS PORTALS COUNT MS NAME  reports so many in this time, to the portals in turn
 *     drain OPTIONS MS                  drains, until stdin ends; prints the counts and the peak of memory */
#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 1024, ROUND_MAX = 100000, WARM_UP = 1200 };

/* A file that is written in place, a block at a time, as a log is that has its size already. */
static int file;
static long written;

static double times[ROUND_MAX];

static void fail(const char *what)
{
    give_up(what, strerror(errno));
}

static void open_file(const char *path)
{
    static char zeros[BLOCK];
    file = open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0) {
        fail(path);
    }
    for (off_t at = lseek(file, 0, SEEK_END); at < (off_t)BLOCK * BLOCKS; at += BLOCK) {
        if (pwrite(file, zeros, BLOCK, at) != BLOCK) {
            fail(path);
        }
    }
    if (fsync(file) != 0) {
        fail(path);
    }
}

static void write_block(int locked)
{
    static char block[BLOCK];
    memset(block, (int)(written % 251), BLOCK);
    if (locked && flock(file, LOCK_EX) != 0) {
        fail("flock");
    }
    if (pwrite(file, block, BLOCK, (off_t)(written % BLOCKS) * BLOCK) != BLOCK || fdatasync(file) != 0) {
        fail("fdatasync");
    }
    if (locked && flock(file, LOCK_UN) != 0) {
        fail("flock");
    }
    written++;
}

static b24_provider *open_provider(const char *options)
{
    b24_config *config = b24_config_new();
    char *lines = strdup(options);
    for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *value = strchr(line, '=');
        if (value == NULL) {
            give_up(line, "is not NAME=VALUE");
        }
        *value = '\0';
        set(config, line, value + 1);
    }
    free(lines);
    b24_provider *provider = NULL;
    b24_error *error = NULL;
    require(b24_provider_open(config, &provider, &error), error);
    b24_config_free(config);
    return provider;
}

static const char *member_id(long portal)
{
    static char member[33];
    snprintf(member, sizeof member, "%032lx", (unsigned long)portal);
    return member;
}

/* One receipt of a message that nobody has reported yet. */
static void report(b24_provider *provider, long portal, const char *name)
{
    static long number;
    char message[96];
    b24_error *error = NULL;
    snprintf(message, sizeof message, "%s-%d-%ld", name, (int)getpid(), number++);
    require(b24_provider_report(provider, member_id(portal), PROVIDER, message, STATUS, 0, &error), error);
}

static void print_times(const double *of, long count)
{
    for (long i = 0; i < count; i++) {
        printf(i == 0 ? "%.0f" : " %.0f", of[i] * 1e6);
    }
    printf("\n");
    fflush(stdout);
}

static void compare(b24_provider *provider, long rounds, long calls)
{
    if (2 * calls > ROUND_MAX) {
        give_up("CALLS", "are too many");
    }
    /* Until the store's log has its size, as the file of blocks has. */
    for (long i = 0; i < WARM_UP; i++) {
        report(provider, 1, "first");
    }
    for (long round = 0; round < rounds; round++) {
        /* In turns, so that what else the machine does hits both. */
        for (long i = 0; i < 2 * calls; i++) {
            double start = seconds();
            if (i % 2 == 0) {
                report(provider, 1, "compare");
            } else {
                write_block(0);
            }
            times[i / 2 + i % 2 * calls] = seconds() - start;
        }
        print_times(times, calls);
        print_times(times + calls, calls);
    }
}

static void contend(b24_provider *provider)
{
    char what[16];
    long ms;
    report(provider, 1, "first");
    printf("ready\n");
    fflush(stdout);
    while (scanf("%15s %ld", what, &ms) == 2) {
        double end = seconds() + (double)ms / 1e3;
        long count = 0;
        for (double start = seconds(); start < end && count < ROUND_MAX; count++) {
            if (strcmp(what, "report") == 0) {
                report(provider, 1, "contend");
            } else {
                write_block(1);
            }
            double now = seconds();
            times[count] = now - start;
            start = now;
        }
        print_times(times, count);
    }
}

static void fill(b24_provider *provider, long first, long last, long count)
{
    for (long portal = first; portal <= last; portal++) {
        b24_batch *batch = b24_batch_new();
        b24_error *error = NULL;
        for (long i = 0; i < count; i++) {
            char message[96];
            snprintf(message, sizeof message, "fill-%d-%ld-%ld", (int)getpid(), portal, i);
            b24_batch_add(batch, PROVIDER, message, STATUS);
        }
        require(b24_provider_report_batch(provider, member_id(portal), batch, &error), error);
        b24_batch_free(batch);
    }
}

static void steady(b24_provider *provider, long portals, long count, long ms, const char *name)
{
    double start = seconds();
    for (long i = 0; i < count; i++) {
        double wait = start + (double)i * (double)ms / 1e3 / (double)count - seconds();
        if (wait > 0) {
            struct timespec pause = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
            nanosleep(&pause, NULL);
        }
        report(provider, 1 + i % portals, name);
    }
    printf("{\"seconds\": %.3f}\n", seconds() - start);
}

static void *cancel_at_end(void *provider)
{
    while (getchar() != EOF) {
    }
    b24_provider_cancel(provider);
    return NULL;
}

static long peak_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        sscanf(line, "VmHWM: %ld kB", &kb);
    }
    if (status != NULL) {
        fclose(status);
    }
    return kb;
}

static void drain(b24_provider *provider, long ms)
{
    b24_drained *drained = NULL;
    b24_error *error = NULL;
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancel_at_end, provider) != 0) {
        fail("pthread_create");
    }
    b24_code code = b24_provider_drain(provider, ms, &drained, &error);
    if (code != B24_CANCELLED) {
        require(code, error);
    }
    b24_error_free(error);
    printf("{\"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"held\": %" PRIu64 ", \"waiting\": %" PRIu64
           ", \"peak_kb\": %ld}\n",
           b24_drained_sent(drained), b24_drained_refused(drained), b24_drained_held(drained),
           b24_drained_waiting(drained), peak_kb());
    b24_drained_free(drained);
    fflush(stdout);
    /* The thread may wait for stdin. */
    _exit(EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        give_up("usage", "provider COMMAND OPTIONS ARGUMENT...");
    }
    const char *command = argv[1];
    b24_provider *provider = open_provider(argv[2]);
    if (strcmp(command, "install") == 0) {
        b24_error *error = NULL;
        require(b24_provider_install(provider, argv[3], "", &error), error);
    } else if (strcmp(command, "compare") == 0 && argc == 6) {
        open_file(argv[3]);
        compare(provider, number(argv[4]), number(argv[5]));
    } else if (strcmp(command, "contend") == 0) {
        open_file(argv[3]);
        contend(provider);
    } else if (strcmp(command, "fill") == 0 && argc == 6) {
        fill(provider, number(argv[3]), number(argv[4]), number(argv[5]));
    } else if (strcmp(command, "steady") == 0 && argc == 7) {
        steady(provider, number(argv[3]), number(argv[4]), number(argv[5]), argv[6]);
    } else if (strcmp(command, "drain") == 0) {
        drain(provider, number(argv[3]));
    } else {
        give_up(command, "is no command, or lacks arguments");
    }
    b24_provider_close(provider);
    return EXIT_SUCCESS;
}
