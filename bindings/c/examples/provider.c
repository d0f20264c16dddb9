/* What the handler of a provider does with one request of a portal, and what becomes of a message.
 *
 *     B24_CLIENT_SECRET=… ./provider store=sqlite:/var/lib/sms/b24.db client_id=app.1 < body
 *
 * The input is the body of the request, as the web server has it; an argument after the options is
 * its Content-Type. An installation is stored. A message is "sent" and "arrives" at once; its
 * receipts are stored, and drained to the portal. The last line is for the web server: the HTTP
 * status to answer. */
#include "options.h"

/* What the library reads at most, and one byte more, so that it sees if there is more. */
enum { BODY_MAX = (1 << 20) + 1 };

/* How long receipts are sent before the program ends. A handler would leave that to another process. */
enum { DRAIN_MS = 1500 };

/* The HTTP status for the outcome of b24_provider_receive. */
static int answer(b24_code code)
{
    switch (code) {
    case B24_OK: return 200;
    case B24_INVALID_ARGUMENT: return 400;
    case B24_ACCESS_DENIED: return 403;
    default: return 503;
    }
}

/* Sends a message, and reports what became of it. */
static void send_message(b24_provider *provider, const b24_request *request)
{
    const char *member_id = b24_request_get(request, "member_id");
    const char *code = b24_request_get(request, "code");
    const char *message_id = b24_request_get(request, "message_id");
    b24_error *error = NULL;
    printf("message %s to %s: %s\n", message_id, b24_request_get(request, "message_to"),
           b24_request_get(request, "message_body"));

    /* Receipts may come in any order: `sent` does not replace `delivered`. 0 stands for now. */
    check(b24_provider_report(provider, member_id, code, message_id, "delivered", 0, &error), &error);
    check(b24_provider_report(provider, member_id, code, message_id, "sent", 0, &error), &error);

    b24_drained *drained = NULL;
    check(b24_provider_drain(provider, DRAIN_MS, &drained, &error), &error);
    printf("%llu sent, %llu refused, %llu held, %llu waiting\n",
           (unsigned long long)b24_drained_sent(drained),
           (unsigned long long)b24_drained_refused(drained),
           (unsigned long long)b24_drained_held(drained),
           (unsigned long long)b24_drained_waiting(drained));
    b24_drained_free(drained);
}

int main(int argc, char **argv)
{
    int next;
    b24_config *config = read_options(argc, argv, &next);
    const char *content_type = next < argc ? argv[next] : "application/x-www-form-urlencoded";
    b24_provider *provider = NULL;
    b24_error *error = NULL;
    b24_code code = b24_provider_open(config, &provider, &error);
    b24_config_free(config);
    check(code, &error);

    static char body[BODY_MAX];
    size_t length = fread(body, 1, sizeof body, stdin);
    b24_request *request = NULL;
    code = b24_provider_receive(provider, content_type, body, length, &request, &error);
    if (code != B24_OK) {
        fprintf(stderr, "%s: %s\n", b24_code_name(code), b24_error_message(error));
        b24_error_free(error);
    } else {
        switch (b24_request_kind_of(request)) {
        case B24_REQUEST_MESSAGE:
            send_message(provider, request);
            break;
        case B24_REQUEST_INSTALL:
            printf("installed on %s\n", b24_request_get(request, "member_id"));
            break;
        case B24_REQUEST_UNINSTALL:
            printf("removed from %s\n", b24_request_get(request, "member_id"));
            break;
        case B24_REQUEST_FRAME:
            /* On the page of the installation wizard: b24_provider_install_request. */
            printf("a page was opened\n");
            break;
        }
    }
    printf("answer %d\n", answer(code));

    b24_request_free(request);
    b24_provider_close(provider);
    b24_renewals_wait(RENEWALS_MS, NULL);
    return code == B24_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
