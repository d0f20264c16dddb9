#define _XOPEN_SOURCE 700

#include "portal.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = 1 << 20 };

static struct {
    pid_t process;
    int input; /* held open: the emulator ends when it closes */
    int control_port;
    char ca_file[4096];
    char resolve[256];
    char provider_resolve[64];
    char provider_oauth_url[64];
} portal;

static void give_up(const char *what)
{
    fprintf(stderr, "the portal emulator: %s\n", what);
    exit(EXIT_FAILURE);
}

static long number_after(const char *text, const char *mark)
{
    const char *at = strstr(text, mark);
    return at == NULL ? -1 : strtol(at + strlen(mark), NULL, 10);
}

static void read_addresses(FILE *output)
{
    char line[8192];
    if (fgets(line, sizeof line, output) == NULL) {
        give_up("it printed no addresses; B24_PORTAL_BIN must name the program b24-portal");
    }
    long https_port = number_after(line, "\"https_port\":");
    long oauth_port = number_after(line, "\"oauth_port\":");
    const char *control = strstr(line, "\"control\":");
    portal.control_port = (int)number_after(control != NULL ? control : "", "127.0.0.1:");
    const char *ca_file = strstr(line, "\"ca_file\":");
    ca_file = ca_file != NULL ? strchr(ca_file + strlen("\"ca_file\":"), '"') : NULL;
    if (https_port < 0 || oauth_port < 0 || portal.control_port < 0 || ca_file == NULL) {
        give_up("its line of addresses is not what was expected");
    }
    size_t length = strcspn(ca_file + 1, "\"");
    if (length >= sizeof portal.ca_file) {
        give_up("the path of its certificate is too long");
    }
    memcpy(portal.ca_file, ca_file + 1, length);
    snprintf(portal.resolve, sizeof portal.resolve,
             "portal.bitrix24.test:443:127.0.0.1:%ld,oauth.bitrix24.test:443:127.0.0.1:%ld",
             https_port, oauth_port);
    /* The address of an installation, and that of its authorization server, name the port. */
    snprintf(portal.provider_resolve, sizeof portal.provider_resolve,
             "*:%ld:127.0.0.1,*:%ld:127.0.0.1", https_port, oauth_port);
    snprintf(portal.provider_oauth_url, sizeof portal.provider_oauth_url,
             "https://oauth.bitrix24.test:%ld", oauth_port);
}

void portal_start(void)
{
    const char *program = getenv("B24_PORTAL_BIN");
    int to[2];
    int from[2];
    if (program == NULL) {
        give_up("B24_PORTAL_BIN must name the program b24-portal");
    }
    if (pipe(to) != 0 || pipe(from) != 0) {
        give_up("no pipe");
    }
    portal.process = fork();
    if (portal.process == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        close(to[0]);
        close(to[1]);
        close(from[0]);
        close(from[1]);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    portal.input = to[1];
    FILE *output = portal.process > 0 ? fdopen(from[0], "r") : NULL;
    if (output == NULL) {
        give_up("it cannot be started");
        return;
    }
    read_addresses(output);
    fclose(output);
    atexit(portal_stop);
}

void portal_stop(void)
{
    if (portal.process > 0) {
        close(portal.input);
        waitpid(portal.process, NULL, 0);
        portal.process = 0;
    }
}

const char *portal_ask(const char *method, const char *path, const char *body)
{
    static _Thread_local char answer[ANSWER_MAX];
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((unsigned short)portal.control_port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0 ||
        connect(connection, (const struct sockaddr *)&address, sizeof address) != 0) {
        give_up("its control port does not answer");
    }
    dprintf(connection,
            "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            method, path, strlen(body), body);
    size_t length = 0;
    ssize_t got;
    while (length < sizeof answer - 1 &&
           (got = read(connection, answer + length, sizeof answer - 1 - length)) > 0) {
        length += (size_t)got;
    }
    close(connection);
    answer[length] = '\0';
    const char *content = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || content == NULL) {
        fprintf(stderr, "%s %s: %s\n", method, path, answer);
        give_up("it refused what a test asked");
        return "";
    }
    return content + 4;
}

void portal_reset(const char *settings)
{
    portal_ask("POST", "/reset", settings);
}

long portal_seen(const char *name)
{
    char mark[64];
    const char *seen = portal_ask("GET", "/seen?log=0", "");
    snprintf(mark, sizeof mark, "\"%s\":", name);
    return number_after(seen, mark);
}

const char *portal_option(const char *name)
{
    if (strcmp(name, "ca_file") == 0) {
        return portal.ca_file;
    }
    if (strcmp(name, "resolve") == 0) {
        return portal.resolve;
    }
    if (strcmp(name, "provider_resolve") == 0) {
        return portal.provider_resolve;
    }
    if (strcmp(name, "provider_oauth_url") == 0) {
        return portal.provider_oauth_url;
    }
    return strcmp(name, "oauth_url") == 0 ? "https://oauth.bitrix24.test" : "portal.bitrix24.test";
}

b24_config *portal_config(void)
{
    static const char *const names[] = {"portal", "ca_file", "resolve", "oauth_url"};
    b24_config *config = b24_config_new();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        b24_config_set(config, names[i], portal_option(names[i]), NULL);
    }
    b24_config_set(config, "proxy", "none", NULL);
    b24_config_set(config, "rate_limit", "off", NULL);
    b24_config_set(config, "access_token", "access-0000000000000001", NULL);
    return config;
}

b24_client *portal_client(void)
{
    b24_config *config = portal_config();
    b24_client *client = NULL;
    b24_error *error = NULL;
    if (b24_client_new(config, &client, &error) != B24_OK) {
        give_up(b24_error_message(error));
    }
    b24_config_free(config);
    return client;
}

b24_config *portal_provider_config(const char *store)
{
    char address[4096];
    snprintf(address, sizeof address, "sqlite:%s", store);
    const char *const options[][2] = {
        {"store", address},
        {"oauth_url", portal.provider_oauth_url},
        {"resolve", portal.provider_resolve},
        {"ca_file", portal.ca_file},
        {"proxy", "none"},
        {"rate_limit", "off"},
        {"client_id", "app.1"},
        {"client_secret", "secret-0000000000000001"},
    };
    b24_config *config = b24_config_new();
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        b24_error *error = NULL;
        if (b24_config_set(config, options[i][0], options[i][1], &error) != B24_OK) {
            give_up(b24_error_message(error));
        }
    }
    return config;
}

/* A form has no character that JSON would escape. */
const char *portal_request(const char *path, const char *order)
{
    char *answer = (char *)portal_ask("POST", path, order);
    char *body = strstr(answer, "\"body\":\"");
    if (body == NULL) {
        give_up("it has made no request");
        return "";
    }
    body += strlen("\"body\":\"");
    body[strcspn(body, "\"")] = '\0';
    return body;
}

static char directory[64];

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *portal_directory(void)
{
    if (directory[0] == '\0') {
        snprintf(directory, sizeof directory, "/tmp/b24-c-tests-XXXXXX");
        if (mkdtemp(directory) == NULL) {
            give_up("no directory");
        }
        atexit(remove_directory);
    }
    return directory;
}
