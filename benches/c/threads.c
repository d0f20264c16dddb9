/* One client, used by several threads at once.
 *
 *     threads PORT THREADS CALLS
 *
 * Each thread makes CALLS calls, for a message of its own. Prints the calls per second of all
 * together, the opening of their connections left out. */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <pthread.h>

static b24_client *client;
static long calls;
static pthread_barrier_t barrier;

static void update(const char *message_id)
{
    b24_error *error = NULL;
    require(b24_message_status_update(client, PROVIDER, message_id, STATUS, &error), error);
}

static void *work(void *message_id)
{
    update(message_id);
    pthread_barrier_wait(&barrier); /* everybody is warm */
    pthread_barrier_wait(&barrier); /* the clock runs */
    for (long i = 0; i < calls; i++) {
        update(message_id);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    enum { THREADS_MAX = 64 };
    pthread_t thread[THREADS_MAX];
    char message_id[THREADS_MAX][32];
    if (argc != 4 || number(argv[2]) > THREADS_MAX) {
        give_up("usage", "threads PORT THREADS CALLS, at most 64 THREADS");
    }
    long threads = number(argv[2]);
    calls = number(argv[3]);
    client = bench_client(bench_config(number(argv[1]), NULL));
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        snprintf(message_id[i], sizeof message_id[i], "message-%ld", i);
        if (pthread_create(&thread[i], NULL, work, message_id[i]) != 0) {
            give_up("threads", "cannot create a thread");
        }
    }
    pthread_barrier_wait(&barrier);
    double start = seconds();
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
    }
    printf("{\"calls_per_second\": %.3f}\n", (double)(threads * calls) / (seconds() - start));
    b24_client_free(client);
    return EXIT_SUCCESS;
}
