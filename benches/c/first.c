/* A process that makes one call and ends: loading the library, TLS, the call.
 *
 *     first PORT CA_FILE */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        give_up("usage", "first PORT CA_FILE");
    }
    b24_client *client = bench_client(bench_config(number(argv[1]), argv[2]));
    bench_update(client);
    b24_client_free(client);
    return EXIT_SUCCESS;
}
