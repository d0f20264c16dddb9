/* Reports the statuses of many messages, fifty in a request, and prints the outcome of each.
 *
 *     B24_ACCESS_TOKEN=… ./batch portal=portal.bitrix24.com < updates.txt
 *
 * Each line of the input has a provider code, a message id and a status, separated by blanks. */
#include "options.h"

int main(int argc, char **argv)
{
    int next;
    b24_config *config = read_options(argc, argv, &next);
    b24_client *client = NULL;
    b24_error *error = NULL;
    b24_code code = b24_client_new(config, &client, &error);
    b24_config_free(config);
    check(code, &error);

    b24_batch *batch = b24_batch_new();
    char line[1024];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char provider[256];
        char message_id[513];
        char status[32];
        if (sscanf(line, "%255s %512s %31s", provider, message_id, status) == 3) {
            b24_batch_add(batch, provider, message_id, status);
        } else {
            fprintf(stderr, "passed over: %s", line);
        }
    }

    /* The code returned is that of the first failure; the loop below prints all of them. */
    code = b24_message_status_update_batch(client, batch, NULL);
    size_t count = b24_batch_len(batch);
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        const b24_error *failure = b24_batch_error(batch, i);
        if (failure != NULL) {
            failed++;
            printf("update %zu: %s%s\n", i + 1, b24_error_message(failure),
                   b24_error_is_retryable(failure) ? " (try again later)" : "");
        }
    }
    printf("%zu stored, %zu not\n", count - failed, failed);

    b24_batch_free(batch);
    b24_client_free(client);
    b24_renewals_wait(RENEWALS_MS, NULL);
    return code == B24_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
