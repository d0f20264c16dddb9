/* A provider in C: receives a portal's requests, stores a receipt, and sends it.
 * usage: demo STORE CLIENT_ID CLIENT_SECRET OAUTH_URL CA_FILE RESOLVE INSTALLATION MESSAGE */
#include <b24_messageservice.h>
#include <stdio.h>

static const char form[] = "application/x-www-form-urlencoded";

/* Reads a request of the portal from a file, and tracks its message if it is one. */
static b24_code receive(b24_provider *provider, const char *path, b24_error **error) {
    static char body[1 << 20];
    b24_request *request = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return B24_INVALID_ARGUMENT;
    size_t length = fread(body, 1, sizeof body, file);
    fclose(file);
    b24_code code = b24_provider_receive(provider, form, body, length, &request, error);
    if (code == B24_OK && b24_request_kind_of(request) == B24_REQUEST_MESSAGE)
        code = b24_provider_track(provider, "c-1", b24_request_get(request, "member_id"),
                                  b24_request_get(request, "code"),
                                  b24_request_get(request, "message_id"), error);
    b24_request_free(request);
    return code;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"store",     "client_id", "client_secret",
                                        "oauth_url", "ca_file",   "resolve"};
    b24_config *config = b24_config_new();
    b24_provider *provider = NULL;
    b24_drained *drained = NULL;
    b24_error *error = NULL;
    b24_code code = argc == 9 ? B24_OK : B24_INVALID_ARGUMENT;
    for (int i = 0; i < 6 && code == B24_OK; i++)
        code = b24_config_set(config, names[i], argv[i + 1], &error);
    if (code == B24_OK)
        code = b24_provider_open(config, &provider, &error);
    for (int i = 7; i < 9 && code == B24_OK; i++)
        code = receive(provider, argv[i], &error);
    if (code == B24_OK)
        code = b24_provider_report_reference(provider, "c-1", "delivered", 0, &error);
    if (code == B24_OK)
        code = b24_provider_drain(provider, 1000, &drained, &error);
    if (code == B24_OK)
        printf("C: %d sent, %d waiting\n", (int)b24_drained_sent(drained),
               (int)b24_drained_waiting(drained));
    else
        fprintf(stderr, "demo: %s\n", error ? b24_error_message(error) : "wrong arguments");
    b24_error_free(error);
    b24_drained_free(drained);
    b24_provider_close(provider);
    b24_config_free(config);
    return code == B24_OK ? 0 : 1;
}
