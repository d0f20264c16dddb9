/* The portal emulator, started and told what to do by a test program. */
#ifndef B24_TEST_PORTAL_H
#define B24_TEST_PORTAL_H

#include <b24_messageservice.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the emulator that B24_PORTAL_BIN names, and ends the program if it cannot. It ends with the
 * program, or at portal_stop. */
void portal_start(void);
void portal_stop(void);

/* Asks the control API; what it answers lives until the next call of this thread's portal_ask. */
const char *portal_ask(const char *method, const char *path, const char *body);

/* Forgets everything, and goes on with these settings (JSON). */
void portal_reset(const char *settings);

/* One of the counts of /seen, such as "requests". */
long portal_seen(const char *name);

/* The value of an option that reaches the emulator: portal, ca_file, resolve, oauth_url; those of a
 * provider are provider_resolve and provider_oauth_url. */
const char *portal_option(const char *name);

/* A configuration that reaches the emulator, with the token it takes. */
b24_config *portal_config(void);

/* A client from that configuration. */
b24_client *portal_client(void);

/* A configuration of a provider that reaches the emulator, whose store is this file. */
b24_config *portal_provider_config(const char *store);

/* The body of a request that the portal sends, by the control API's name for it, such as /message,
 * and its order (JSON). In form encoding. It lives until the next call of this thread's portal_ask. */
const char *portal_request(const char *path, const char *order);

/* A new directory for a store, which is removed with what is in it when the program ends. */
const char *portal_directory(void);

#ifdef __cplusplus
}
#endif

#endif
