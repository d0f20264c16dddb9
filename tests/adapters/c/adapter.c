/* The C adapter of the scenario table: lines in, calls, lines out. It judges nothing.
 *
 * tests/README.md describes the lines. A line that is none of them ends the program. */
#define _POSIX_C_SOURCE 200809L

#include <b24_messageservice.h>

#include <cjson/cJSON.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MAX = 27 };

static struct {
    b24_config *config;
    b24_client *clients[CLIENTS_MAX]; /* the one without a name, then a to z */
    b24_provider *providers[CLIENTS_MAX];
    size_t used;
    b24_request *request; /* the one received last */
    b24_error *last_error;
    atomic_long renewals;
    int64_t timeout_ms; /* of the next call; 0 is none */
    b24_cancel_token *token;
} state;

static void give_up(const char *why, const char *what)
{
    fprintf(stderr, "adapter: %s: %s\n", why, what != NULL ? what : "(none)");
    exit(EXIT_FAILURE);
}

/* ---- JSON ---- */

/* The text of this name among the arguments; NULL if there is none. */
static const char *text(const cJSON *arguments, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(arguments, name));
}

static const char *text_at(const cJSON *list, int position)
{
    return cJSON_GetStringValue(cJSON_GetArrayItem(list, position));
}

/* The same, or what stands for it if it is absent. */
static const char *text_or(const cJSON *arguments, const char *name, const char *absent)
{
    const char *given = text(arguments, name);
    return given != NULL ? given : absent;
}

/* The number of this name among the arguments, or what stands for it if it is absent. */
static int64_t number_or(const cJSON *arguments, const char *name, int64_t absent)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(arguments, name);
    return cJSON_IsNumber(given) ? (int64_t)given->valuedouble : absent;
}

static cJSON *result(cJSON *value)
{
    cJSON *answer = cJSON_CreateObject();
    cJSON_AddItemToObject(answer, "result", value);
    return answer;
}

static cJSON *error_answer(const b24_error *error)
{
    b24_code code = b24_error_code(error);
    cJSON *answer = cJSON_CreateObject();
    cJSON *members = cJSON_AddObjectToObject(answer, "error");
    cJSON_AddStringToObject(members, "code",
                            b24_code_name(code) + strlen("B24_"));
    cJSON_AddStringToObject(members, "portal_code", b24_error_portal_code(error));
    cJSON_AddNumberToObject(members, "http_status", b24_error_http_status(error));
    cJSON_AddBoolToObject(members, "retryable", b24_error_is_retryable(error));
    cJSON_AddNumberToObject(members, "retry_after_ms", (double)b24_error_retry_after_ms(error));
    cJSON_AddStringToObject(members, "message", b24_error_message(error));
    cJSON_AddStringToObject(members, "description", b24_error_description(error));
    return answer;
}

/* Takes the error over, which `dump` shows later; without one the answer is `value`. */
static cJSON *outcome(b24_error *error, cJSON *value)
{
    if (error == NULL) {
        return result(value);
    }
    cJSON_Delete(value);
    b24_error_free(state.last_error);
    state.last_error = error;
    return error_answer(error);
}

/* ---- The methods ---- */

static cJSON *status_update(b24_client *client, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_message_status_update(client, text(arguments, "code"), text(arguments, "message_id"),
                              text(arguments, "status"), &error);
    return outcome(error, cJSON_CreateNull());
}

static cJSON *status_update_batch(b24_client *client, const cJSON *arguments)
{
    b24_batch *batch = b24_batch_new();
    const cJSON *update = NULL;
    cJSON_ArrayForEach(update, cJSON_GetObjectItemCaseSensitive(arguments, "updates"))
    {
        b24_batch_add(batch, text_at(update, 0), text_at(update, 1), text_at(update, 2));
    }
    b24_error *error = NULL;
    b24_message_status_update_batch(client, batch, &error);
    b24_error_free(error); /* each update has its own */
    cJSON *outcomes = cJSON_CreateArray();
    for (size_t i = 0; i < b24_batch_len(batch); i++) {
        const b24_error *one = b24_batch_error(batch, i);
        cJSON_AddItemToArray(outcomes, one == NULL ? cJSON_CreateNull() : error_answer(one));
    }
    b24_batch_free(batch);
    return result(outcomes);
}

/* Each argument but the code is a part of the sender: a text, or a map of language to text. */
static b24_error *set_part(b24_sender *sender, const cJSON *part)
{
    b24_error *error = NULL;
    if (!cJSON_IsObject(part)) {
        b24_sender_set(sender, part->string, NULL, part->valuestring, &error);
        return error;
    }
    for (const cJSON *one = part->child; one != NULL && error == NULL; one = one->next) {
        b24_sender_set(sender, part->string, one->string, one->valuestring, &error);
    }
    return error;
}

static cJSON *with_sender(b24_client *client, const cJSON *arguments,
                          b24_code (*call)(b24_client *, const b24_sender *, b24_error **))
{
    b24_error *error = NULL;
    b24_sender *sender = b24_sender_new(text(arguments, "code"));
    for (const cJSON *part = arguments->child; part != NULL && error == NULL; part = part->next) {
        if (strcmp(part->string, "code") != 0) {
            error = set_part(sender, part);
        }
    }
    if (error == NULL) {
        call(client, sender, &error);
    }
    b24_sender_free(sender);
    return outcome(error, cJSON_CreateNull());
}

static cJSON *sender_add(b24_client *client, const cJSON *arguments)
{
    return with_sender(client, arguments, b24_sender_add);
}

static cJSON *sender_update(b24_client *client, const cJSON *arguments)
{
    return with_sender(client, arguments, b24_sender_update);
}

static cJSON *sender_delete(b24_client *client, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_sender_delete(client, text(arguments, "code"), &error);
    return outcome(error, cJSON_CreateNull());
}

/* What a list has under a name. */
static cJSON *values(b24_list *list, const char *name)
{
    cJSON *all = cJSON_CreateArray();
    for (size_t row = 0; row < b24_list_len(list); row++) {
        cJSON_AddItemToArray(all, cJSON_CreateString(b24_list_get(list, row, name)));
    }
    b24_list_free(list);
    return all;
}

static cJSON *sender_list(b24_client *client, const cJSON *arguments)
{
    (void)arguments;
    b24_error *error = NULL;
    b24_list *list = NULL;
    b24_sender_list(client, &list, &error);
    return outcome(error, values(list, "code"));
}

static cJSON *status_get(b24_client *client, const cJSON *arguments)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(arguments, "message_id");
    b24_error *error = NULL;
    b24_list *list = NULL;
    b24_message_status_get(client, (uint64_t)cJSON_GetNumberValue(number), &list, &error);
    cJSON *row = values(list, "status");
    cJSON *status = cJSON_DetachItemFromArray(row, 0);
    cJSON_Delete(row);
    return outcome(error, status);
}

static const struct method {
    const char *name;
    cJSON *(*call)(b24_client *client, const cJSON *arguments);
} methods[] = {
    {"message_status_update", status_update},
    {"message_status_update_batch", status_update_batch},
    {"message_status_get", status_get},
    {"sender_add", sender_add},
    {"sender_update", sender_update},
    {"sender_delete", sender_delete},
    {"sender_list", sender_list},
};

static cJSON *call(const cJSON *line)
{
    const char *name = text_at(line, 1);
    for (size_t i = 0; name != NULL && i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return methods[i].call(state.clients[state.used], cJSON_GetArrayItem(line, 2));
        }
    }
    give_up("no such method", name);
    return NULL;
}

/* ---- The methods of a provider ---- */

static cJSON *done(b24_error *error)
{
    return outcome(error, cJSON_CreateNull());
}

/* Bytes from Base64, which the caller frees. */
static unsigned char *decoded(const char *base64, size_t *length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *bytes = malloc(strlen(base64) + 1);
    if (bytes == NULL) {
        give_up("no memory", "body64");
        return NULL;
    }
    unsigned long bits = 0;
    *length = 0;
    for (size_t i = 0; base64[i] != '\0' && base64[i] != '='; i++) {
        const char *digit = strchr(alphabet, base64[i]);
        if (digit == NULL) {
            give_up("not Base64", base64);
            return bytes;
        }
        bits = (bits << 6 | (unsigned long)(digit - alphabet)) & 0xFFFFFF;
        /* The first of four digits completes no byte. */
        if (i % 4 != 0) {
            bytes[(*length)++] = (unsigned char)(bits >> (6 - 2 * (i % 4)) & 0xFF);
        }
    }
    return bytes;
}

static const char *kind_of(const b24_request *request)
{
    switch (b24_request_kind_of(request)) {
    case B24_REQUEST_MESSAGE: return "message";
    case B24_REQUEST_INSTALL: return "install";
    case B24_REQUEST_UNINSTALL: return "uninstall";
    case B24_REQUEST_FRAME: return "frame";
    }
    return "unknown";
}

static cJSON *receive(b24_provider *provider, const cJSON *arguments)
{
    size_t length = 0;
    unsigned char *body = decoded(text_or(arguments, "body64", ""), &length);
    b24_request *request = NULL;
    b24_error *error = NULL;
    b24_provider_receive(provider, text(arguments, "content_type"), body, length, &request, &error);
    free(body);
    if (error != NULL) {
        return done(error);
    }
    b24_request_free(state.request);
    state.request = request;
    cJSON *answer = cJSON_CreateObject();
    cJSON_AddStringToObject(answer, "kind", kind_of(request));
    cJSON_AddStringToObject(answer, "member_id", b24_request_get(request, "member_id"));
    cJSON_AddStringToObject(answer, "client_endpoint", b24_request_get(request, "client_endpoint"));
    cJSON *got = cJSON_AddObjectToObject(answer, "get");
    const cJSON *name = NULL;
    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(arguments, "get"))
    {
        cJSON_AddStringToObject(got, name->valuestring, b24_request_get(request, name->valuestring));
    }
    return result(answer);
}

static cJSON *install(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_install(provider, text(arguments, "auth"),
                         text_or(arguments, "application_token", ""), &error);
    return done(error);
}

static cJSON *install_request(b24_provider *provider, const cJSON *arguments)
{
    (void)arguments;
    b24_error *error = NULL;
    b24_provider_install_request(provider, state.request, &error);
    return done(error);
}

static cJSON *provider_client(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_client *client = NULL;
    b24_provider_client(provider, text(arguments, "member_id"), &client, &error);
    if (client != NULL) {
        b24_client_free(state.clients[state.used]);
        state.clients[state.used] = client;
    }
    return done(error);
}

static cJSON *import_state_dir(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    int64_t imported = 0;
    b24_provider_import_state_dir(provider, text(arguments, "path"), &imported, &error);
    return outcome(error, cJSON_CreateNumber((double)imported));
}

static cJSON *track(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_track_of(provider, text_or(arguments, "operator", ""), text(arguments, "reference"),
                          text(arguments, "member_id"), text(arguments, "code"),
                          text(arguments, "message_id"), &error);
    return done(error);
}

static cJSON *report(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_report(provider, text(arguments, "member_id"), text(arguments, "code"),
                        text(arguments, "message_id"), text(arguments, "status"),
                        number_or(arguments, "at_ms", 0), &error);
    return done(error);
}

static cJSON *report_batch(b24_provider *provider, const cJSON *arguments)
{
    b24_batch *batch = b24_batch_new();
    const cJSON *update = NULL;
    cJSON_ArrayForEach(update, cJSON_GetObjectItemCaseSensitive(arguments, "updates"))
    {
        b24_batch_add(batch, text_at(update, 0), text_at(update, 1), text_at(update, 2));
    }
    b24_provider_report_batch(provider, text(arguments, "member_id"), batch, NULL);
    cJSON *outcomes = cJSON_CreateArray();
    for (size_t i = 0; i < b24_batch_len(batch); i++) {
        const b24_error *one = b24_batch_error(batch, i);
        cJSON_AddItemToArray(outcomes, one == NULL ? cJSON_CreateNull() : error_answer(one));
    }
    b24_batch_free(batch);
    return result(outcomes);
}

/* C has no function for receipts of several portals: one batch for each of them. */
static cJSON *report_many(b24_provider *provider, const cJSON *arguments)
{
    const cJSON *receipts = cJSON_GetObjectItemCaseSensitive(arguments, "receipts");
    int count = cJSON_GetArraySize(receipts);
    cJSON **outcomes = calloc((size_t)count + 1, sizeof *outcomes);
    for (int first = 0; outcomes != NULL && first < count; first++) {
        if (outcomes[first] != NULL) {
            continue;
        }
        const char *member_id = text_at(cJSON_GetArrayItem(receipts, first), 0);
        b24_batch *batch = b24_batch_new();
        for (int i = first; i < count; i++) {
            const cJSON *receipt = cJSON_GetArrayItem(receipts, i);
            if (strcmp(text_at(receipt, 0), member_id) == 0) {
                b24_batch_add(batch, text_at(receipt, 1), text_at(receipt, 2), text_at(receipt, 3));
            }
        }
        b24_provider_report_batch(provider, member_id, batch, NULL);
        size_t added = 0;
        for (int i = first; i < count; i++) {
            if (strcmp(text_at(cJSON_GetArrayItem(receipts, i), 0), member_id) == 0) {
                const b24_error *one = b24_batch_error(batch, added++);
                outcomes[i] = one == NULL ? cJSON_CreateNull() : error_answer(one);
            }
        }
        b24_batch_free(batch);
    }
    cJSON *all = cJSON_CreateArray();
    for (int i = 0; outcomes != NULL && i < count; i++) {
        cJSON_AddItemToArray(all, outcomes[i]);
    }
    free(outcomes);
    return result(all);
}

static cJSON *report_reference(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_report_reference_of(provider, text_or(arguments, "operator", ""),
                                     text(arguments, "reference"), text(arguments, "status"),
                                     number_or(arguments, "at_ms", 0), &error);
    return done(error);
}

static cJSON *drain(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_drained *drained = NULL;
    b24_provider_drain(provider, number_or(arguments, "ms", 0), &drained, &error);
    cJSON *counts = cJSON_CreateObject();
    cJSON_AddNumberToObject(counts, "sent", (double)b24_drained_sent(drained));
    cJSON_AddNumberToObject(counts, "refused", (double)b24_drained_refused(drained));
    cJSON_AddNumberToObject(counts, "held", (double)b24_drained_held(drained));
    cJSON_AddNumberToObject(counts, "waiting", (double)b24_drained_waiting(drained));
    cJSON_AddNumberToObject(counts, "next_due_ms", (double)b24_drained_next_due_ms(drained));
    b24_drained_free(drained);
    return outcome(error, counts);
}

/* A column of a list: its name, and whether it is a number, for which -1 stands if it is empty. */
struct column {
    const char *name;
    bool number;
};

/* The rows of a list as objects. */
static cJSON *rows(b24_list *list, const struct column *columns, size_t count)
{
    cJSON *all = cJSON_CreateArray();
    for (size_t row = 0; row < b24_list_len(list); row++) {
        cJSON *members = cJSON_CreateObject();
        for (size_t i = 0; i < count; i++) {
            const char *value = b24_list_get(list, row, columns[i].name);
            if (columns[i].number) {
                double number = value[0] != '\0' ? strtod(value, NULL) : -1;
                cJSON_AddNumberToObject(members, columns[i].name, number);
            } else {
                cJSON_AddStringToObject(members, columns[i].name, value);
            }
        }
        cJSON_AddItemToArray(all, members);
    }
    b24_list_free(list);
    return all;
}

static cJSON *inspect(b24_provider *provider, const cJSON *arguments)
{
    static const struct column columns[] = {
        {"member_id", false}, {"client_endpoint", false}, {"state", false},
        {"reason", false},    {"waiting", true},          {"refused", true},
        {"oldest_ms", true},  {"next_due_ms", true},
    };
    (void)arguments;
    b24_error *error = NULL;
    b24_list *list = NULL;
    b24_provider_inspect(provider, &list, &error);
    return outcome(error, rows(list, columns, sizeof columns / sizeof columns[0]));
}

static cJSON *refused(b24_provider *provider, const cJSON *arguments)
{
    static const struct column columns[] = {
        {"cursor", false},    {"member_id", false}, {"code", false},  {"message_id", false},
        {"reference", false}, {"status", false},    {"at_ms", true},  {"reason", false},
    };
    b24_error *error = NULL;
    b24_list *list = NULL;
    b24_provider_refused(provider, text_or(arguments, "after", ""),
                         (size_t)number_or(arguments, "limit", 1000), &list, &error);
    return outcome(error, rows(list, columns, sizeof columns / sizeof columns[0]));
}

static cJSON *resume(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_resume(provider, text(arguments, "member_id"), &error);
    return done(error);
}

static cJSON *prune(b24_provider *provider, const cJSON *arguments)
{
    b24_error *error = NULL;
    b24_provider_prune(provider, number_or(arguments, "keep_seconds", 0), &error);
    return done(error);
}

static cJSON *cancel_provider(b24_provider *provider, const cJSON *arguments)
{
    (void)arguments;
    b24_provider_cancel(provider);
    return done(NULL);
}

static cJSON *close_provider(b24_provider *provider, const cJSON *arguments)
{
    (void)arguments;
    state.providers[state.used] = NULL;
    b24_provider_close(provider);
    return done(NULL);
}

/* With a table it is a vocabulary of the row's own, else one that the library knows. */
static cJSON *vocabulary(b24_provider *provider, const cJSON *arguments)
{
    (void)provider;
    const cJSON *table = cJSON_GetObjectItemCaseSensitive(arguments, "table");
    b24_error *error = NULL;
    b24_vocabulary *words = NULL;
    if (cJSON_IsObject(table)) {
        words = b24_vocabulary_new(text(arguments, "name"));
        for (const cJSON *one = table->child; one != NULL && error == NULL; one = one->next) {
            b24_vocabulary_set(words, one->string, one->valuestring, &error);
        }
    } else {
        b24_vocabulary_named(text(arguments, "name"), &words, &error);
    }
    const char *status = NULL;
    if (error == NULL) {
        b24_vocabulary_status(words, text(arguments, "word"), &status, &error);
    }
    b24_vocabulary_free(words);
    return outcome(error, cJSON_CreateString(status != NULL ? status : ""));
}

static const struct provider_method {
    const char *name;
    cJSON *(*call)(b24_provider *provider, const cJSON *arguments);
} provider_methods[] = {
    {"receive", receive},
    {"install", install},
    {"install_request", install_request},
    {"client", provider_client},
    {"import_state_dir", import_state_dir},
    {"track", track},
    {"report", report},
    {"report_batch", report_batch},
    {"report_many", report_many},
    {"report_reference", report_reference},
    {"drain", drain},
    {"inspect", inspect},
    {"refused", refused},
    {"resume", resume},
    {"prune", prune},
    {"cancel", cancel_provider},
    {"close", close_provider},
    {"vocabulary", vocabulary},
};

static cJSON *provider_call(const cJSON *line)
{
    const char *name = text_at(line, 1);
    for (size_t i = 0; name != NULL && i < sizeof provider_methods / sizeof provider_methods[0]; i++) {
        if (strcmp(provider_methods[i].name, name) == 0) {
            return provider_methods[i].call(state.providers[state.used], cJSON_GetArrayItem(line, 2));
        }
    }
    give_up("no such method of a provider", name);
    return NULL;
}

/* ---- The lines ---- */

/* The line that comes now is `cancel`. */
static void wait_for_the_next_line(void)
{
    for (int c = getchar(); c != '\n' && c != EOF;) {
        c = getchar();
    }
}

static void *cancel_at_the_next_line(void *client)
{
    wait_for_the_next_line();
    if (state.token != NULL) {
        b24_cancel_token_cancel(state.token);
    } else {
        b24_client_cancel(client);
    }
    return NULL;
}

static void *cancel_provider_at_the_next_line(void *provider)
{
    wait_for_the_next_line();
    if (state.token != NULL) {
        b24_cancel_token_cancel(state.token);
    } else {
        b24_provider_cancel(provider);
    }
    return NULL;
}

static cJSON *cancelled_call(const cJSON *line)
{
    pthread_t reader;
    if (pthread_create(&reader, NULL, cancel_at_the_next_line, state.clients[state.used]) != 0) {
        give_up("no thread", "cancelled_call");
    }
    cJSON *answer = call(line);
    pthread_join(reader, NULL);
    return answer;
}

static cJSON *cancelled_provider_call(const cJSON *line)
{
    pthread_t reader;
    if (pthread_create(&reader, NULL, cancel_provider_at_the_next_line,
                       state.providers[state.used]) != 0) {
        give_up("no thread", "cancelled_provider_call");
    }
    cJSON *answer = provider_call(line);
    pthread_join(reader, NULL);
    return answer;
}

/* The limits of the next call. */
static cJSON *limit(const cJSON *line)
{
    const cJSON *milliseconds = cJSON_GetArrayItem(line, 1);
    state.timeout_ms = cJSON_IsNumber(milliseconds) ? milliseconds->valueint : 0;
    b24_cancel_token_free(state.token);
    state.token =
        cJSON_IsTrue(cJSON_GetArrayItem(line, 2)) ? b24_cancel_token_new() : NULL;
    return result(cJSON_CreateNull());
}

/* Makes a call with handles that have its limits. */
static cJSON *limited(cJSON *(*carry_out)(const cJSON *line), const cJSON *line)
{
    if (state.timeout_ms == 0 && state.token == NULL) {
        return carry_out(line);
    }
    b24_client **client = &state.clients[state.used];
    b24_provider **provider = &state.providers[state.used];
    b24_client *whole_client = *client;
    b24_provider *whole_provider = *provider;
    b24_client *limited_client = NULL;
    b24_provider *limited_provider = NULL;
    if (*client != NULL) {
        b24_client_limited(*client, state.timeout_ms, state.token, &limited_client, NULL);
        *client = limited_client;
    }
    if (*provider != NULL) {
        b24_provider_limited(*provider, state.timeout_ms, state.token, &limited_provider, NULL);
        *provider = limited_provider;
    }
    cJSON *answer = carry_out(line);
    b24_client_free(limited_client);
    b24_provider_close(limited_provider);
    *client = whole_client;
    *provider = whole_provider;
    b24_cancel_token_free(state.token);
    state.token = NULL;
    state.timeout_ms = 0;
    return answer;
}

static cJSON *use(const cJSON *line)
{
    const char name = text_at(line, 1)[0];
    state.used = name >= 'a' && name <= 'z' ? 1 + (size_t)(name - 'a') : 0;
    return result(cJSON_CreateNull());
}

static void count_renewal(const b24_tokens *tokens, void *user)
{
    (void)tokens;
    atomic_fetch_add((atomic_long *)user, 1);
}

static void new_config(void)
{
    b24_config_free(state.config);
    state.config = b24_config_new();
    b24_config_on_renewal(state.config, count_renewal, &state.renewals, NULL);
}

static cJSON *open_client(const cJSON *line)
{
    bool shared = strcmp(text_at(line, 1), "shared") == 0;
    b24_error *error = NULL;
    /* Clients that share what the process keeps must have one configuration. */
    if (!shared) {
        new_config();
    }
    const cJSON *option = NULL;
    cJSON_ArrayForEach(option, cJSON_GetArrayItem(line, 2))
    {
        if (b24_config_set(state.config, text_at(option, 0), text_at(option, 1), &error) != B24_OK) {
            return outcome(error, NULL);
        }
    }
    b24_client **client = &state.clients[state.used];
    b24_client_free(*client);
    if (shared) {
        b24_client_shared(state.config, client, &error);
    } else {
        b24_client_new(state.config, client, &error);
    }
    return outcome(error, cJSON_CreateNull());
}

/* A configuration of its own, because a provider takes no function for renewed tokens. */
static cJSON *open_provider(const cJSON *line)
{
    b24_provider **provider = &state.providers[state.used];
    b24_provider_close(*provider);
    *provider = NULL;
    b24_config *config = b24_config_new();
    b24_error *error = NULL;
    const cJSON *option = cJSON_GetArrayItem(line, 1)->child;
    for (; option != NULL && error == NULL; option = option->next) {
        b24_config_set(config, text_at(option, 0), text_at(option, 1), &error);
    }
    if (error == NULL) {
        b24_provider_open(config, provider, &error);
    }
    b24_config_free(config);
    return outcome(error, cJSON_CreateNull());
}

static cJSON *wait_for_renewals(const cJSON *line)
{
    b24_error *error = NULL;
    b24_renewals_wait(cJSON_GetArrayItem(line, 1)->valueint, &error);
    return outcome(error, cJSON_CreateNull());
}

static cJSON *tokens(const cJSON *line)
{
    (void)line;
    b24_tokens *all = b24_client_tokens(state.clients[state.used]);
    cJSON *members = cJSON_CreateObject();
    cJSON_AddStringToObject(members, "access_token", b24_tokens_access_token(all));
    cJSON_AddStringToObject(members, "refresh_token", b24_tokens_refresh_token(all));
    cJSON_AddStringToObject(members, "client_endpoint", b24_tokens_client_endpoint(all));
    cJSON_AddStringToObject(members, "member_id", b24_tokens_member_id(all));
    cJSON_AddNumberToObject(members, "expires", (double)b24_tokens_expires(all));
    b24_tokens_free(all);
    return result(members);
}

static cJSON *renewed(const cJSON *line)
{
    (void)line;
    return result(cJSON_CreateNumber((double)atomic_load(&state.renewals)));
}

static void write_record(int32_t level, const char *target, const char *message, void *user)
{
    fprintf((FILE *)user, "%" PRId32 " %s %s\n", level, target, message);
}

static cJSON *start_log(const cJSON *line)
{
    (void)line;
    b24_log_set(write_record, stderr, 5);
    return result(cJSON_CreateNull());
}

/* C shows nothing of a handle but what its functions return: the texts of the last error. */
static cJSON *dump(const cJSON *line)
{
    (void)line;
    return state.last_error == NULL ? result(cJSON_CreateNull()) : error_answer(state.last_error);
}

static void forget(void)
{
    b24_log_set(NULL, NULL, 0);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        b24_client_free(state.clients[i]);
        b24_provider_close(state.providers[i]);
    }
    b24_request_free(state.request);
    b24_config_free(state.config);
    b24_error_free(state.last_error);
    b24_cancel_token_free(state.token);
    memset(&state, 0, sizeof state);
}

static cJSON *reset(const cJSON *line)
{
    (void)line;
    forget();
    new_config();
    return result(cJSON_CreateNull());
}

static const struct verb {
    const char *name;
    cJSON *(*carry_out)(const cJSON *line);
} verbs[] = {
    {"use", use},
    {"limit", limit},
    {"client", open_client},
    {"call", call},
    {"cancelled_call", cancelled_call},
    {"provider", open_provider},
    {"provider_call", provider_call},
    {"cancelled_provider_call", cancelled_provider_call},
    {"renewals_wait", wait_for_renewals},
    {"tokens", tokens},
    {"renewed", renewed},
    {"log", start_log},
    {"dump", dump},
    {"reset", reset},
};

static cJSON *carry_out(const cJSON *line)
{
    const char *name = text_at(line, 0);
    for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return strstr(name, "call") != NULL ? limited(verbs[i].carry_out, line)
                                                : verbs[i].carry_out(line);
        }
    }
    give_up("no such line", name);
    return NULL;
}

/* The next line of the standard input, to be freed; NULL at its end. (Windows has no getline.) */
static char *read_line(void)
{
    size_t length = 0, capacity = 4096;
    char *line = malloc(capacity);
    while (line != NULL && fgets(line + length, (int)(capacity - length), stdin) != NULL) {
        length += strlen(line + length);
        if (length > 0 && line[length - 1] == '\n') {
            return line;
        }
        capacity *= 2;
        line = realloc(line, capacity);
    }
    if (line != NULL && length > 0) {
        return line;
    }
    free(line);
    return NULL;
}

int main(void)
{
    char *text;
    new_config();
    while ((text = read_line()) != NULL) {
        cJSON *line = cJSON_Parse(text);
        cJSON *answer = carry_out(line);
        char *printed = cJSON_PrintUnformatted(answer);
        puts(printed);
        fflush(stdout);
        cJSON_free(printed);
        cJSON_Delete(answer);
        cJSON_Delete(line);
        free(text);
    }
    forget();
    return EXIT_SUCCESS;
}
