/* What the examples share: options on the command line, and the check of a call. */
#ifndef EXAMPLE_OPTIONS_H
#define EXAMPLE_OPTIONS_H

#include <b24_messageservice.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long to wait for renewals of tokens before the program ends. A renewal may take longer than the
 * call that started it, and only its answer has tokens that work. */
enum { RENEWALS_MS = 45000 };

/* Ends the program if the call failed. */
static void check(b24_code code, b24_error *error)
{
    if (code != B24_OK) {
        fprintf(stderr, "%s: %s\n", b24_code_name(code), b24_error_message(error));
        b24_error_free(error);
        exit(EXIT_FAILURE);
    }
}

/* A configuration from the leading NAME=VALUE arguments, such as portal=portal.bitrix24.com; *next
 * is the index of the first other argument. The access token may also come from the environment,
 * because other users of the machine can read command lines. */
static b24_config *read_options(int argc, char **argv, int *next)
{
    b24_config *config = b24_config_new();
    b24_error *error = NULL;
    const char *token = getenv("B24_ACCESS_TOKEN");
    if (token != NULL) {
        check(b24_config_set(config, "access_token", token, &error), error);
    }
    for (*next = 1; *next < argc; ++*next) {
        char *value = strchr(argv[*next], '=');
        if (value == NULL) {
            break;
        }
        *value++ = '\0';
        check(b24_config_set(config, argv[*next], value, &error), error);
    }
    return config;
}

#endif
