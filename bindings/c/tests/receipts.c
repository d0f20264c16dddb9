/* A provider against the portal emulator: what it receives, what it stores, and what a drain brings to
 * the portal. What the core decides is tested by the scenarios; here it is what C sees of it. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "portal.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const char host[] = "{\"host\":\"portal.bitrix24.test\"}";
static const char form[] = "application/x-www-form-urlencoded";
static const char member[] = "a223c6b3710f85df22e9377d6c4f7553";
/* A drain takes all of its time; this is enough for what the tests report. */
enum { DRAIN_MS = 1500, LONG_MS = 20000 };

/* Shows the error of a call that should have succeeded. */
static bool good(b24_code code, b24_error **error)
{
    if (!CHECK_NUMBER(code, B24_OK)) {
        fprintf(stderr, "    %s\n", b24_error_message(*error));
    }
    b24_error_free(*error);
    *error = NULL;
    return code == B24_OK;
}

/* A provider whose store is this file, and which sends with the calling thread alone if `workers` is
 * "0". */
static b24_provider *open_provider(const char *name, const char *workers)
{
    char store[128];
    snprintf(store, sizeof store, "%s/%s", portal_directory(), name);
    b24_config *config = portal_provider_config(store);
    CHECK_NUMBER(b24_config_set(config, "workers", workers, NULL), B24_OK);
    b24_provider *provider = (b24_provider *)&provider;
    b24_error *error = (b24_error *)&error;
    good(b24_provider_open(config, &provider, &error), &error);
    b24_config_free(config);
    return provider;
}

static b24_request *receive(b24_provider *provider, const char *body)
{
    b24_request *request = (b24_request *)&request;
    b24_error *error = (b24_error *)&error;
    good(b24_provider_receive(provider, form, body, strlen(body), &request, &error), &error);
    return request;
}

static void install(b24_provider *provider)
{
    b24_request *request = receive(provider, portal_request("/install", host));
    CHECK_NUMBER(b24_request_kind_of(request), B24_REQUEST_INSTALL);
    CHECK_TEXT(b24_request_get(request, "member_id"), member);
    b24_request_free(request);
}

static void report(b24_provider *provider, const char *message_id, const char *status)
{
    b24_error *error = (b24_error *)&error;
    good(b24_provider_report(provider, member, "provider1", message_id, status, 0, &error), &error);
}

/* Drains, and nothing waits any more. */
static void drain(b24_provider *provider)
{
    b24_error *error = NULL;
    b24_drained *drained = NULL;
    if (good(b24_provider_drain(provider, DRAIN_MS, &drained, &error), &error)) {
        CHECK_NUMBER(b24_drained_waiting(drained), 0);
        CHECK_NUMBER(b24_drained_next_due_ms(drained), -1);
    }
    b24_drained_free(drained);
}

static bool stored(const char *message_id, const char *status)
{
    char mark[1024];
    snprintf(mark, sizeof mark, "\"provider1|%s\":\"%s\"", message_id, status);
    return strstr(portal_ask("GET", "/messages", ""), mark) != NULL;
}

static void requests_are_read(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("requests.db", "0");
    const char *body = portal_request("/message", host);
    b24_error *error = NULL;
    b24_request *request = (b24_request *)&request;
    CHECK_NUMBER(b24_provider_receive(provider, form, body, strlen(body), &request, &error),
                 B24_ACCESS_DENIED);
    CHECK(request == NULL);
    b24_error_free(error);
    error = NULL;

    install(provider);
    request = receive(provider,
                      portal_request("/message", "{\"host\":\"portal.bitrix24.test\",\"message_id\":"
                                                 "\"m1\",\"phone\":\"+15550100\",\"text\":\"Hi\"}"));
    CHECK_NUMBER(b24_request_kind_of(request), B24_REQUEST_MESSAGE);
    CHECK_TEXT(b24_request_get(request, "member_id"), member);
    CHECK(strstr(b24_request_get(request, "client_endpoint"), "https://portal.bitrix24.test") != NULL);
    CHECK_TEXT(b24_request_get(request, "code"), "provider1");
    CHECK_TEXT(b24_request_get(request, "message_id"), "m1");
    CHECK_TEXT(b24_request_get(request, "message_to"), "+15550100");
    CHECK_TEXT(b24_request_get(request, "properties[message_text]"), "Hi");
    CHECK_TEXT(b24_request_get(request, "auth[member_id]"), member);
    CHECK_TEXT(b24_request_get(request, "no such field"), "");
    CHECK_TEXT(b24_request_get(request, ""), "");
    CHECK_TEXT(b24_request_get(request, "\xFF"), "");
    CHECK_TEXT(b24_request_get(request, NULL), "");

    b24_list *list = NULL;
    good(b24_request_fields(request, &list, &error), &error);
    b24_request_free(request); /* the list does not depend on it */
    size_t found = 0;
    for (size_t row = 0; row < b24_list_len(list); row++) {
        found += strcmp(b24_list_get(list, row, "name"), "message_body") == 0 &&
                 strcmp(b24_list_get(list, row, "value"), "Hi") == 0;
    }
    CHECK_NUMBER(found, 1);
    CHECK(b24_list_len(list) > 10);
    CHECK_TEXT(b24_list_get(list, b24_list_len(list), "name"), "");
    CHECK_TEXT(b24_list_get(list, (size_t)-1, "value"), "");
    CHECK_TEXT(b24_list_get(list, 0, "no such column"), "");
    b24_list_free(list);
    CHECK_NUMBER(b24_provider_receive(provider, form, "a", 1, NULL, NULL), B24_INVALID_ARGUMENT);
    b24_provider_close(provider);
}

static void an_installation_may_come_from_elsewhere(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("frames.db", "0");
    b24_error *error = NULL;
    b24_request *frame = receive(
        provider,
        portal_request("/install", "{\"host\":\"portal.bitrix24.test\",\"as\":\"frame\"}"));
    CHECK_NUMBER(b24_request_kind_of(frame), B24_REQUEST_FRAME);
    CHECK_NUMBER(b24_provider_client(provider, member, NULL, NULL), B24_INVALID_ARGUMENT);
    good(b24_provider_install_request(provider, frame, &error), &error);
    b24_request_free(frame);
    CHECK_NUMBER(b24_provider_client(provider, member, NULL, NULL), B24_OK);
    b24_provider_close(provider);

    provider = open_provider("answers.db", "0");
    good(b24_provider_install(provider,
                              "{\"access_token\":\"access-0000000000000001\",\"refresh_token\":"
                              "\"refresh-0000000000000001\"}",
                              "", &error),
         &error);
    CHECK_NUMBER(b24_provider_install(provider, "{\"access_token\":\"forged\",\"refresh_token\":"
                                                "\"forged\"}",
                                      "", NULL),
                 B24_ACCESS_DENIED);
    CHECK_NUMBER(b24_provider_client(provider, member, NULL, NULL), B24_OK);
    b24_provider_close(provider);
}

static void receipts_reach_the_portal(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("receipts.db", "4");
    install(provider);
    report(provider, "m1", "delivered");
    report(provider, "m1", "sent"); /* ranks lower */
    report(provider, "m2", "SENT");
    b24_error *error = NULL;
    good(b24_provider_report(provider, member, "provider1", "m3", "failed", 1700000000000, &error),
         &error);

    b24_batch *batch = b24_batch_new();
    b24_batch_add(batch, "provider1", "m4", "queued");
    b24_batch_add(batch, "provider1", "m5", "no status");
    b24_batch_add(batch, "provider1", "m6", "undelivered");
    CHECK_NUMBER(b24_provider_report_batch(provider, member, batch, &error), B24_INVALID_ARGUMENT);
    CHECK(strstr(b24_error_message(error), "no status") != NULL);
    b24_error_free(error);
    error = NULL;
    CHECK(b24_batch_error(batch, 0) == NULL);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, 1)), B24_INVALID_ARGUMENT);
    CHECK(b24_batch_error(batch, 2) == NULL);
    b24_batch_free(batch);

    /* The same reference of two operators, one of them known only afterwards. */
    good(b24_provider_track(provider, "r1", member, "provider1", "m7", &error), &error);
    good(b24_provider_report_reference(provider, "r1", "delivered", 0, &error), &error);
    good(b24_provider_report_reference_of(provider, "op", "r1", "failed", 0, &error), &error);
    good(b24_provider_track_of(provider, "op", "r1", member, "provider1", "m8", &error), &error);

    b24_list *list = NULL;
    good(b24_provider_inspect(provider, &list, &error), &error);
    CHECK_NUMBER(b24_list_len(list), 1);
    CHECK_TEXT(b24_list_get(list, 0, "member_id"), member);
    CHECK_TEXT(b24_list_get(list, 0, "state"), "active");
    CHECK_TEXT(b24_list_get(list, 0, "reason"), "");
    CHECK_TEXT(b24_list_get(list, 0, "waiting"), "7");
    CHECK_TEXT(b24_list_get(list, 0, "refused"), "0");
    CHECK(strtol(b24_list_get(list, 0, "oldest_ms"), NULL, 10) >= 0);
    CHECK(b24_list_get(list, 0, "oldest_ms")[0] != '\0');
    b24_list_free(list);

    b24_drained *drained = NULL;
    good(b24_provider_drain(provider, DRAIN_MS, &drained, &error), &error);
    CHECK_NUMBER(b24_drained_sent(drained), 7);
    CHECK_NUMBER(b24_drained_refused(drained), 0);
    CHECK_NUMBER(b24_drained_held(drained), 0);
    CHECK_NUMBER(b24_drained_waiting(drained), 0);
    CHECK_NUMBER(b24_drained_next_due_ms(drained), -1);
    b24_drained_free(drained);
    static const char *const statuses[][2] = {
        {"m1", "delivered"}, {"m2", "sent"},        {"m3", "failed"}, {"m4", "queued"},
        {"m6", "undelivered"}, {"m7", "delivered"}, {"m8", "failed"},
    };
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        CHECK(stored(statuses[i][0], statuses[i][1]));
    }

    good(b24_provider_inspect(provider, &list, &error), &error);
    CHECK_TEXT(b24_list_get(list, 0, "waiting"), "0");
    CHECK_TEXT(b24_list_get(list, 0, "oldest_ms"), "");
    CHECK_TEXT(b24_list_get(list, 0, "next_due_ms"), "");
    b24_list_free(list);
    good(b24_provider_prune(provider, 0, &error), &error);
    good(b24_provider_drain(provider, 0, NULL, &error), &error);
    b24_provider_close(provider);
}

static void what_is_given_up_is_listed(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("refused.db", "0");
    install(provider);
    report(provider, "m1", "sent");
    b24_error *error = NULL;
    good(b24_provider_report(provider, member, "provider1", "m2", "delivered", 1700000000000, &error),
         &error);
    b24_request *request = receive(provider, portal_request("/uninstall", host));
    CHECK_NUMBER(b24_request_kind_of(request), B24_REQUEST_UNINSTALL);
    b24_request_free(request);
    b24_drained *drained = NULL;
    good(b24_provider_drain(provider, DRAIN_MS, &drained, &error), &error);
    CHECK_NUMBER(b24_drained_sent(drained), 0);
    CHECK_NUMBER(b24_drained_refused(drained), 2);
    b24_drained_free(drained);

    b24_list *list = NULL;
    good(b24_provider_refused(provider, "", 10, &list, &error), &error);
    CHECK_NUMBER(b24_list_len(list), 2);
    CHECK_TEXT(b24_list_get(list, 0, "member_id"), member);
    CHECK_TEXT(b24_list_get(list, 0, "code"), "provider1");
    CHECK_TEXT(b24_list_get(list, 0, "reference"), "");
    CHECK_TEXT(b24_list_get(list, 0, "operator"), "");
    CHECK(b24_list_get(list, 0, "reason")[0] != '\0');
    for (size_t row = 0; row < b24_list_len(list); row++) {
        if (strcmp(b24_list_get(list, row, "message_id"), "m2") == 0) {
            CHECK_TEXT(b24_list_get(list, row, "status"), "delivered");
            CHECK_TEXT(b24_list_get(list, row, "at_ms"), "1700000000000");
        } else {
            CHECK_TEXT(b24_list_get(list, row, "message_id"), "m1");
            CHECK_TEXT(b24_list_get(list, row, "status"), "sent");
        }
    }
    b24_list_free(list);

    /* One by one. */
    char after[128] = "";
    size_t seen = 0;
    for (;;) {
        good(b24_provider_refused(provider, after, 1, &list, &error), &error);
        if (b24_list_len(list) == 0 || seen > 2) {
            break;
        }
        CHECK_NUMBER(b24_list_len(list), 1);
        snprintf(after, sizeof after, "%s", b24_list_get(list, 0, "cursor"));
        b24_list_free(list);
        list = NULL;
        seen++;
    }
    b24_list_free(list);
    CHECK_NUMBER(seen, 2);
    b24_provider_close(provider);
}

static void a_client_outlives_its_provider(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("client.db", "0");
    install(provider);
    b24_client *client = NULL;
    b24_error *error = NULL;
    good(b24_provider_client(provider, member, &client, &error), &error);
    b24_provider_close(provider);
    good(b24_message_status_update(client, "provider1", "m1", "sent", &error), &error);
    CHECK(stored("m1", "sent"));
    portal_ask("POST", "/set", "{\"expired\":true}");
    good(b24_message_status_update(client, "provider1", "m1", "delivered", &error), &error);
    CHECK_NUMBER(portal_seen("renewals"), 1);
    b24_client_free(client);

    /* The next program has the renewed tokens. */
    provider = open_provider("client.db", "0");
    report(provider, "m2", "sent");
    drain(provider);
    CHECK(stored("m2", "sent"));
    CHECK_NUMBER(portal_seen("renewals"), 1);
    b24_provider_close(provider);
}

struct draining {
    b24_provider *provider;
    b24_code code;
};

static void *drain_long(void *user)
{
    struct draining *draining = user;
    b24_drained *drained = NULL;
    draining->code = b24_provider_drain(draining->provider, LONG_MS, &drained, NULL);
    b24_drained_free(drained);
    return NULL;
}

/* Starts a drain in another thread, whose first request does not come back. */
static pthread_t start_draining(struct draining *draining)
{
    portal_ask("POST", "/fault", "[{\"kind\":\"hang\",\"at\":\"any\"}]");
    report(draining->provider, "m1", "sent");
    pthread_t thread;
    long before = portal_seen("requests");
    CHECK_NUMBER(pthread_create(&thread, NULL, drain_long, draining), 0);
    char wait[64];
    snprintf(wait, sizeof wait, "{\"requests\":%ld,\"timeout_ms\":20000}", before + 1);
    portal_ask("POST", "/wait", wait);
    return thread;
}

static void a_drain_can_be_cancelled(void)
{
    portal_reset("{}");
    struct draining draining = {open_provider("cancel.db", "2"), B24_INTERNAL};
    install(draining.provider);
    pthread_t thread = start_draining(&draining);
    b24_provider_cancel(draining.provider);
    pthread_join(thread, NULL);
    CHECK_NUMBER(draining.code, B24_CANCELLED);
    portal_ask("POST", "/release", "");
    /* Later calls are not affected. */
    report(draining.provider, "m2", "sent");
    b24_provider_close(draining.provider);
}

/* The drain ends after its request, and uses nothing that close has freed. */
static void close_waits_for_a_drain(void)
{
    portal_reset("{\"latency_ms\":500}");
    struct draining draining = {open_provider("close.db", "2"), B24_INTERNAL};
    install(draining.provider);
    portal_ask("POST", "/set", "{\"latency_ms\":500}");
    report(draining.provider, "m1", "sent");
    pthread_t thread;
    long before = portal_seen("requests");
    CHECK_NUMBER(pthread_create(&thread, NULL, drain_long, &draining), 0);
    char wait[64];
    snprintf(wait, sizeof wait, "{\"requests\":%ld,\"timeout_ms\":20000}", before + 1);
    portal_ask("POST", "/wait", wait);
    b24_provider_close(draining.provider);
    CHECK(stored("m1", "sent"));
    pthread_join(thread, NULL);
    CHECK_NUMBER(draining.code, B24_OK);
}

enum { THREADS = 8, EACH = 25 };

struct reporter {
    b24_provider *provider;
    int number;
    int failures;
};

static void *report_many(void *user)
{
    struct reporter *reporter = user;
    for (int i = 0; i < EACH; i++) {
        char message_id[32];
        snprintf(message_id, sizeof message_id, "t%d-%d", reporter->number, i);
        reporter->failures += b24_provider_report(reporter->provider, member, "provider1", message_id,
                                                  "delivered", 0, NULL) != B24_OK;
    }
    return NULL;
}

static void threads_report_at_once(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("threads.db", "2");
    install(provider);
    struct reporter reporters[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        reporters[i] = (struct reporter){provider, i, 0};
        CHECK_NUMBER(pthread_create(&threads[i], NULL, report_many, &reporters[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_NUMBER(reporters[i].failures, 0);
    }
    b24_error *error = NULL;
    b24_drained *drained = NULL;
    good(b24_provider_drain(provider, DRAIN_MS, &drained, &error), &error);
    CHECK_NUMBER(b24_drained_sent(drained), THREADS * EACH);
    b24_drained_free(drained);
    CHECK(stored("t7-24", "delivered"));
    b24_provider_close(provider);
}

static void a_provider_works_on_both_sides_of_a_fork(void)
{
    portal_reset("{}");
    b24_provider *provider = open_provider("fork.db", "0");
    install(provider);
    report(provider, "before", "sent");
    pid_t child = fork();
    if (child == 0) {
        b24_code code =
            b24_provider_report(provider, member, "provider1", "child", "delivered", 0, NULL);
        b24_provider_close(provider);
        _exit(code == B24_OK ? 0 : 1);
    }
    int ended = -1;
    waitpid(child, &ended, 0);
    CHECK_NUMBER(ended, 0);
    report(provider, "parent", "failed");
    drain(provider);
    CHECK(stored("before", "sent"));
    CHECK(stored("child", "delivered"));
    CHECK(stored("parent", "failed"));
    b24_provider_close(provider);
}

static void a_state_dir_is_imported(void)
{
    /* Other tokens than before, which this process knows to be renewed. */
    portal_reset("{\"expired\":true,\"access_token\":\"access-of-import\","
                 "\"refresh_token\":\"refresh-of-import\"}");
    char state_dir[128];
    snprintf(state_dir, sizeof state_dir, "%s/state", portal_directory());
    b24_config *config = portal_config();
    char resolve[512];
    snprintf(resolve, sizeof resolve, "%s,%s", portal_option("resolve"),
             portal_option("provider_resolve"));
    b24_config_set(config, "resolve", resolve, NULL);
    b24_config_set(config, "state_dir", state_dir, NULL);
    b24_config_set(config, "access_token", "access-of-import", NULL);
    b24_config_set(config, "refresh_token", "refresh-of-import", NULL);
    b24_config_set(config, "client_id", "app.1", NULL);
    b24_config_set(config, "client_secret", "secret-0000000000000001", NULL);
    b24_client *client = NULL;
    b24_error *error = NULL;
    good(b24_client_new(config, &client, &error), &error);
    good(b24_message_status_update(client, "provider1", "m1", "sent", &error), &error);

    b24_provider *provider = open_provider("import.db", "0");
    int64_t imported = -1;
    good(b24_provider_import_state_dir(provider, state_dir, &imported, &error), &error);
    CHECK_NUMBER(imported, 1);
    good(b24_provider_import_state_dir(provider, state_dir, NULL, &error), &error);
    CHECK_NUMBER(b24_provider_client(provider, member, NULL, NULL), B24_OK);
    b24_client_free(client);
    b24_config_free(config);
    b24_provider_close(provider);
}

int main(void)
{
    portal_start();
    portal_directory();
    requests_are_read();
    an_installation_may_come_from_elsewhere();
    receipts_reach_the_portal();
    what_is_given_up_is_listed();
    a_client_outlives_its_provider();
    a_drain_can_be_cancelled();
    close_waits_for_a_drain();
    threads_report_at_once();
    a_provider_works_on_both_sides_of_a_fork();
    a_state_dir_is_imported();
    portal_stop();
    return summary("receipts");
}
