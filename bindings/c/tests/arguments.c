/* What a caller can hand over by mistake: NULL in every argument of every function, texts that are
 * not UTF-8, texts of a megabyte, handles that were set to NULL after their free. None of it may
 * reach the network, so no portal is needed. */
#include <b24_messageservice.h>

#include "check.h"

enum { HUGE_LENGTH = 1 << 20 };

static const char invalid_utf8[] = "\xC3\x28\xFF";

static b24_config *config;
static b24_client *client;

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
    CHECK(true);
}

static void questions_take_null(void)
{
    CHECK(b24_version() != NULL);
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

static void log_takes_null(void)
{
    b24_log_set(NULL, NULL, 0);
    b24_log_set(NULL, NULL, 5);
    b24_log_set(no_record, NULL, INT32_MIN);
    b24_log_set(no_record, NULL, INT32_MAX);
    b24_log_set(NULL, NULL, INT32_MAX);
    CHECK(true);
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
    log_takes_null();
    huge_texts();

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
