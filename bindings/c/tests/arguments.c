/* What a caller can hand over by mistake: NULL in every argument of every function, texts that are
 * not UTF-8, texts of a megabyte, handles that were set to NULL after their free. None of it may
 * reach the network, so no portal is needed. */
#include <b24_messageservice.h>

#include "check.h"
#include "portal.h"

enum { HUGE_LENGTH = 1 << 20 };

static const char invalid_utf8[] = "\xC3\x28\xFF";

static b24_config *config;
static b24_client *client;
static b24_provider *provider;

/* Expects B24_INVALID_ARGUMENT whose message names the argument, and frees the error. (Taken by its
 * place: the call that sets it may be an argument beside it.) */
static void refused(b24_code code, b24_error **place, const char *argument)
{
    b24_error *error = *place;
    CHECK_NUMBER(code, B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_error_code(error), B24_INVALID_ARGUMENT);
    if (!CHECK(strstr(b24_error_message(error), argument) != NULL)) {
        fprintf(stderr, "    \"%s\" does not name %s\n", b24_error_message(error), argument);
    }
    CHECK_TEXT(b24_error_portal_code(error), "");
    CHECK_TEXT(b24_error_description(error), "");
    CHECK_NUMBER(b24_error_http_status(error), 0);
    CHECK(!b24_error_is_retryable(error));
    CHECK_NUMBER(b24_error_retry_after_ms(error), -1);
    b24_error_free(error);
}

static void nothing(const b24_tokens *tokens, void *user)
{
    (void)tokens;
    (void)user;
}

static void no_record(int32_t level, const char *target, const char *message, void *user)
{
    (void)level;
    (void)target;
    (void)message;
    (void)user;
}

static void frees_take_null(void)
{
    b24_config_free(NULL);
    b24_client_free(NULL);
    b24_batch_free(NULL);
    b24_sender_free(NULL);
    b24_list_free(NULL);
    b24_tokens_free(NULL);
    b24_error_free(NULL);
    b24_client_cancel(NULL);
    b24_provider_close(NULL);
    b24_provider_cancel(NULL);
    b24_cancel_token_cancel(NULL);
    b24_cancel_token_free(NULL);
    b24_request_free(NULL);
    b24_drained_free(NULL);
    b24_vocabulary_free(NULL);
    CHECK(true);
}

static void questions_take_null(void)
{
    CHECK_TEXT(b24_version(), B24_VERSION);
    CHECK_NUMBER(b24_version_number(), B24_VERSION_NUMBER);
    CHECK_NUMBER(b24_error_code(NULL), B24_OK);
    CHECK_TEXT(b24_error_message(NULL), "");
    CHECK_TEXT(b24_error_portal_code(NULL), "");
    CHECK_TEXT(b24_error_description(NULL), "");
    CHECK_NUMBER(b24_error_http_status(NULL), 0);
    CHECK(!b24_error_is_retryable(NULL));
    CHECK_NUMBER(b24_error_retry_after_ms(NULL), -1);
    CHECK_TEXT(b24_tokens_access_token(NULL), "");
    CHECK_TEXT(b24_tokens_refresh_token(NULL), "");
    CHECK_TEXT(b24_tokens_client_endpoint(NULL), "");
    CHECK_TEXT(b24_tokens_member_id(NULL), "");
    CHECK_NUMBER(b24_tokens_expires(NULL), 0);
    CHECK(b24_client_tokens(NULL) == NULL);
    CHECK_NUMBER(b24_batch_len(NULL), 0);
    CHECK_NUMBER(b24_error_code(b24_batch_error(NULL, 0)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_list_len(NULL), 0);
    CHECK_TEXT(b24_list_get(NULL, 0, "code"), "");
    CHECK_TEXT(b24_list_get(NULL, 0, NULL), "");
    CHECK_NUMBER(b24_request_kind_of(NULL), B24_REQUEST_MESSAGE);
    CHECK_TEXT(b24_request_get(NULL, "code"), "");
    CHECK_TEXT(b24_request_get(NULL, NULL), "");
    CHECK_NUMBER(b24_drained_sent(NULL), 0);
    CHECK_NUMBER(b24_drained_refused(NULL), 0);
    CHECK_NUMBER(b24_drained_held(NULL), 0);
    CHECK_NUMBER(b24_drained_waiting(NULL), 0);
    CHECK_NUMBER(b24_drained_next_due_ms(NULL), -1);
}

static void config_set_takes_null(void)
{
    b24_error *error = NULL;
    refused(b24_config_set(NULL, "portal", "portal.bitrix24.com", &error), &error, "config");
    refused(b24_config_set(config, NULL, "portal.bitrix24.com", &error), &error, "name");
    refused(b24_config_set(config, "portal", NULL, &error), &error, "value");
    refused(b24_config_set(config, invalid_utf8, "1", &error), &error, "name");
    refused(b24_config_set(config, "user_agent", invalid_utf8, &error), &error, "value");
    CHECK_NUMBER(b24_config_set(NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_config_set(config, "no_such_option", "1", NULL), B24_INVALID_CONFIG);
    CHECK_NUMBER(b24_config_set(config, "timeout_ms", "30000", &error), B24_OK);
    CHECK(error == NULL);

    refused(b24_config_on_renewal(NULL, nothing, NULL, &error), &error, "config");
    refused(b24_config_on_renewal(config, NULL, NULL, &error), &error, "callback");
    CHECK_NUMBER(b24_config_on_renewal(NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_config_on_renewal(config, nothing, NULL, &error), B24_OK);
    CHECK(error == NULL);
}

static void waiting_takes_a_time(void)
{
    b24_error *error = NULL;
    refused(b24_renewals_wait(-1, &error), &error, "timeout_ms");
    refused(b24_renewals_wait(INT64_MIN, &error), &error, "timeout_ms");
    CHECK_NUMBER(b24_renewals_wait(-1, NULL), B24_INVALID_ARGUMENT);
    const int64_t times[] = {0, 1, INT64_MAX}; /* none is under way: none of them is waited for */
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        error = (b24_error *)&error;
        CHECK_NUMBER(b24_renewals_wait(times[i], &error), B24_OK);
        CHECK(error == NULL);
    }
}

static void clients_take_null(void)
{
    b24_code (*const makers[])(const b24_config *, b24_client **, b24_error **) = {
        b24_client_new, b24_client_shared};
    for (size_t i = 0; i < 2; i++) {
        b24_error *error = NULL;
        b24_client *made = client; /* not NULL, to see it overwritten */
        refused(makers[i](NULL, &made, &error), &error, "config");
        CHECK(made == NULL);
        CHECK_NUMBER(makers[i](NULL, NULL, NULL), B24_INVALID_ARGUMENT);
        CHECK_NUMBER(makers[i](config, NULL, NULL), B24_OK);

        b24_config *empty = b24_config_new();
        made = client;
        CHECK_NUMBER(makers[i](empty, &made, &error), B24_INVALID_CONFIG);
        CHECK(made == NULL);
        CHECK(strstr(b24_error_message(error), "portal") != NULL);
        b24_error_free(error);
        b24_config_free(empty);

        error = (b24_error *)&error; /* not NULL, to see it overwritten */
        CHECK_NUMBER(makers[i](config, &made, &error), B24_OK);
        CHECK(error == NULL);
        b24_client_free(made);
    }
}

static void update_takes_null(void)
{
    b24_error *error = NULL;
    refused(b24_message_status_update(NULL, "p", "m", "sent", &error), &error, "client");
    refused(b24_message_status_update(client, NULL, "m", "sent", &error), &error, "code");
    refused(b24_message_status_update(client, "p", NULL, "sent", &error), &error, "message_id");
    refused(b24_message_status_update(client, "p", "m", NULL, &error), &error, "status");
    refused(b24_message_status_update(client, invalid_utf8, "m", "sent", &error), &error, "code");
    refused(b24_message_status_update(client, "p", invalid_utf8, "sent", &error), &error,
            "message_id");
    refused(b24_message_status_update(client, "p", "m", invalid_utf8, &error), &error, "status");
    CHECK_NUMBER(b24_message_status_update(NULL, NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);
}

static void batch_takes_null(void)
{
    b24_error *error = NULL;
    b24_batch_add(NULL, "p", "m", "sent");
    refused(b24_message_status_update_batch(client, NULL, &error), &error, "batch");
    CHECK_NUMBER(b24_message_status_update_batch(NULL, NULL, NULL), B24_INVALID_ARGUMENT);

    b24_batch *batch = b24_batch_new();
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, &error), B24_OK);
    CHECK(error == NULL);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, 0)), B24_INVALID_ARGUMENT);

    static const char *const entries[][4] = {
        {NULL, "m", "sent", "code"},          {"p", NULL, "sent", "message_id"},
        {"p", "m", NULL, "status"},           {invalid_utf8, "m", "sent", "code"},
        {"p", invalid_utf8, "sent", "message_id"}, {"p", "m", invalid_utf8, "status"},
        {NULL, NULL, NULL, "code"},           {"", "m", "sent", "code"},
        {"p", "", "sent", "message id"},      {"p", "m", "lost", "status"},
    };
    size_t count = sizeof entries / sizeof entries[0];
    for (size_t i = 0; i < count; i++) {
        b24_batch_add(batch, entries[i][0], entries[i][1], entries[i][2]);
        CHECK(b24_batch_error(batch, i) != NULL);
    }
    CHECK_NUMBER(b24_batch_len(batch), count);
    refused(b24_message_status_update_batch(client, batch, &error), &error, "code");
    for (size_t i = 0; i < count; i++) {
        const b24_error *outcome = b24_batch_error(batch, i);
        CHECK_NUMBER(b24_error_code(outcome), B24_INVALID_ARGUMENT);
        CHECK(strstr(b24_error_message(outcome), entries[i][3]) != NULL);
    }
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, count)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, (size_t)-1)), B24_INVALID_ARGUMENT);

    refused(b24_message_status_update_batch(NULL, batch, &error), &error, "client");
    for (size_t i = 0; i < count; i++) {
        CHECK(b24_batch_error(batch, i) != NULL);
    }
    b24_batch_free(batch);
}

static void codes_have_names(void)
{
    CHECK_TEXT(b24_code_name(B24_OK), "B24_OK");
    CHECK_TEXT(b24_code_name(B24_TIMEOUT), "B24_TIMEOUT");
    CHECK_TEXT(b24_code_name(B24_STORAGE), "B24_STORAGE");
    CHECK_TEXT(b24_code_name((b24_code)1000), "B24_UNKNOWN");
    CHECK_TEXT(b24_code_name((b24_code)-1), "B24_UNKNOWN");
}

static void sender_set_takes_null(void)
{
    b24_error *error = NULL;
    b24_sender *sender = b24_sender_new("provider1");
    refused(b24_sender_set(NULL, "name", NULL, "One", &error), &error, "sender");
    refused(b24_sender_set(sender, NULL, NULL, "One", &error), &error, "name");
    refused(b24_sender_set(sender, "name", NULL, NULL, &error), &error, "text");
    refused(b24_sender_set(sender, "name", "en", NULL, &error), &error, "text");
    refused(b24_sender_set(sender, invalid_utf8, NULL, "One", &error), &error, "name");
    refused(b24_sender_set(sender, "name", invalid_utf8, "One", &error), &error, "language");
    refused(b24_sender_set(sender, "name", NULL, invalid_utf8, &error), &error, "text");
    refused(b24_sender_set(sender, "nome", NULL, "One", &error), &error, "nome");
    refused(b24_sender_set(sender, "handler", "en", "https://a.example", &error), &error,
            "handler");
    refused(b24_sender_set(sender, "type", "en", "SMS", &error), &error, "type");
    CHECK_NUMBER(b24_sender_set(NULL, NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    /* None of that has changed the sender. */
    refused(b24_sender_update(client, sender, &error), &error, "nothing to change");

    error = (b24_error *)&error; /* not NULL, to see it overwritten */
    CHECK_NUMBER(b24_sender_set(sender, "name", "en", "One", &error), B24_OK);
    CHECK(error == NULL);
    b24_sender_free(sender);
}

/* What cannot be a code is not lost: every use of the sender tells it. */
static void a_sender_remembers_its_code(void)
{
    static const char *const codes[] = {NULL, invalid_utf8};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        b24_error *error = NULL;
        b24_sender *sender = b24_sender_new(codes[i]);
        CHECK(sender != NULL);
        refused(b24_sender_set(sender, "name", NULL, "One", &error), &error, "code");
        refused(b24_sender_add(client, sender, &error), &error, "code");
        refused(b24_sender_update(client, sender, &error), &error, "code");
        b24_sender_free(sender);
    }
}

/* What a sender of these parts is refused for, when it is added. */
static void add_refuses(const char *code, const char *handler, const char *name,
                        const char *language, const char *told)
{
    b24_error *error = NULL;
    b24_sender *sender = b24_sender_new(code);
    if (handler != NULL) {
        CHECK_NUMBER(b24_sender_set(sender, "handler", NULL, handler, NULL), B24_OK);
    }
    if (name != NULL) {
        CHECK_NUMBER(b24_sender_set(sender, "name", language, name, NULL), B24_OK);
    }
    refused(b24_sender_add(client, sender, &error), &error, told);
    b24_sender_free(sender);
}

static void senders_take_null(void)
{
    b24_error *error = NULL;
    b24_sender *sender = b24_sender_new("provider1");
    refused(b24_sender_add(NULL, sender, &error), &error, "client");
    refused(b24_sender_add(client, NULL, &error), &error, "sender");
    refused(b24_sender_update(NULL, sender, &error), &error, "client");
    refused(b24_sender_update(client, NULL, &error), &error, "sender");
    CHECK_NUMBER(b24_sender_add(NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_sender_update(NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    b24_sender_free(sender);

    refused(b24_sender_delete(NULL, "provider1", &error), &error, "client");
    refused(b24_sender_delete(client, NULL, &error), &error, "code");
    refused(b24_sender_delete(client, invalid_utf8, &error), &error, "code");
    refused(b24_sender_delete(client, "", &error), &error, "code");
    refused(b24_sender_delete(client, "a b", &error), &error, "code");
    CHECK_NUMBER(b24_sender_delete(NULL, NULL, NULL), B24_INVALID_ARGUMENT);

    static const char handler[] = "https://provider.example.com/send";
    add_refuses("", handler, "One", NULL, "code");
    add_refuses("a/b", handler, "One", NULL, "code");
    add_refuses("provider1", NULL, "One", NULL, "handler");
    add_refuses("provider1", "provider.example.com", "One", NULL, "handler");
    add_refuses("provider1", handler, NULL, NULL, "name");
    add_refuses("provider1", handler, " ", NULL, "name");
    add_refuses("provider1", handler, "One", "", "language");
}

static void lists_take_null(void)
{
    b24_error *error = NULL;
    b24_list *list = (b24_list *)&list; /* not NULL, to see it overwritten */
    refused(b24_sender_list(NULL, &list, &error), &error, "client");
    CHECK(list == NULL);
    CHECK_NUMBER(b24_sender_list(NULL, NULL, NULL), B24_INVALID_ARGUMENT);

    list = (b24_list *)&list;
    refused(b24_message_status_get(NULL, 1, &list, &error), &error, "client");
    CHECK(list == NULL);
    list = (b24_list *)&list;
    refused(b24_message_status_get(client, 0, &list, &error), &error, "message id");
    CHECK(list == NULL);
    CHECK_NUMBER(b24_message_status_get(NULL, 0, NULL, NULL), B24_INVALID_ARGUMENT);
}

/* A place for a handle that is not NULL, to see it overwritten. */
#define OVERWRITTEN(type, name) type *name = (type *)&name

static void providers_take_null(void)
{
    b24_error *error = NULL;
    OVERWRITTEN(b24_provider, made);
    refused(b24_provider_open(NULL, &made, &error), &error, "config");
    CHECK(made == NULL);
    CHECK_NUMBER(b24_provider_open(NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    made = (b24_provider *)&made;
    CHECK_NUMBER(b24_provider_open(config, &made, &error), B24_INVALID_CONFIG);
    CHECK(made == NULL);
    b24_error_free(error);

    OVERWRITTEN(b24_request, request);
    static const char body[] = "a=b";
    refused(b24_provider_receive(NULL, "", body, 3, &request, &error), &error, "provider");
    CHECK(request == NULL);
    request = (b24_request *)&request;
    refused(b24_provider_receive(provider, NULL, body, 3, &request, &error), &error, "content_type");
    CHECK(request == NULL);
    refused(b24_provider_receive(provider, invalid_utf8, body, 3, NULL, &error), &error,
            "content_type");
    refused(b24_provider_receive(provider, "", NULL, 3, NULL, &error), &error, "body");
    refused(b24_provider_receive(provider, "", body, (size_t)-1, NULL, &error), &error, "body");
    CHECK_NUMBER(b24_provider_receive(provider, "", NULL, 0, NULL, NULL), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_provider_receive(provider, "text/html", "<p>", 3, NULL, NULL),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_provider_receive(NULL, NULL, NULL, 0, NULL, NULL), B24_INVALID_ARGUMENT);

    refused(b24_provider_install(NULL, "{}", "", &error), &error, "provider");
    refused(b24_provider_install(provider, NULL, "", &error), &error, "auth_json");
    refused(b24_provider_install(provider, invalid_utf8, "", &error), &error, "auth_json");
    refused(b24_provider_install(provider, "{}", NULL, &error), &error, "application_token");
    CHECK_NUMBER(b24_provider_install(provider, "no JSON", "", NULL), B24_INVALID_ARGUMENT);
    refused(b24_provider_install_request(NULL, NULL, &error), &error, "provider");
    refused(b24_provider_install_request(provider, NULL, &error), &error, "frame");

    int64_t imported = 7;
    refused(b24_provider_import_state_dir(NULL, "/tmp", &imported, &error), &error, "provider");
    CHECK_NUMBER(imported, 0);
    imported = 7;
    refused(b24_provider_import_state_dir(provider, NULL, &imported, &error), &error, "path");
    CHECK_NUMBER(imported, 0);
    CHECK_NUMBER(b24_provider_import_state_dir(NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);

    OVERWRITTEN(b24_client, of_provider);
    refused(b24_provider_client(NULL, "member", &of_provider, &error), &error, "provider");
    CHECK(of_provider == NULL);
    of_provider = (b24_client *)&of_provider;
    refused(b24_provider_client(provider, NULL, &of_provider, &error), &error, "member_id");
    CHECK(of_provider == NULL);
    CHECK_NUMBER(b24_provider_client(provider, "unknown", NULL, NULL), B24_INVALID_ARGUMENT);
}

static void reports_take_null(void)
{
    b24_error *error = NULL;
    /* What is given in each call: a good argument in all places but one. */
    static const char *const names[] = {"operator_name", "reference", "member_id", "code",
                                        "message_id"};
    static const char *const wrong[] = {NULL, invalid_utf8};
    for (size_t place = 0; place < 5; place++) {
        for (size_t i = 0; i < 2; i++) {
            const char *given[] = {"operator", "r1", "member", "provider1", "m1"};
            given[place] = wrong[i];
            refused(b24_provider_track_of(provider, given[0], given[1], given[2], given[3], given[4],
                                          &error),
                    &error, names[place]);
            if (place > 0) {
                refused(b24_provider_track(provider, given[1], given[2], given[3], given[4], &error),
                        &error, names[place]);
            }
            if (place > 1) {
                refused(b24_provider_report(provider, given[2], given[3], given[4], "sent", 0, &error),
                        &error, names[place]);
            }
        }
    }
    refused(b24_provider_track(NULL, "r1", "member", "provider1", "m1", &error), &error, "provider");
    refused(b24_provider_track(provider, "", "member", "provider1", "m1", &error), &error,
            "reference");
    CHECK_NUMBER(b24_provider_track_of(NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                 B24_INVALID_ARGUMENT);

    refused(b24_provider_report(NULL, "member", "p", "m", "sent", 0, &error), &error, "provider");
    refused(b24_provider_report(provider, "member", "p", "m", NULL, 0, &error), &error, "status");
    refused(b24_provider_report(provider, "member", "p", "m", "lost", 0, &error), &error, "status");
    CHECK_NUMBER(b24_provider_report(NULL, NULL, NULL, NULL, NULL, 0, NULL), B24_INVALID_ARGUMENT);

    refused(b24_provider_report_reference(NULL, "r", "sent", 0, &error), &error, "provider");
    refused(b24_provider_report_reference(provider, NULL, "sent", 0, &error), &error, "reference");
    refused(b24_provider_report_reference(provider, "r", NULL, 0, &error), &error, "status");
    refused(b24_provider_report_reference(provider, "r", "lost", 0, &error), &error, "status");
    refused(b24_provider_report_reference_of(provider, NULL, "r", "sent", 0, &error), &error,
            "operator_name");
    CHECK_NUMBER(b24_provider_report_reference_of(NULL, NULL, NULL, NULL, 0, NULL),
                 B24_INVALID_ARGUMENT);

    b24_batch *batch = b24_batch_new();
    b24_batch_add(batch, "provider1", "m1", "sent");
    b24_batch_add(batch, "provider1", NULL, "sent");
    CHECK(strstr(b24_error_message(b24_batch_error(batch, 0)), "not sent yet") != NULL);
    refused(b24_provider_report_batch(provider, "member", NULL, &error), &error, "batch");
    refused(b24_provider_report_batch(NULL, "member", batch, &error), &error, "provider");
    CHECK(strstr(b24_error_message(b24_batch_error(batch, 0)), "provider") != NULL);
    CHECK(strstr(b24_error_message(b24_batch_error(batch, 1)), "message_id") != NULL);
    refused(b24_provider_report_batch(provider, NULL, batch, &error), &error, "member_id");
    CHECK(strstr(b24_error_message(b24_batch_error(batch, 0)), "member_id") != NULL);
    CHECK_NUMBER(b24_provider_report_batch(NULL, NULL, NULL, NULL), B24_INVALID_ARGUMENT);
    b24_batch_free(batch);
}

static void stores_take_null(void)
{
    b24_error *error = NULL;
    OVERWRITTEN(b24_drained, drained);
    refused(b24_provider_drain(NULL, 0, &drained, &error), &error, "provider");
    CHECK(drained == NULL);
    drained = (b24_drained *)&drained;
    refused(b24_provider_drain(provider, -1, &drained, &error), &error, "budget_ms");
    CHECK(drained == NULL);
    refused(b24_provider_drain(provider, INT64_MIN, NULL, &error), &error, "budget_ms");
    CHECK_NUMBER(b24_provider_drain(NULL, 0, NULL, NULL), B24_INVALID_ARGUMENT);

    OVERWRITTEN(b24_list, list);
    refused(b24_provider_inspect(NULL, &list, &error), &error, "provider");
    CHECK(list == NULL);
    CHECK_NUMBER(b24_provider_inspect(provider, NULL, NULL), B24_OK);
    list = (b24_list *)&list;
    refused(b24_provider_refused(NULL, "", 1, &list, &error), &error, "provider");
    CHECK(list == NULL);
    list = (b24_list *)&list;
    refused(b24_provider_refused(provider, NULL, 1, &list, &error), &error, "after");
    CHECK(list == NULL);
    CHECK_NUMBER(b24_provider_refused(provider, "", 1, NULL, NULL), B24_OK);
    list = (b24_list *)&list;
    refused(b24_request_fields(NULL, &list, &error), &error, "request");
    CHECK(list == NULL);
    CHECK_NUMBER(b24_request_fields(NULL, NULL, NULL), B24_INVALID_ARGUMENT);

    refused(b24_provider_resume(NULL, "member", &error), &error, "provider");
    refused(b24_provider_resume(provider, NULL, &error), &error, "member_id");
    refused(b24_provider_prune(NULL, 0, &error), &error, "provider");
    refused(b24_provider_prune(provider, -1, &error), &error, "keep_seconds");
    CHECK_NUMBER(b24_provider_prune(provider, INT64_MAX, NULL), B24_OK);
    b24_provider_cancel(provider);
}

static void vocabularies_take_null(void)
{
    b24_error *error = NULL;
    OVERWRITTEN(b24_vocabulary, words);
    refused(b24_vocabulary_named(NULL, &words, &error), &error, "name");
    CHECK(words == NULL);
    words = (b24_vocabulary *)&words;
    refused(b24_vocabulary_named("klingon", &words, &error), &error, "smpp");
    CHECK(words == NULL);
    CHECK_NUMBER(b24_vocabulary_named("smpp", NULL, NULL), B24_OK);
    CHECK_NUMBER(b24_vocabulary_named(invalid_utf8, NULL, NULL), B24_INVALID_ARGUMENT);

    CHECK_NUMBER(b24_vocabulary_named("smpp", &words, &error), B24_OK);
    CHECK(error == NULL);
    const char *status = "before";
    CHECK_NUMBER(b24_vocabulary_status(words, " delivrd", &status, NULL), B24_OK);
    CHECK_TEXT(status, "delivered");
    refused(b24_vocabulary_status(words, "no such word", &status, &error), &error, "no such word");
    CHECK(status == NULL);
    refused(b24_vocabulary_status(words, NULL, &status, &error), &error, "word");
    refused(b24_vocabulary_status(words, invalid_utf8, &status, &error), &error, "word");
    refused(b24_vocabulary_status(NULL, "DELIVRD", &status, &error), &error, "vocabulary");
    CHECK_NUMBER(b24_vocabulary_status(words, "DELIVRD", NULL, NULL), B24_OK);

    refused(b24_vocabulary_set(NULL, "OK", "sent", &error), &error, "vocabulary");
    refused(b24_vocabulary_set(words, NULL, "sent", &error), &error, "word");
    refused(b24_vocabulary_set(words, invalid_utf8, "sent", &error), &error, "word");
    refused(b24_vocabulary_set(words, "OK", NULL, &error), &error, "status");
    refused(b24_vocabulary_set(words, "OK", "lost", &error), &error, "status");
    CHECK_NUMBER(b24_vocabulary_set(words, "Delivrd", "Sent", NULL), B24_OK);
    CHECK_NUMBER(b24_vocabulary_status(words, "DELIVRD", &status, NULL), B24_OK);
    CHECK_TEXT(status, "sent");
    b24_vocabulary_free(words);

    static const char *const names[] = {NULL, invalid_utf8};
    for (size_t i = 0; i < 2; i++) {
        words = b24_vocabulary_new(names[i]);
        CHECK(words != NULL);
        refused(b24_vocabulary_set(words, "OK", "sent", &error), &error, "name");
        refused(b24_vocabulary_status(words, "OK", &status, &error), &error, "name");
        b24_vocabulary_free(words);
    }
}

static void versions_are_compared(void)
{
    const int32_t minor = 1000;
    const int32_t major = 1000000;
    char number[32];
    snprintf(number, sizeof number, "%d.%d.%d", B24_VERSION_MAJOR, B24_VERSION_MINOR,
             B24_VERSION_PATCH);
    CHECK_TEXT(number, B24_VERSION);
    CHECK_NUMBER(B24_VERSION_MAJOR * major + B24_VERSION_MINOR * minor + B24_VERSION_PATCH,
                 B24_VERSION_NUMBER);

    b24_error *error = NULL;
    CHECK_NUMBER(b24_version_check(B24_VERSION_NUMBER, &error), B24_OK);
    CHECK(error == NULL);
    refused(b24_version_check(B24_VERSION_NUMBER + minor, &error), &error, B24_VERSION);
    refused(b24_version_check(B24_VERSION_NUMBER + major, &error), &error, "major");
    static const int32_t none[] = {0, -1, INT32_MIN};
    for (size_t i = 0; i < 3; i++) {
        refused(b24_version_check(none[i], &error), &error, "B24_VERSION_NUMBER");
    }
    refused(b24_version_check(INT32_MAX, &error), &error, "major");
    CHECK_NUMBER(b24_version_check(0, NULL), B24_INVALID_ARGUMENT);
}

static void log_takes_null(void)
{
    b24_log_set_owned(NULL, NULL, NULL, 5);
    b24_log_set_owned(no_record, NULL, NULL, INT32_MAX);
    b24_log_set(NULL, NULL, 0);
    b24_log_set(NULL, NULL, 5);
    b24_log_set(no_record, NULL, INT32_MIN);
    b24_log_set(no_record, NULL, INT32_MAX);
    b24_log_queue(INT32_MIN, 0);
    b24_log_queue(INT32_MAX, SIZE_MAX);
    b24_log_set(NULL, NULL, INT32_MAX);
    CHECK(b24_log_take() == NULL);
}

/* A megabyte in any place is refused in a message that people can read. */
static void huge_texts(void)
{
    char *huge = malloc(HUGE_LENGTH + 1);
    if (!CHECK(huge != NULL)) {
        return;
    }
    memset(huge, 'a', HUGE_LENGTH);
    huge[HUGE_LENGTH] = '\0';

    b24_error *error = NULL;
    CHECK_NUMBER(b24_config_set(config, huge, "1", &error), B24_INVALID_CONFIG);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);
    CHECK_NUMBER(b24_config_set(config, "timeout_ms", huge, &error), B24_INVALID_CONFIG);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);

    CHECK_NUMBER(b24_message_status_update(client, "p", huge, "sent", &error),
                 B24_INVALID_ARGUMENT);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);
    CHECK_NUMBER(b24_message_status_update(client, "p", "m", huge, &error), B24_INVALID_ARGUMENT);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);

    b24_batch *batch = b24_batch_new();
    b24_batch_add(batch, "p", huge, "sent");
    b24_batch_add(batch, "p", "m", huge);
    memset(huge, 'b', HUGE_LENGTH); /* the batch has copies */
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_INVALID_ARGUMENT);
    CHECK(strstr(b24_error_message(b24_batch_error(batch, 0)), "aaa") != NULL);
    b24_batch_free(batch);

    b24_sender *sender = b24_sender_new(huge);
    CHECK_NUMBER(b24_sender_set(sender, huge, NULL, "One", &error), B24_INVALID_ARGUMENT);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);
    CHECK_NUMBER(b24_sender_set(sender, "handler", NULL, huge, NULL), B24_OK);
    CHECK_NUMBER(b24_sender_set(sender, "name", huge, huge, NULL), B24_OK);
    CHECK_NUMBER(b24_sender_add(client, sender, &error), B24_INVALID_ARGUMENT);
    CHECK(strlen(b24_error_message(error)) < 2000);
    b24_error_free(error);
    b24_sender_free(sender);
    free(huge);
}

int main(void)
{
    config = b24_config_new();
    /* A port that nothing listens on: a call that got as far as the network would say so. */
    b24_config_set(config, "portal", "127.0.0.1:1", NULL);
    b24_config_set(config, "access_token", "token", NULL);
    b24_config_set(config, "proxy", "none", NULL);
    if (!CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK)) {
        return summary("arguments");
    }

    char store[128];
    snprintf(store, sizeof store, "sqlite:%s/arguments.db", portal_directory());
    b24_config *of_provider = b24_config_new();
    b24_config_set(of_provider, "store", store, NULL);
    b24_config_set(of_provider, "client_id", "app.1", NULL);
    b24_config_set(of_provider, "client_secret", "secret", NULL);
    b24_config_set(of_provider, "oauth_url", "https://127.0.0.1:1", NULL);
    b24_config_set(of_provider, "proxy", "none", NULL);
    b24_error *error = NULL;
    if (!CHECK_NUMBER(b24_provider_open(of_provider, &provider, &error), B24_OK)) {
        fprintf(stderr, "    %s\n", b24_error_message(error));
        return summary("arguments");
    }
    CHECK_NUMBER(b24_provider_open(of_provider, NULL, NULL), B24_OK);
    b24_config_free(of_provider);

    frees_take_null();
    questions_take_null();
    config_set_takes_null();
    waiting_takes_a_time();
    clients_take_null();
    update_takes_null();
    batch_takes_null();
    codes_have_names();
    sender_set_takes_null();
    a_sender_remembers_its_code();
    senders_take_null();
    lists_take_null();
    providers_take_null();
    reports_take_null();
    stores_take_null();
    vocabularies_take_null();
    versions_are_compared();
    log_takes_null();
    huge_texts();

    b24_client *limited = client;
    CHECK_NUMBER(b24_client_limited(client, -1, NULL, &limited, NULL), B24_INVALID_ARGUMENT);
    CHECK(limited == NULL);
    CHECK_NUMBER(b24_client_limited(NULL, 0, NULL, &limited, NULL), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_client_limited(client, 1, NULL, NULL, NULL), B24_OK);
    b24_provider *limited_provider = provider;
    CHECK_NUMBER(b24_provider_limited(NULL, 0, NULL, &limited_provider, NULL),
                 B24_INVALID_ARGUMENT);
    CHECK(limited_provider == NULL);

    b24_provider_close(provider);

    b24_client_free(client);
    client = NULL;
    CHECK_NUMBER(b24_message_status_update(client, "p", "m", "sent", NULL), B24_INVALID_ARGUMENT);
    b24_client_cancel(client);
    b24_client_free(client);
    b24_config_free(config);
    config = NULL;
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_INVALID_ARGUMENT);
    b24_config_free(config);
    return summary("arguments");
}
