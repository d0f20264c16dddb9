/* The scenario runner's adapter for C: turns lines on standard input into calls, and what comes of
 * them into lines on standard output. It judges nothing.
 *
 * Fields are separated by TAB and percent-encoded; see tests/run_scenarios.py. */
#define _POSIX_C_SOURCE 200809L

#include <b24_messageservice.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 4, CLIENTS_MAX = 27 };

static struct {
    b24_config *config;
    b24_client *clients[CLIENTS_MAX]; /* the one without a name, then a to z */
    size_t used;
    b24_batch *batch;
    b24_error *last_error;
    atomic_long renewals;
} state;

static const char *const code_names[] = {
    [B24_OK] = "OK",
    [B24_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [B24_INVALID_CONFIG] = "INVALID_CONFIG",
    [B24_TRANSPORT] = "TRANSPORT",
    [B24_TIMEOUT] = "TIMEOUT",
    [B24_PROTOCOL] = "PROTOCOL",
    [B24_AUTH] = "AUTH",
    [B24_ACCESS_DENIED] = "ACCESS_DENIED",
    [B24_MESSAGE_NOT_FOUND] = "MESSAGE_NOT_FOUND",
    [B24_RATE_LIMITED] = "RATE_LIMITED",
    [B24_PORTAL] = "PORTAL",
    [B24_PORTAL_MOVED] = "PORTAL_MOVED",
    [B24_CANCELLED] = "CANCELLED",
    [B24_INTERNAL] = "INTERNAL",
    [B24_STORAGE] = "STORAGE",
};

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Decodes in place: a decoded field is never longer. */
static char *decode(char *field)
{
    char *to = field;
    for (const char *from = field; *from != '\0'; to++) {
        int high = from[0] == '%' ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (low >= 0) {
            *to = (char)(high * 16 + low);
            from += 3;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return field;
}

static void put_encoded(const char *text)
{
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text != '\0'; text++) {
        if (strchr(unreserved, *text) != NULL) {
            putchar(*text);
        } else {
            printf("%%%02X", (unsigned)(unsigned char)*text);
        }
    }
}

static void put_error(const b24_error *error)
{
    b24_code code = b24_error_code(error);
    size_t known = sizeof code_names / sizeof code_names[0];
    printf("error\t%s\t", (size_t)code < known ? code_names[code] : "INTERNAL");
    put_encoded(b24_error_portal_code(error));
    printf("\t%" PRId32 "\t%d\t%" PRId64 "\t", b24_error_http_status(error),
           b24_error_is_retryable(error) ? 1 : 0, b24_error_retry_after_ms(error));
    put_encoded(b24_error_message(error));
    putchar('\t');
    put_encoded(b24_error_description(error));
    putchar('\n');
}

/* Takes the error over: `dump` shows it later. */
static void put_outcome(b24_code code, b24_error *error)
{
    if (code == B24_OK) {
        puts("ok");
        return;
    }
    put_error(error);
    b24_error_free(state.last_error);
    state.last_error = error;
}

static void count_renewal(const b24_tokens *tokens, void *user)
{
    (void)tokens;
    atomic_fetch_add((atomic_long *)user, 1);
}

static void write_record(int32_t level, const char *target, const char *message, void *user)
{
    fprintf((FILE *)user, "%" PRId32 " %s %s\n", level, target, message);
}

static void config(const char *name, const char *value)
{
    b24_error *error = NULL;
    b24_code code = b24_config_set(state.config, name, value, &error);
    put_outcome(code, error);
}

static void make_client(const char *kind)
{
    b24_error *error = NULL;
    b24_client **client = &state.clients[state.used];
    b24_client_free(*client);
    b24_code code = strcmp(kind, "shared") == 0 ? b24_client_shared(state.config, client, &error)
                                                : b24_client_new(state.config, client, &error);
    put_outcome(code, error);
}

static void update(const char *code, const char *message_id, const char *status)
{
    b24_error *error = NULL;
    b24_code outcome =
        b24_message_status_update(state.clients[state.used], code, message_id, status, &error);
    put_outcome(outcome, error);
}

/* The line that comes now is `cancel`. */
static void *cancel_at_the_next_line(void *client)
{
    for (int c = getchar(); c != '\n' && c != EOF;) {
        c = getchar();
    }
    b24_client_cancel(client);
    return NULL;
}

static void cancelled_update(const char *code, const char *message_id, const char *status)
{
    pthread_t reader;
    if (pthread_create(&reader, NULL, cancel_at_the_next_line, state.clients[state.used]) != 0) {
        fputs("adapter: no thread\n", stderr);
        exit(EXIT_FAILURE);
    }
    b24_error *error = NULL;
    b24_code outcome =
        b24_message_status_update(state.clients[state.used], code, message_id, status, &error);
    pthread_join(reader, NULL);
    put_outcome(outcome, error);
}

static void renewals_wait(const char *milliseconds)
{
    b24_error *error = NULL;
    b24_code outcome = b24_renewals_wait(strtoll(milliseconds, NULL, 10), &error);
    put_outcome(outcome, error);
}

static void send_batch(void)
{
    b24_error *error = NULL;
    b24_message_status_update_batch(state.clients[state.used], state.batch, &error);
    b24_error_free(error);
    size_t count = b24_batch_len(state.batch);
    printf("fates\t%zu\n", count);
    for (size_t i = 0; i < count; i++) {
        const b24_error *fate = b24_batch_error(state.batch, i);
        if (fate == NULL) {
            puts("ok");
        } else {
            put_error(fate);
        }
    }
    b24_batch_free(state.batch);
    state.batch = b24_batch_new();
}

static void put_tokens(void)
{
    b24_tokens *tokens = b24_client_tokens(state.clients[state.used]);
    printf("tokens\t");
    put_encoded(b24_tokens_access_token(tokens));
    putchar('\t');
    put_encoded(b24_tokens_refresh_token(tokens));
    putchar('\t');
    put_encoded(b24_tokens_client_endpoint(tokens));
    putchar('\t');
    put_encoded(b24_tokens_member_id(tokens));
    printf("\t%" PRId64 "\n", b24_tokens_expires(tokens));
    b24_tokens_free(tokens);
}

/* C shows nothing of a handle but what its functions return: the texts of the last error. */
static void dump(void)
{
    put_encoded(b24_error_message(state.last_error));
    put_encoded("\n");
    put_encoded(b24_error_portal_code(state.last_error));
    put_encoded("\n");
    put_encoded(b24_error_description(state.last_error));
    putchar('\n');
}

static void forget(void)
{
    b24_log_set(NULL, NULL, 0);
    b24_batch_free(state.batch);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        b24_client_free(state.clients[i]);
    }
    b24_config_free(state.config);
    b24_error_free(state.last_error);
    memset(&state, 0, sizeof state);
}

static void new_config(void)
{
    b24_config_free(state.config);
    state.config = b24_config_new();
    b24_config_on_renewal(state.config, count_renewal, &state.renewals, NULL);
}

static void begin(void)
{
    new_config();
    state.batch = b24_batch_new();
}

/* Does what one line asks; false when it asks to end. */
static bool obey(char *line)
{
    char *fields[FIELDS_MAX] = {"", "", "", ""};
    size_t count = 0;
    for (char *field = line; field != NULL && count < FIELDS_MAX; count++) {
        char *tab = strchr(field, '\t');
        if (tab != NULL) {
            *tab++ = '\0';
        }
        fields[count] = decode(field);
        field = tab;
    }
    const char *verb = fields[0];
    if (strcmp(verb, "use") == 0) {
        const char name = fields[1][0];
        state.used = name >= 'a' && name <= 'z' ? 1 + (size_t)(name - 'a') : 0;
        puts("ok");
    } else if (strcmp(verb, "config") == 0 && count == 1) {
        new_config();
        puts("ok");
    } else if (strcmp(verb, "config") == 0) {
        config(fields[1], fields[2]);
    } else if (strcmp(verb, "client") == 0) {
        make_client(fields[1]);
    } else if (strcmp(verb, "update") == 0) {
        update(fields[1], fields[2], fields[3]);
    } else if (strcmp(verb, "cancelled_update") == 0) {
        cancelled_update(fields[1], fields[2], fields[3]);
    } else if (strcmp(verb, "renewals_wait") == 0) {
        renewals_wait(fields[1]);
    } else if (strcmp(verb, "add") == 0) {
        b24_batch_add(state.batch, fields[1], fields[2], fields[3]);
        puts("ok");
    } else if (strcmp(verb, "batch") == 0) {
        send_batch();
    } else if (strcmp(verb, "tokens") == 0) {
        put_tokens();
    } else if (strcmp(verb, "renewed") == 0) {
        printf("%ld\n", atomic_load(&state.renewals));
    } else if (strcmp(verb, "log") == 0) {
        b24_log_set(write_record, stderr, 5);
        puts("ok");
    } else if (strcmp(verb, "dump") == 0) {
        dump();
    } else if (strcmp(verb, "reset") == 0) {
        forget();
        begin();
        puts("ok");
    } else if (strcmp(verb, "exit") == 0) {
        return false;
    } else {
        fprintf(stderr, "adapter: unknown line '%s'\n", verb);
        exit(EXIT_FAILURE);
    }
    return true;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool more = true;
    begin();
    while (more && (length = getline(&line, &capacity, stdin)) > 0) {
        if (line[length - 1] == '\n') {
            line[length - 1] = '\0';
        }
        more = obey(line);
        fflush(stdout);
    }
    free(line);
    forget();
    return EXIT_SUCCESS;
}
