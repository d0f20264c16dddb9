/* One status update on an open connection, with each client that a C program could use: a socket,
 * libcurl, this library. Rounds are interleaved, so that other work of the machine slows all of them.
 *
 *     bench PORT CA_FILE|- ROUNDS CALLS [NAME...]
 *
 * Without a CA_FILE ("-") over plain HTTP, and only then with the socket. Prints a line of JSON for
 * each round of each contender: microseconds per call, and of those the client's processor time. */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_MAX = 4096 };

static long port;
static const char *ca_file;

static int format_body(char *into, size_t size)
{
    return snprintf(into, size,
                    "{\"CODE\":\"%s\",\"MESSAGE_ID\":\"%s\",\"STATUS\":\"%s\",\"auth\":\"%s\"}",
                    PROVIDER, MESSAGE_ID, STATUS, TOKEN);
}

static void check_answer(const char *name, const char *body)
{
    if (strstr(body, "\"result\":true") == NULL) {
        give_up(name, body);
    }
}

/* A socket: the least work that a call can be. */

static int raw_socket;

static void raw_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raw_socket = socket(AF_INET, SOCK_STREAM, 0);
    if (raw_socket < 0 || setsockopt(raw_socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        connect(raw_socket, (const struct sockaddr *)&address, sizeof address) != 0) {
        give_up("raw socket", "cannot connect");
    }
}

static void raw_call(void)
{
    char body[TEXT_MAX];
    char request[2 * TEXT_MAX];
    char answer[TEXT_MAX];
    int length = format_body(body, sizeof body);
    length = snprintf(request, sizeof request,
                      "POST " METHOD " HTTP/1.1\r\nHost: " HOST "\r\n"
                      "Accept: application/json\r\nContent-Type: application/json\r\n"
                      "User-Agent: bench/1\r\nContent-Length: %d\r\n\r\n%s",
                      length, body);
    if (send(raw_socket, request, (size_t)length, MSG_NOSIGNAL) != length) {
        give_up("raw socket", "cannot send");
    }
    size_t filled = 0;
    for (;;) {
        ssize_t got = recv(raw_socket, answer + filled, sizeof answer - 1 - filled, 0);
        if (got <= 0) {
            give_up("raw socket", "no answer");
        }
        filled += (size_t)got;
        answer[filled] = '\0';
        const char *content = strstr(answer, "\r\n\r\n");
        const char *announced = strstr(answer, "Content-Length: ");
        if (content == NULL || announced == NULL) {
            continue;
        }
        content += 4;
        size_t wanted = strtoul(announced + strlen("Content-Length: "), NULL, 10);
        if (filled >= (size_t)(content - answer) + wanted) {
            check_answer("raw socket", content);
            return;
        }
    }
}

/* libcurl: an easy handle that is kept, as its manual advises. */

static CURL *curl;
static struct {
    char text[TEXT_MAX];
    size_t filled;
} collected;

static size_t collect(char *data, size_t size, size_t count, void *user)
{
    (void)user;
    size_t length = size * count;
    if (length > sizeof collected.text - 1 - collected.filled) {
        return 0;
    }
    memcpy(collected.text + collected.filled, data, length);
    collected.filled += length;
    collected.text[collected.filled] = '\0';
    return length;
}

static void curl_open(void)
{
    static char connect_to[64];
    struct curl_slist *headers = NULL;
    snprintf(connect_to, sizeof connect_to, "::127.0.0.1:%ld", port);
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Accept: application/json");
    curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL,
                     ca_file != NULL ? "https://" HOST METHOD : "http://" HOST METHOD);
    curl_easy_setopt(curl, CURLOPT_CONNECT_TO, curl_slist_append(NULL, connect_to));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "bench/1");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 30000L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    if (ca_file != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
    }
}

static void curl_call(void)
{
    char body[TEXT_MAX];
    long status = 0;
    long length = format_body(body, sizeof body);
    collected.filled = 0;
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, length);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        give_up("libcurl", curl_easy_strerror(code));
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    check_answer("libcurl", status == 200 ? collected.text : "not HTTP 200");
}

/* This library. */

static b24_client *client;

static void library_open(void)
{
    client = bench_client(bench_config(port, ca_file));
}

static void library_call(void)
{
    bench_update(client);
}

/* Measuring. */

static const struct contender {
    const char *name;
    void (*open)(void);
    void (*call)(void);
} contenders[] = {
    {"raw socket", raw_open, raw_call},
    {"libcurl", curl_open, curl_call},
    {"b24-messageservice", library_open, library_call},
};
enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

static double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void round_of(const struct contender *contender, long calls)
{
    double processor = processor_seconds();
    double start = seconds();
    for (long i = 0; i < calls; i++) {
        contender->call();
    }
    double scale = 1e6 / (double)calls;
    printf("{\"name\": \"%s\", \"wall\": %.3f, \"cpu\": %.3f}\n", contender->name,
           (seconds() - start) * scale, (processor_seconds() - processor) * scale);
}

static bool is_wanted(const struct contender *contender, int names, char **name)
{
    for (int i = 0; i < names; i++) {
        if (strcmp(name[i], contender->name) == 0) {
            return true;
        }
    }
    return names == 0 && (ca_file == NULL || contender->open != raw_open);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        give_up("usage", "bench PORT CA_FILE|- ROUNDS CALLS [NAME...]");
    }
    port = number(argv[1]);
    ca_file = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    long rounds = number(argv[3]);
    long calls = number(argv[4]);
    bool wanted[CONTENDERS];
    for (size_t i = 0; i < CONTENDERS; i++) {
        wanted[i] = is_wanted(&contenders[i], argc - 5, argv + 5);
        if (wanted[i]) {
            contenders[i].open();
            contenders[i].call();
        }
    }
    for (long round = 0; round < rounds; round++) {
        for (size_t i = 0; i < CONTENDERS; i++) {
            if (wanted[i]) {
                round_of(&contenders[i], calls);
            }
        }
    }
    return EXIT_SUCCESS;
}
