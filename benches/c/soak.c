/* Many calls in one process, and the memory, descriptors and threads that they leave behind.
 *
 *     soak PORT CALLS
 *
 * Prints a line of JSON after 1 % of the calls and after every tenth of them: the calls so far,
 * resident memory in KiB, open descriptors, threads. */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

static long entries(const char *directory)
{
    long count = 0;
    DIR *opened = opendir(directory);
    if (opened == NULL) {
        give_up(directory, "cannot be read");
    }
    while (readdir(opened) != NULL) {
        count++;
    }
    closedir(opened);
    return count - 2; /* "." and ".." */
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
        give_up("/proc/self/statm", "cannot be read");
    }
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void report(long calls)
{
    /* The descriptor that the count itself needs is one of them. */
    printf("{\"calls\": %ld, \"resident_kib\": %ld, \"descriptors\": %ld, \"threads\": %ld}\n",
           calls, resident_kib(), entries("/proc/self/fd") - 1, entries("/proc/self/task"));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 3 || number(argv[2]) < 100) {
        give_up("usage", "soak PORT CALLS, at least 100 CALLS");
    }
    long calls = number(argv[2]);
    b24_client *client = bench_client(bench_config(number(argv[1]), NULL));
    for (long i = 1; i <= calls; i++) {
        bench_update(client);
        if (i == calls / 100 || i % (calls / 10) == 0) {
            report(i);
        }
    }
    b24_client_free(client);
    return EXIT_SUCCESS;
}
