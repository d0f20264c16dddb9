/* Many updates as batches, to a portal that limits its callers.
 *
 *     batches PORT RATE STATE_DIR COUNT FIRST
 *
 * Reports on COUNT messages numbered from FIRST on, under the rate limit RATE, which the processes
 * that have STATE_DIR in common share. Fails if an update does. */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

int main(int argc, char **argv)
{
    if (argc != 6) {
        give_up("usage", "batches PORT RATE STATE_DIR COUNT FIRST");
    }
    b24_config *config = bench_config(number(argv[1]), NULL);
    set(config, "rate_limit", argv[2]);
    set(config, "state_dir", argv[3]);
    set(config, "timeout_ms", "600000");
    b24_client *client = bench_client(config);
    b24_batch *batch = b24_batch_new();
    long count = number(argv[4]);
    long first = number(argv[5]);
    for (long i = 0; i < count; i++) {
        char message_id[32];
        snprintf(message_id, sizeof message_id, "message-%ld", first + i);
        b24_batch_add(batch, PROVIDER, message_id, STATUS);
    }
    b24_error *error = NULL;
    require(b24_message_status_update_batch(client, batch, &error), error);
    b24_batch_free(batch);
    b24_client_free(client);
    return EXIT_SUCCESS;
}
