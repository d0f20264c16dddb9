/* The upsert of a receipt by libpq, for comparison with a provider's report.
 *
 *     upsert CONNECTION SQL      waits for lines "upsert MS" on stdin: does it for so long, and prints a
 *                                line of times in microseconds
 *
 * SQL takes the message's id as $1, and the time in milliseconds as $2. */
#include "bench.h"

#include <postgresql/libpq-fe.h>
#include <string.h>
#include <unistd.h>

enum { ROUND_MAX = 100000 };

static double times[ROUND_MAX];

static void upsert(PGconn *connection, const char *sql)
{
    static long number;
    char message[64], now[32];
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    snprintf(message, sizeof message, "libpq-%d-%ld", (int)getpid(), number++);
    snprintf(now, sizeof now, "%ld", (long)time.tv_sec * 1000 + time.tv_nsec / 1000000);
    const char *values[] = {message, now};
    PGresult *result = PQexecParams(connection, sql, 2, NULL, values, NULL, NULL, 1);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        give_up("libpq", PQerrorMessage(connection));
    }
    PQclear(result);
}

int main(int argc, char **argv)
{
    char what[16];
    long ms;
    if (argc != 3) {
        give_up("usage", "upsert CONNECTION SQL");
    }
    PGconn *connection = PQconnectdb(argv[1]);
    if (PQstatus(connection) != CONNECTION_OK) {
        give_up("libpq", PQerrorMessage(connection));
    }
    upsert(connection, argv[2]);
    printf("ready\n");
    fflush(stdout);
    while (scanf("%15s %ld", what, &ms) == 2) {
        double end = seconds() + (double)ms / 1e3;
        long count = 0;
        for (double start = seconds(); start < end && count < ROUND_MAX; count++) {
            upsert(connection, argv[2]);
            double now = seconds();
            times[count] = now - start;
            start = now;
        }
        for (long i = 0; i < count; i++) {
            printf(i == 0 ? "%.0f" : " %.0f", times[i] * 1e6);
        }
        printf("\n");
        fflush(stdout);
    }
    PQfinish(connection);
    return EXIT_SUCCESS;
}
