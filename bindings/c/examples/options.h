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

/* Ends the program if the call failed. It takes the address of the error, because C does not say which
 * argument is evaluated first: the call, which sets the error, or the error. */
static void check(b24_code code, b24_error **error)
{
    if (code != B24_OK) {
        fprintf(stderr, "%s: %s\n", b24_code_name(code), b24_error_message(*error));
        b24_error_free(*error);
        exit(EXIT_FAILURE);
    }
}

/* A configuration from the leading NAME=VALUE arguments, such as portal=portal.bitrix24.com; *next
 * is the index of the first other argument. Secrets may also come from the environment, because other
 * users of the machine can read command lines: a client's access token from B24_ACCESS_TOKEN, the
 * application's secret from B24_CLIENT_SECRET. */
static b24_config *read_options(int argc, char **argv, int *next)
{
    static const char *const secrets[][2] = {
        {"B24_ACCESS_TOKEN", "access_token"},
        {"B24_CLIENT_SECRET", "client_secret"},
    };
    b24_config *config = b24_config_new();
    b24_error *error = NULL;
    check(b24_version_check(B24_VERSION_NUMBER, &error), &error);
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        const char *secret = getenv(secrets[i][0]);
        if (secret != NULL) {
            check(b24_config_set(config, secrets[i][1], secret, &error), &error);
        }
    }
    for (*next = 1; *next < argc; ++*next) {
        char *value = strchr(argv[*next], '=');
        if (value == NULL) {
            break;
        }
        *value++ = '\0';
        check(b24_config_set(config, argv[*next], value, &error), &error);
    }
    return config;
}

#endif
