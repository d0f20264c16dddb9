/* Several threads use one client, which needs no lock and keeps a connection for each of them.
 * Renewed tokens are given to one function, whichever thread needed them.
 *
 *     B24_ACCESS_TOKEN=… ./threads portal=portal.bitrix24.com provider1 THREADS UPDATES */
#include "options.h"

#include <pthread.h>

struct work {
    pthread_mutex_t lock;
    b24_client *client;
    const char *provider;
    long next;
    long count;
    long failed;
};

/* The number of the next update, or -1 if all are taken. */
static long take(struct work *work)
{
    pthread_mutex_lock(&work->lock);
    long number = work->next < work->count ? work->next++ : -1;
    pthread_mutex_unlock(&work->lock);
    return number;
}

static void *report(void *argument)
{
    struct work *work = argument;
    long failed = 0;
    for (long number = take(work); number >= 0; number = take(work)) {
        char message_id[64];
        b24_error *error = NULL;
        snprintf(message_id, sizeof message_id, "message-%ld", number);
        if (b24_message_status_update(work->client, work->provider, message_id, "delivered",
                                      &error) != B24_OK) {
            fprintf(stderr, "%s: %s\n", message_id, b24_error_message(error));
            b24_error_free(error);
            failed++;
        }
    }
    pthread_mutex_lock(&work->lock);
    work->failed += failed;
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* Store the pair in your database here: the old refresh token no longer works. */
static void store(const b24_tokens *tokens, void *user)
{
    (void)user;
    printf("renewed; the new access token expires at %lld\n",
           (long long)b24_tokens_expires(tokens));
}

int main(int argc, char **argv)
{
    enum { THREADS_MAX = 64 };
    int next;
    b24_config *config = read_options(argc, argv, &next);
    long threads = argc - next == 3 ? strtol(argv[next + 1], NULL, 10) : 0;
    if (threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: %s portal=HOST [NAME=VALUE ...] CODE THREADS UPDATES\n", argv[0]);
        b24_config_free(config);
        return EXIT_FAILURE;
    }

    struct work work = {.lock = PTHREAD_MUTEX_INITIALIZER};
    work.provider = argv[next];
    work.count = strtol(argv[next + 2], NULL, 10);
    b24_error *error = NULL;
    check(b24_config_on_renewal(config, store, NULL, &error), &error);
    check(b24_client_new(config, &work.client, &error), &error);
    b24_config_free(config);

    pthread_t running[THREADS_MAX];
    long started = 0;
    while (started < threads && pthread_create(&running[started], NULL, report, &work) == 0) {
        started++;
    }
    for (long i = 0; i < started; i++) {
        pthread_join(running[i], NULL);
    }
    printf("%ld stored, %ld not, by %ld threads\n", work.next - work.failed, work.failed, started);
    b24_client_free(work.client);
    b24_renewals_wait(RENEWALS_MS, NULL);
    return started == threads && work.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
