/* Reports the status of one message to a portal.
 *
 *     B24_ACCESS_TOKEN=… ./single portal=portal.bitrix24.com provider1 MESSAGE_ID delivered */
#include "options.h"

int main(int argc, char **argv)
{
    int next;
    b24_config *config = read_options(argc, argv, &next);
    if (argc - next != 3) {
        fprintf(stderr, "usage: %s portal=HOST [NAME=VALUE ...] CODE MESSAGE_ID STATUS\n", argv[0]);
        b24_config_free(config);
        return EXIT_FAILURE;
    }

    b24_client *client = NULL;
    b24_error *error = NULL;
    b24_code code = b24_client_new(config, &client, &error);
    b24_config_free(config);
    if (code == B24_OK) {
        code = b24_message_status_update(client, argv[next], argv[next + 1], argv[next + 2], &error);
    }

    switch (code) {
    case B24_OK:
        puts("stored");
        break;
    case B24_MESSAGE_NOT_FOUND:
        /* Do not send it again: the message was deleted, or it is another provider's. */
        puts("the portal does not know this message");
        break;
    default:
        fprintf(stderr, "%s: %s%s\n", b24_code_name(code), b24_error_message(error),
                b24_error_is_retryable(error) ? " (try again later)" : "");
    }
    b24_error_free(error);
    b24_client_free(client);
    b24_renewals_wait(RENEWALS_MS, NULL);
    return code == B24_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
