/* What a batch of a million updates takes, beyond the caller's own texts, and when it ends. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "portal.h"

#include <time.h>

enum { UPDATES = 1000000, DEADLINE_MS = 2000, MOST_KIB = 250 * 1024 };

/* A number of /proc/self/status, in KiB. */
static long told(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long number = -1;
    while (file != NULL && number < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            number = strtol(line + strlen(name), NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return number;
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(void)
{
    portal_start();
    portal_reset("{\"log\":0}");
    b24_config *config = portal_config();
    CHECK_NUMBER(b24_config_set(config, "rate_limit", "off", NULL), B24_OK);
    char deadline[16];
    snprintf(deadline, sizeof deadline, "%d", DEADLINE_MS);
    CHECK_NUMBER(b24_config_set(config, "timeout_ms", deadline, NULL), B24_OK);
    b24_client *client = NULL;
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    b24_config_free(config);
    CHECK_NUMBER(b24_message_status_update(client, "provider1", "warm", "sent", NULL), B24_OK);

    long before = told("VmRSS:");
    b24_batch *batch = b24_batch_new();
    for (int i = 0; i < UPDATES; i++) {
        char message_id[33];
        snprintf(message_id, sizeof message_id, "%032d", i);
        b24_batch_add(batch, "provider1", message_id, "sent");
    }
    long held = told("VmRSS:") - before;
    double started = milliseconds();
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_TIMEOUT);
    double took = milliseconds() - started;
    size_t applied = 0;
    size_t late = 0;
    size_t told_so = 0;
    for (size_t i = 0; i < UPDATES; i++) {
        const b24_error *error = b24_batch_error(batch, i);
        applied += error == NULL;
        late += b24_error_code(error) == B24_TIMEOUT;
        told_so += strstr(b24_error_message(error), "raise timeout_ms") != NULL;
    }
    long peak = told("VmHWM:") - before;
    CHECK(applied > 0);
    CHECK_NUMBER(applied + late, UPDATES);
    CHECK_NUMBER(told_so, late);
    CHECK(peak < MOST_KIB);
    printf("a batch of %d, deadline %d ms: %.0f ms, %zu applied; %ld KiB held, %ld KiB at the peak\n",
           UPDATES, DEADLINE_MS, took, applied, held, peak);
    b24_batch_free(batch);
    b24_client_free(client);
    portal_stop();
    return summary("memory");
}
