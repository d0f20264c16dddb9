/* A status update from C. usage: demo PORTAL ACCESS_TOKEN CA_FILE RESOLVE */
#include <b24_messageservice.h>
#include <stdio.h>

int main(int argc, char **argv) {
    static const char *const names[] = {"portal", "access_token", "ca_file", "resolve"};
    b24_config *config = b24_config_new();
    b24_client *client = NULL;
    b24_error *error = NULL;
    b24_code code = B24_OK;
    for (int i = 1; i < argc && i <= 4 && code == B24_OK; i++)
        code = b24_config_set(config, names[i - 1], argv[i], &error);
    if (code == B24_OK)
        code = b24_client_new(config, &client, &error);
    if (code == B24_OK)
        code = b24_message_status_update(client, "provider1", "from-c", "delivered", &error);
    if (code != B24_OK)
        fprintf(stderr, "demo: %s\n", b24_error_message(error));
    b24_error_free(error);
    b24_client_free(client);
    b24_config_free(config);
    return code == B24_OK ? 0 : 1;
}
