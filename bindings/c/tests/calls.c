/* Calls that reach the portal emulator: what they return, what the portal has stored, and what the
 * handles say afterwards. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "portal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const char token[] = "access-0000000000000001";
static const char message[] = "65575980fa531ac284c2ee68f81ebebd";

/* What the portal stored for a message of provider1, as it stands in JSON. */
static bool stored(const char *message_id, const char *status)
{
    char mark[1024];
    snprintf(mark, sizeof mark, "\"provider1|%s\":\"%s\"", message_id, status);
    return strstr(portal_ask("GET", "/messages", ""), mark) != NULL;
}

static b24_code update(b24_client *client, const char *status)
{
    return b24_message_status_update(client, "provider1", message, status, NULL);
}

static void each_status_is_stored(void)
{
    static const char *const statuses[] = {"queued", "sent", "delivered", "undelivered", "failed"};
    portal_reset("{}");
    b24_client *client = portal_client();
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        b24_error *error = (b24_error *)&error;
        CHECK_NUMBER(b24_message_status_update(client, "provider1", message, statuses[i], &error),
                     B24_OK);
        CHECK(error == NULL);
        CHECK(stored(message, statuses[i]));
    }
    CHECK_NUMBER(update(client, "DELIVERED"), B24_OK);
    CHECK(stored(message, "delivered"));
    CHECK_NUMBER(portal_seen("connections"), 1);
    b24_client_free(client);
}

static void an_error_has_all_its_parts(void)
{
    portal_reset("{\"messages\":[]}");
    b24_client *client = portal_client();
    b24_error *error = NULL;
    CHECK_NUMBER(b24_message_status_update(client, "provider1", message, "sent", &error),
                 B24_MESSAGE_NOT_FOUND);
    CHECK_NUMBER(b24_error_code(error), B24_MESSAGE_NOT_FOUND);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_MESSAGE_NOT_FOUND");
    CHECK_TEXT(b24_error_description(error), "Message not found!");
    CHECK_NUMBER(b24_error_http_status(error), 400);
    CHECK(!b24_error_is_retryable(error));
    CHECK_NUMBER(b24_error_retry_after_ms(error), -1);
    CHECK(strstr(b24_error_message(error), token) == NULL);
    b24_client_free(client);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_MESSAGE_NOT_FOUND"); /* outlives the client */
    b24_error_free(error);
}

/* The portal's text may hold a NUL; what follows it is not lost to C. */
static void a_nul_from_the_network_cuts_nothing(void)
{
    portal_reset("{\"answer\":{\"status\":400,\"error\":\"NEW_CODE\","
                 "\"description\":\"be\\u0000fore\"}}");
    b24_client *client = portal_client();
    b24_error *error = NULL;
    CHECK_NUMBER(b24_message_status_update(client, "provider1", message, "sent", &error),
                 B24_PORTAL);
    CHECK_TEXT(b24_error_portal_code(error), "NEW_CODE");
    CHECK_TEXT(b24_error_description(error), "be fore");
    b24_error_free(error);
    b24_client_free(client);
}

static void a_batch_has_a_fate_for_each(void)
{
    portal_reset("{\"messages\":[\"provider1|one\",\"provider1|three\"]}");
    b24_client *client = portal_client();
    b24_batch *batch = b24_batch_new();
    b24_batch_add(batch, "provider1", "one", "sent");
    b24_batch_add(batch, "provider1", "two", "sent");
    b24_batch_add(batch, "provider1", "three", "lost");
    b24_batch_add(batch, NULL, "three", "sent");
    b24_batch_add(batch, "provider1", "three", "delivered");
    CHECK_NUMBER(b24_batch_len(batch), 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK(b24_batch_error(batch, i) != NULL); /* nothing has been applied yet */
    }

    b24_error *error = NULL;
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, &error), B24_MESSAGE_NOT_FOUND);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_MESSAGE_NOT_FOUND");
    CHECK(b24_batch_error(batch, 0) == NULL);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, 1)), B24_MESSAGE_NOT_FOUND);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, 2)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(b24_error_code(b24_batch_error(batch, 3)), B24_INVALID_ARGUMENT);
    CHECK(b24_batch_error(batch, 4) == NULL);
    CHECK(stored("one", "sent"));
    CHECK(stored("three", "delivered"));
    CHECK_NUMBER(portal_seen("requests"), 1);
    b24_batch_free(batch);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_MESSAGE_NOT_FOUND"); /* a copy */
    b24_error_free(error);
    b24_client_free(client);
}

static void a_batch_may_be_sent_again(void)
{
    portal_reset("{\"messages\":[]}");
    b24_client *client = portal_client();
    b24_batch *batch = b24_batch_new();
    for (int i = 0; i < 120; i++) {
        char message_id[32];
        snprintf(message_id, sizeof message_id, "m%d", i);
        b24_batch_add(batch, "provider1", message_id, "sent");
    }
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_MESSAGE_NOT_FOUND);
    portal_ask("POST", "/set", "{\"messages\":[\"*\"]}");
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_OK);
    for (size_t i = 0; i < b24_batch_len(batch); i++) {
        CHECK(b24_batch_error(batch, i) == NULL);
    }
    CHECK(stored("m0", "sent"));
    CHECK(stored("m119", "sent"));
    CHECK_NUMBER(portal_seen("requests"), 6);

    /* One more may be added, and is not taken for applied before it is. */
    b24_batch_add(batch, "provider1", "late", "sent");
    CHECK(b24_batch_error(batch, 119) == NULL);
    CHECK(b24_batch_error(batch, 120) != NULL);
    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_OK);
    CHECK(b24_batch_error(batch, 120) == NULL);
    b24_batch_free(batch);
    b24_client_free(client);
}

/* An error of a batch is where it was, and says what it said, however many updates are added later. */
static void an_error_of_a_batch_stays_where_it_is(void)
{
    portal_reset("{\"messages\":[]}");
    b24_client *client = portal_client();
    b24_batch *batch = b24_batch_new();
    b24_batch_add(batch, "provider1", "one", "sent");
    b24_batch_add(batch, "provider1", "two", "lost");
    const b24_error *not_sent = b24_batch_error(batch, 0);
    const b24_error *unsendable = b24_batch_error(batch, 1);
    for (int i = 0; i < 1000; i++) {
        b24_batch_add(batch, "provider1", "one", "sent");
    }
    CHECK(b24_batch_error(batch, 0) == not_sent);
    CHECK(b24_batch_error(batch, 1) == unsendable);
    CHECK_NUMBER(b24_error_code(not_sent), B24_INVALID_ARGUMENT);
    CHECK(strstr(b24_error_message(not_sent), "not sent yet") != NULL);

    CHECK_NUMBER(b24_message_status_update_batch(client, batch, NULL), B24_MESSAGE_NOT_FOUND);
    const b24_error *refused = b24_batch_error(batch, 0);
    const char *description = b24_error_description(refused);
    unsendable = b24_batch_error(batch, 1);
    for (int i = 0; i < 5000; i++) {
        b24_batch_add(batch, "provider1", "one", "sent");
    }
    CHECK(b24_batch_error(batch, 0) == refused);
    CHECK_NUMBER(b24_error_code(refused), B24_MESSAGE_NOT_FOUND);
    CHECK_TEXT(description, "Message not found!");
    CHECK(strstr(b24_error_message(unsendable), "status") != NULL);
    b24_batch_free(batch);
    b24_client_free(client);
}

struct renewed {
    int count;
    pthread_t thread;
    bool blocked; /* no signal is handled on that thread */
    char access_token[128];
    char refresh_token[128];
    int64_t expires;
};

static void note_renewal(const b24_tokens *tokens, void *user)
{
    struct renewed *renewed = user;
    renewed->count++;
    renewed->thread = pthread_self();
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    renewed->blocked = sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1 &&
                       sigismember(&blocked, SIGUSR1) == 1 && sigismember(&blocked, SIGCHLD) == 1;
    snprintf(renewed->access_token, sizeof renewed->access_token, "%s",
             b24_tokens_access_token(tokens));
    snprintf(renewed->refresh_token, sizeof renewed->refresh_token, "%s",
             b24_tokens_refresh_token(tokens));
    renewed->expires = b24_tokens_expires(tokens);
}

/* An installation of its own for each test: a process never forgets that a pair was renewed. */
static b24_config *renewing_config(struct renewed *renewed, const char *access_token,
                                   const char *refresh_token)
{
    char settings[256];
    snprintf(settings, sizeof settings,
             "{\"expired\":true,\"access_token\":\"%s\",\"refresh_token\":\"%s\"}", access_token,
             refresh_token);
    portal_reset(settings);
    b24_config *config = portal_config();
    b24_config_set(config, "access_token", access_token, NULL);
    b24_config_set(config, "refresh_token", refresh_token, NULL);
    b24_config_set(config, "client_id", "app.1", NULL);
    b24_config_set(config, "client_secret", "secret-0000000000000001", NULL);
    CHECK_NUMBER(b24_config_on_renewal(config, note_renewal, renewed, NULL), B24_OK);
    return config;
}

static void renewed_tokens_reach_the_caller(void)
{
    static const char old_token[] = "access-of-one-caller";
    struct renewed renewed = {0};
    b24_config *config = renewing_config(&renewed, old_token, "refresh-of-one-caller");
    b24_client *client = NULL;
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    b24_config_free(config); /* the client has what it needs */

    b24_tokens *before = b24_client_tokens(client);
    CHECK_NUMBER(update(client, "sent"), B24_OK);
    b24_tokens *after = b24_client_tokens(client);
    CHECK_NUMBER(renewed.count, 1);
    CHECK(!pthread_equal(renewed.thread, pthread_self()));
    CHECK(renewed.blocked);
    CHECK_TEXT(b24_tokens_access_token(before), old_token);
    CHECK_TEXT(b24_tokens_access_token(after), renewed.access_token);
    CHECK_TEXT(b24_tokens_refresh_token(after), renewed.refresh_token);
    CHECK(strcmp(renewed.access_token, old_token) != 0);
    CHECK(renewed.expires > 0);
    CHECK_NUMBER(b24_tokens_expires(after), renewed.expires);
    CHECK(strstr(b24_tokens_client_endpoint(after), "portal.bitrix24.test") != NULL);
    CHECK(b24_tokens_member_id(after)[0] != '\0');
    b24_client_free(client);
    CHECK_TEXT(b24_tokens_access_token(before), old_token); /* snapshots outlive the client */
    b24_tokens_free(before);
    b24_tokens_free(after);
}

/* The answer comes when the call has timed out and its client is freed. */
static void a_renewal_outlives_its_call(void)
{
    struct renewed renewed = {0};
    b24_config *config = renewing_config(&renewed, "access-left-behind", "refresh-left-behind");
    portal_ask("POST", "/set", "{\"oauth_latency_ms\":60000}"); /* until the release */
    b24_config_set(config, "timeout_ms", "2000", NULL);
    b24_client *client = NULL;
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    CHECK_NUMBER(update(client, "sent"), B24_TIMEOUT);
    b24_client_free(client);
    b24_error *error = NULL;
    CHECK_NUMBER(b24_renewals_wait(0, &error), B24_TIMEOUT);
    CHECK_NUMBER(b24_error_code(error), B24_TIMEOUT);
    b24_error_free(error);
    CHECK_NUMBER(renewed.count, 0);

    portal_ask("POST", "/release", "");
    CHECK_NUMBER(b24_renewals_wait(45000, NULL), B24_OK);
    CHECK_NUMBER(renewed.count, 1);
    CHECK(strstr(portal_ask("GET", "/tokens", ""), renewed.refresh_token) != NULL);
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    b24_config_free(config);
    CHECK_NUMBER(update(client, "sent"), B24_OK); /* with the old pair in its settings */
    b24_client_free(client);
    CHECK_NUMBER(portal_seen("renewals"), 1);
    CHECK_NUMBER(portal_seen("spent_tokens"), 0);
    CHECK(strstr(portal_ask("GET", "/tokens", ""), "\"lost\":false") != NULL);
}

static void a_shared_client_outlives_its_free(void)
{
    portal_reset("{}");
    for (int i = 0; i < 5; i++) {
        b24_config *config = portal_config();
        b24_client *client = NULL;
        CHECK_NUMBER(b24_client_shared(config, &client, NULL), B24_OK);
        b24_config_free(config);
        CHECK_NUMBER(update(client, "sent"), B24_OK);
        b24_client_free(client);
    }
    CHECK_NUMBER(portal_seen("connections"), 1);
}

static void *cancel_when_seen(void *client)
{
    portal_ask("POST", "/wait", "{\"requests\":1,\"timeout_ms\":20000}");
    b24_client_cancel(client);
    return NULL;
}

static void a_call_under_way_can_be_cancelled(void)
{
    portal_reset("{}");
    portal_ask("POST", "/fault", "[{\"kind\":\"hang\"}]");
    b24_client *client = portal_client();
    pthread_t other;
    if (!CHECK_NUMBER(pthread_create(&other, NULL, cancel_when_seen, client), 0)) {
        return;
    }
    CHECK_NUMBER(update(client, "sent"), B24_CANCELLED);
    pthread_join(other, NULL);
    CHECK_NUMBER(update(client, "delivered"), B24_OK); /* later calls are not affected */
    portal_ask("POST", "/release", "");
    b24_client_free(client);
}

static void *cancel_token_when_seen(void *token)
{
    portal_ask("POST", "/wait", "{\"requests\":1,\"timeout_ms\":20000}");
    b24_cancel_token_cancel(token);
    return NULL;
}

static void a_token_ends_its_calls_alone(void)
{
    portal_reset("{}");
    portal_ask("POST", "/fault", "[{\"kind\":\"hang\"}]");
    b24_client *client = portal_client();
    b24_client *limited = NULL;
    b24_cancel_token *token = b24_cancel_token_new();
    CHECK_NUMBER(b24_client_limited(client, 0, token, &limited, NULL), B24_OK);
    pthread_t other;
    if (!CHECK_NUMBER(pthread_create(&other, NULL, cancel_token_when_seen, token), 0)) {
        return;
    }
    CHECK_NUMBER(update(limited, "sent"), B24_CANCELLED);
    pthread_join(other, NULL);
    CHECK_NUMBER(update(limited, "sent"), B24_CANCELLED); /* it stays cancelled */
    CHECK_NUMBER(portal_seen("requests"), 1);
    CHECK_NUMBER(update(client, "delivered"), B24_OK);
    b24_cancel_token_free(token);
    b24_client_free(client);
    CHECK_NUMBER(update(limited, "sent"), B24_CANCELLED); /* it outlives both */
    portal_ask("POST", "/release", "");
    b24_client_free(limited);
}

static void a_handle_has_a_timeout_of_its_own(void)
{
    portal_reset("{}");
    portal_ask("POST", "/fault", "[{\"kind\":\"hang\",\"count\":9}]");
    b24_client *client = portal_client();
    b24_client *limited = NULL;
    CHECK_NUMBER(b24_client_limited(client, 200, NULL, &limited, NULL), B24_OK);
    CHECK_NUMBER(update(limited, "sent"), B24_TIMEOUT);
    portal_reset("{}");
    CHECK_NUMBER(update(client, "sent"), B24_OK);
    b24_client_free(limited);
    b24_client_free(client);
}

struct records {
    int count;
    int unknown;
    int secrets;
    int least;
};

static void note_record(int32_t level, const char *target, const char *text, void *user)
{
    struct records *records = user;
    records->count++;
    records->least = level > records->least ? level : records->least;
    records->unknown += strncmp(target, "b24_messageservice", 18) != 0;
    records->secrets += strstr(text, token) != NULL;
}

/* Takes what waits, and gives how many records there are and the message of the last one. */
static size_t take_records(char *last, size_t room)
{
    b24_list *list = b24_log_take();
    size_t count = b24_list_len(list);
    snprintf(last, room, "%s", count == 0 ? "" : b24_list_get(list, count - 1, "message"));
    for (size_t i = 0; i < count; i++) {
        const char *level = b24_list_get(list, i, "level");
        CHECK(level[0] >= '1' && level[0] <= '5' && level[1] == '\0');
        CHECK_TEXT(b24_list_get(list, i, "target"), "b24_messageservice");
        CHECK(strtoll(b24_list_get(list, i, "at_ms"), NULL, 10) > 1500000000000);
    }
    b24_list_free(list);
    return count;
}

static void the_log_waits_in_a_queue(void)
{
    char last[200];
    portal_reset("{}");
    b24_client *client = portal_client();
    b24_log_queue(5, 100);
    update(client, "sent");
    CHECK(take_records(last, sizeof last) > 0);
    CHECK(strstr(last, "ok") != NULL);
    CHECK(take_records(last, sizeof last) == 0);

    b24_log_queue(4, 2);
    for (size_t i = 0; i < 5; i++)
        update(client, "sent");
    CHECK_NUMBER(take_records(last, sizeof last), 3);
    CHECK(strncmp(last, "3 log records were dropped", 26) == 0);
    CHECK(take_records(last, sizeof last) == 0);

    b24_log_set(NULL, NULL, 5);
    update(client, "sent");
    CHECK(take_records(last, sizeof last) == 0);
    b24_client_free(client);
}

static void the_log_goes_where_it_is_sent(void)
{
    struct records records = {0};
    portal_reset("{\"messages\":[]}");
    b24_client *client = portal_client();
    b24_log_set(note_record, &records, 5);
    update(client, "sent");
    CHECK(records.count > 0);
    CHECK_NUMBER(records.unknown, 0);
    CHECK_NUMBER(records.secrets, 0);

    records = (struct records){0};
    b24_log_set(note_record, &records, 1);
    update(client, "sent");
    CHECK(records.least <= 1);

    b24_log_set(NULL, NULL, 5);
    records = (struct records){0};
    update(client, "sent");
    CHECK_NUMBER(records.count, 0);
    b24_client_free(client);
}

static void count_freed(void *user)
{
    ++*(int *)user;
}

static void ask_within(int32_t level, const char *target, const char *text, void *user)
{
    (void)level;
    (void)target;
    (void)text;
    /* While this thread is inside, what belongs to the function is not freed. */
    b24_log_set(NULL, NULL, 0);
    CHECK_NUMBER(*(int *)user, 0);
}

static void what_belongs_to_the_log_is_freed_once(void)
{
    int freed[4] = {0};
    portal_reset("{}");
    b24_client *client = portal_client();
    b24_log_set_owned(ask_within, &freed[0], count_freed, 5);
    update(client, "sent");
    CHECK_NUMBER(freed[0], 1);

    b24_log_set_owned(ask_within, &freed[1], count_freed, 0);
    b24_log_set_owned(ask_within, &freed[2], count_freed, 0);
    CHECK_NUMBER(freed[1], 1);
    CHECK_NUMBER(freed[2], 0);
    b24_log_set(NULL, NULL, 0);
    CHECK_NUMBER(freed[2], 1);
    b24_log_set_owned(NULL, &freed[3], count_freed, 5);
    CHECK_NUMBER(freed[3], 1);
    b24_client_free(client);
}

static void *update_once(void *client)
{
    b24_error *error = NULL;
    b24_code code = b24_message_status_update(client, "provider1", message, "sent", &error);
    if (code != B24_OK) {
        fprintf(stderr, "    %s\n", b24_error_message(error));
        b24_error_free(error);
    }
    return code == B24_OK ? client : NULL;
}

/* The portal answers the first call with a 503 and asks for a second's patience; the call of an equal
 * client that is begun meanwhile must not overtake it. */
static void equal_clients_take_turns_for_a_message(void)
{
    portal_reset("{}");
    portal_ask("POST", "/fault",
               "[{\"kind\":\"status\",\"status\":503,\"headers\":{\"Retry-After\":\"1\"}}]");
    b24_client *first = portal_client();
    b24_client *second = portal_client();
    pthread_t other;
    if (!CHECK_NUMBER(pthread_create(&other, NULL, update_once, first), 0)) {
        return;
    }
    portal_ask("POST", "/wait", "{\"requests\":1,\"timeout_ms\":20000}");
    CHECK_NUMBER(update(second, "delivered"), B24_OK);
    void *good = NULL;
    pthread_join(other, &good);
    CHECK(good != NULL);
    CHECK(stored(message, "delivered"));
    CHECK_NUMBER(portal_seen("requests"), 3);
    b24_client_free(first);
    b24_client_free(second);
}

static void threads_share_one_renewal(void)
{
    enum { THREADS = 16 };
    struct renewed renewed = {0};
    b24_config *config = renewing_config(&renewed, "access-of-threads", "refresh-of-threads");
    b24_client *client = NULL;
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    b24_config_free(config);
    pthread_t threads[THREADS];
    int started = 0;
    while (started < THREADS && pthread_create(&threads[started], NULL, update_once, client) == 0) {
        started++;
    }
    CHECK_NUMBER(started, THREADS);
    for (int i = 0; i < started; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        CHECK(good != NULL);
    }
    CHECK_NUMBER(renewed.count, 1);
    CHECK_NUMBER(portal_seen("renewals"), 1);
    CHECK_NUMBER(portal_seen("spent_tokens"), 0);
    b24_client_free(client);
}

static void a_fork_shares_no_connection(void)
{
    portal_reset("{}");
    b24_client *client = portal_client();
    CHECK_NUMBER(update(client, "queued"), B24_OK);
    pid_t child = fork();
    if (child == 0) {
        b24_code code = b24_message_status_update(client, "provider1", "child", "sent", NULL);
        b24_client_free(client);
        _exit(code == B24_OK ? 0 : 1);
    }
    int ended = -1;
    waitpid(child, &ended, 0);
    CHECK_NUMBER(ended, 0);
    CHECK(stored("child", "sent"));
    /* Before the parent calls again: over a connection that both had used, TLS would fail, and the
     * parent would open another. */
    CHECK_NUMBER(portal_seen("connections"), 2);
    CHECK_NUMBER(update(client, "sent"), B24_OK);
    CHECK(stored(message, "sent"));
    CHECK_NUMBER(portal_seen("connections"), 2);
    b24_client_free(client);
}

/* The child must not wait for a lock that a thread of the parent held at the fork. */
static void a_fork_amid_a_call_hangs_nothing(void)
{
    portal_reset("{}");
    portal_ask("POST", "/fault", "[{\"kind\":\"hang\"}]");
    b24_client *client = portal_client();
    pthread_t other;
    if (!CHECK_NUMBER(pthread_create(&other, NULL, update_once, client), 0)) {
        return;
    }
    portal_ask("POST", "/wait", "{\"requests\":1,\"timeout_ms\":20000}");
    pid_t child = fork();
    if (child == 0) {
        b24_batch *batch = b24_batch_new();
        b24_batch_add(batch, "provider1", "child", "delivered");
        b24_code code = b24_message_status_update_batch(client, batch, NULL);
        b24_batch_free(batch);
        b24_client_free(client);
        /* Ended by exec: such a child leaves alone what the parent's thread was changing, on purpose,
         * and memcheck would call that a leak at an exit. */
        const char *program = code == B24_OK ? "true" : "false";
        execlp(program, program, (char *)NULL);
        _exit(2);
    }
    int ended = -1;
    waitpid(child, &ended, 0);
    CHECK_NUMBER(ended, 0);
    CHECK(stored("child", "delivered"));
    portal_ask("POST", "/release", "");
    pthread_join(other, NULL);
    CHECK_NUMBER(update(client, "delivered"), B24_OK); /* the parent's client is as good as before */
    b24_client_free(client);
}

/* The longest that the protocol has a place for arrives whole: 128 characters of four bytes in an id,
 * a megabyte in a token. */
static void long_texts_arrive_whole(void)
{
    enum { TOKEN_LENGTH = 1 << 20, CHARACTERS = 128 };
    char message_id[CHARACTERS * 4 + 1];
    for (size_t i = 0; i < CHARACTERS; i++) {
        memcpy(message_id + i * 4, "\xF0\x9F\x93\xA9", 4);
    }
    message_id[CHARACTERS * 4] = '\0';
    portal_reset("{}");
    b24_client *client = portal_client();
    CHECK_NUMBER(b24_message_status_update(client, "provider1", message_id, "sent", NULL), B24_OK);
    CHECK(stored(message_id, "sent"));
    b24_client_free(client);

    char *huge = malloc(TOKEN_LENGTH + 1);
    if (!CHECK(huge != NULL)) {
        return;
    }
    memset(huge, 't', TOKEN_LENGTH);
    huge[TOKEN_LENGTH] = '\0';
    portal_reset("{\"access_token\":\"*\"}");
    b24_config *config = portal_config();
    CHECK_NUMBER(b24_config_set(config, "access_token", huge, NULL), B24_OK);
    CHECK_NUMBER(b24_client_new(config, &client, NULL), B24_OK);
    b24_config_free(config);
    CHECK_NUMBER(update(client, "sent"), B24_OK);
    b24_tokens *tokens = b24_client_tokens(client);
    CHECK(strcmp(b24_tokens_access_token(tokens), huge) == 0);
    b24_tokens_free(tokens);
    b24_client_free(client);
    free(huge);
}

static b24_sender *provider(const char *code)
{
    b24_sender *sender = b24_sender_new(code);
    CHECK_NUMBER(b24_sender_set(sender, "handler", NULL, "https://provider.example.com/send", NULL),
                 B24_OK);
    CHECK_NUMBER(b24_sender_set(sender, "name", NULL, "One", NULL), B24_OK);
    return sender;
}

static void a_sender_comes_changes_and_goes(void)
{
    portal_reset("{}");
    b24_client *client = portal_client();
    b24_sender *sender = provider("provider1");
    CHECK_NUMBER(b24_sender_set(sender, "description", "en", "SMS", NULL), B24_OK);
    CHECK_NUMBER(b24_sender_set(sender, "description", "de", "Kurznachrichten", NULL), B24_OK);
    b24_error *error = (b24_error *)&error; /* not NULL, to see it overwritten */
    CHECK_NUMBER(b24_sender_add(client, sender, &error), B24_OK);
    CHECK(error == NULL);
    CHECK(strstr(portal_ask("GET", "/senders", ""),
                 "\"description\":{\"de\":\"Kurznachrichten\",\"en\":\"SMS\"}") != NULL);

    CHECK_NUMBER(b24_sender_add(client, sender, &error), B24_PORTAL);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_SENDER_ALREADY_INSTALLED");
    b24_error_free(error);
    b24_sender_free(sender);

    sender = b24_sender_new("provider1");
    CHECK_NUMBER(b24_sender_set(sender, "name", "en", "Two", NULL), B24_OK);
    CHECK_NUMBER(b24_sender_update(client, sender, NULL), B24_OK);
    b24_sender_free(sender);
    CHECK(strstr(portal_ask("GET", "/senders", ""), "\"name\":{\"en\":\"Two\"}") != NULL);

    CHECK_NUMBER(b24_sender_delete(client, "provider1", NULL), B24_OK);
    CHECK_TEXT(portal_ask("GET", "/senders", ""), "{}");
    CHECK_NUMBER(b24_sender_delete(client, "provider1", &error), B24_PORTAL);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_SENDER_NOT_FOUND");
    b24_error_free(error);
    b24_client_free(client);
}

/* Every row is there, and only as long as the list; what is not there is "". */
static void a_list_outlives_its_client(void)
{
    portal_reset("{\"senders\":[\"provider1\",\"provider2\"]}");
    b24_client *client = portal_client();
    b24_list *list = NULL;
    CHECK_NUMBER(b24_sender_list(client, &list, NULL), B24_OK);
    CHECK_NUMBER(b24_sender_list(client, NULL, NULL), B24_OK); /* nobody to give a list to */
    CHECK_NUMBER(b24_sender_delete(client, "provider1", NULL), B24_OK);
    b24_client_free(client);
    CHECK_NUMBER(b24_list_len(list), 2);
    const char *first = b24_list_get(list, 0, "code");
    CHECK_TEXT(first, "provider1");
    CHECK_TEXT(b24_list_get(list, 1, "code"), "provider2");
    CHECK_TEXT(b24_list_get(list, 2, "code"), "");
    CHECK_TEXT(b24_list_get(list, (size_t)-1, "code"), "");
    CHECK_TEXT(b24_list_get(list, 0, "status"), "");
    CHECK_TEXT(b24_list_get(list, 0, "CODE"), "");
    CHECK_TEXT(b24_list_get(list, 0, "\xFF"), "");
    CHECK_TEXT(b24_list_get(list, 0, NULL), "");
    CHECK(b24_list_get(list, 0, "code") == first);
    b24_list_free(list);

    client = portal_client();
    CHECK_NUMBER(b24_sender_delete(client, "provider2", NULL), B24_OK);
    CHECK_NUMBER(b24_sender_list(client, &list, NULL), B24_OK);
    CHECK(list != NULL);
    CHECK_NUMBER(b24_list_len(list), 0);
    CHECK_TEXT(b24_list_get(list, 0, "code"), "");
    b24_list_free(list);
    b24_client_free(client);
}

static void the_status_of_a_message_is_one_row(void)
{
    portal_reset("{\"message_statuses\":{\"7\":\"Delivered\",\"8\":\"\"}}");
    b24_client *client = portal_client();
    b24_list *list = NULL;
    CHECK_NUMBER(b24_message_status_get(client, 7, &list, NULL), B24_OK);
    CHECK_NUMBER(b24_list_len(list), 1);
    CHECK_TEXT(b24_list_get(list, 0, "status"), "Delivered");
    b24_list_free(list);

    CHECK_NUMBER(b24_message_status_get(client, 8, &list, NULL), B24_OK);
    CHECK_NUMBER(b24_list_len(list), 1);
    CHECK_TEXT(b24_list_get(list, 0, "status"), "");
    b24_list_free(list);

    b24_error *error = NULL;
    CHECK_NUMBER(b24_message_status_get(client, UINT64_MAX, &list, &error), B24_MESSAGE_NOT_FOUND);
    CHECK(list == NULL);
    CHECK_TEXT(b24_error_portal_code(error), "ERROR_MESSAGE_NOT_FOUND");
    b24_error_free(error);
    b24_client_free(client);
}

int main(void)
{
    portal_start();
    each_status_is_stored();
    an_error_has_all_its_parts();
    a_nul_from_the_network_cuts_nothing();
    a_batch_has_a_fate_for_each();
    a_batch_may_be_sent_again();
    an_error_of_a_batch_stays_where_it_is();
    renewed_tokens_reach_the_caller();
    a_renewal_outlives_its_call();
    a_shared_client_outlives_its_free();
    a_call_under_way_can_be_cancelled();
    a_token_ends_its_calls_alone();
    a_handle_has_a_timeout_of_its_own();
    the_log_goes_where_it_is_sent();
    the_log_waits_in_a_queue();
    what_belongs_to_the_log_is_freed_once();
    equal_clients_take_turns_for_a_message();
    threads_share_one_renewal();
    a_fork_shares_no_connection();
    a_fork_amid_a_call_hangs_nothing();
    long_texts_arrive_whole();
    a_sender_comes_changes_and_goes();
    a_list_outlives_its_client();
    the_status_of_a_message_is_one_row();
    portal_stop();
    return summary("calls");
}
