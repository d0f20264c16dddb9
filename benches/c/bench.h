/* What the measuring programs share: the message they report, and how they reach the emulator. */
#ifndef B24_BENCH_H
#define B24_BENCH_H

#include <b24_messageservice.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define HOST "portal.bitrix24.test"
#define METHOD "/rest/messageservice.message.status.update"
#define PROVIDER "provider1"
#define MESSAGE_ID "65575980fa531ac284c2ee68f81ebebd"
#define STATUS "delivered"
#define TOKEN "access-0000000000000001"

static inline _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static inline long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1) {
        give_up(text, "is not a number above 0");
    }
    return value;
}

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void require(b24_code code, b24_error *error)
{
    if (code != B24_OK) {
        give_up("b24-messageservice", b24_error_message(error));
    }
}

static inline void set(b24_config *config, const char *name, const char *value)
{
    b24_error *error = NULL;
    require(b24_config_set(config, name, value, &error), error);
}

/* A configuration for the emulator on this port: over TLS if there is a root certificate, and without
 * the rate limit, whose waits would be all that is measured. */
static inline b24_config *bench_config(long port, const char *ca_file)
{
    char resolve[64];
    b24_config *config = b24_config_new();
    snprintf(resolve, sizeof resolve, HOST ":%d:127.0.0.1:%ld", ca_file != NULL ? 443 : 80, port);
    set(config, "portal", ca_file != NULL ? "https://" HOST : "http://" HOST);
    set(config, "resolve", resolve);
    set(config, "access_token", TOKEN);
    set(config, "rate_limit", "off");
    set(config, "proxy", "none");
    if (ca_file != NULL) {
        set(config, "ca_file", ca_file);
    } else {
        set(config, "allow_http", "true");
    }
    return config;
}

static inline b24_client *bench_client(b24_config *config)
{
    b24_client *client = NULL;
    b24_error *error = NULL;
    require(b24_client_new(config, &client, &error), error);
    b24_config_free(config);
    return client;
}

static inline void bench_update(b24_client *client)
{
    b24_error *error = NULL;
    require(b24_message_status_update(client, PROVIDER, MESSAGE_ID, STATUS, &error), error);
}

#endif
