// libb24_messageservice: tells Bitrix24 what became of a message.
//
// Generated from bindings/c/src by `make header`: change it there.
//
// Conventions
//
// - Handles are opaque. Whoever is given one by a b24_*_new, b24_client_shared, b24_client_tokens
//   or an error out-parameter frees it, once, with the _free of its type; each _free takes NULL.
// - Texts that go in are NUL-terminated UTF-8, lent for the call. Texts that come out are owned by
//   their handle and never NULL: "" stands for none.
// - Functions that can fail return a b24_code. Their last parameter takes the error: NULL after
//   success, else one for b24_error_free. What it held before is overwritten, not freed. Every
//   out-parameter may be NULL, and holds NULL after a failure.
// - A handle or text that is NULL, or a text that is not UTF-8, where a value is needed is
//   B24_INVALID_ARGUMENT. Functions that return no code take NULL and answer with nothing: NULL, "",
//   0, as each says.
// - "Any thread" means at any time, from any number of threads at once. "One thread at a time"
//   leaves it to the caller to see to that, for one handle.
// - A fault inside the library never crosses into the caller: it is B24_INTERNAL.
// - After fork, a client made before it works in the parent and in the child.
//
// A first program, without its checks:
//
//     b24_config *config = b24_config_new();
//     b24_client *client = NULL;
//     b24_error *error = NULL;
//     b24_config_set(config, "portal", "portal.bitrix24.com", NULL);
//     b24_config_set(config, "access_token", token, NULL);
//     b24_client_new(config, &client, &error);
//     b24_message_status_update(client, "provider1", message_id, "delivered", &error);


#ifndef B24_MESSAGESERVICE_H
#define B24_MESSAGESERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "b24_messageservice_begin.h"

// What a call came to. The values never change; later versions may add some, so treat one that
// you do not know as B24_INTERNAL.
typedef enum b24_code {
    // Done.
    B24_OK = 0,
    // An argument of the call cannot be sent; nothing was. Correct the argument.
    B24_INVALID_ARGUMENT = 1,
    // An option is unknown, malformed, missing, or contradicts another; the message names it.
    B24_INVALID_CONFIG = 2,
    // No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke.
    B24_TRANSPORT = 3,
    // timeout_ms passed; the update may or may not have been stored. It may be sent again.
    B24_TIMEOUT = 4,
    // The answer is not one of a portal: look at what answers under this address.
    B24_PROTOCOL = 5,
    // The tokens are no longer good, and could not be renewed: authorize the application again.
    B24_AUTH = 6,
    // The tokens are good but do not allow this call: scope, rights, or the portal's plan.
    B24_ACCESS_DENIED = 7,
    // The portal knows no such message of this application and provider code.
    B24_MESSAGE_NOT_FOUND = 8,
    // The portal's limits leave no room for the call before its deadline: see
    // b24_error_retry_after_ms.
    B24_RATE_LIMITED = 9,
    // Any other refusal by the portal: see b24_error_portal_code.
    B24_PORTAL = 10,
    // The portal moved to an address that is not trusted with the token; the message has it.
    B24_PORTAL_MOVED = 11,
    // b24_client_cancel was called while the call was under way.
    B24_CANCELLED = 12,
    // A fault of this library; the handles stay usable. Please report it.
    B24_INTERNAL = 13,
    // What state_dir holds could not be read, written or locked: a full disk, permissions, too many
    // open files. The message names the file; see b24_error_is_retryable.
    B24_STORAGE = 14,
} b24_code;

// Updates that are sent together, each with its own outcome. One thread at a time may use it.
typedef struct b24_batch b24_batch;

// A light handle to a portal: connections, TLS sessions and rate limits belong to the process.
// Any number of threads may use one client at once.
typedef struct b24_client b24_client;

// What clients are made from: options by name. One thread at a time may change it; clients copy
// it, so it may be changed or freed as soon as they are made.
typedef struct b24_config b24_config;

// Why a call failed. Made by the call that failed, freed with b24_error_free; those from
// b24_batch_error are borrowed. Never changes, so any number of threads may read it at once.
typedef struct b24_error b24_error;

// A snapshot of an installation's tokens: what an application keeps to start with next time.
// Never changes, so any number of threads may read it at once. The texts are secrets.
typedef struct b24_tokens b24_tokens;

// A function that is given each renewed pair of tokens, to store it: after the pair was written to
// state_dir, if that is set, and before it is used.
//
// `tokens` is lent for the call: read it, do not keep or free it. `user` is the pointer given to
// b24_config_on_renewal. Called on the renewal's own thread, which has all signals blocked; for
// one installation one at a time, for several perhaps several at once. Calls that need the new
// pair wait until it returns, each no longer than its timeout_ms. It must not throw, and must not
// make calls of the same installation: they would wait for the renewal that waits for it.
typedef void (*b24_renewal_callback)(const struct b24_tokens *tokens, void *user);

// A function that is given each log record.
//
// `level` is 1 error, 2 warning, 3 information, 4 debug, 5 trace; `target` says which part of the
// library speaks, and begins with "b24_messageservice"; `message` is one line of UTF-8 without a
// secret. Both texts are lent for the call. `user` is the pointer given to b24_log_set. Called on
// the thread whose call is logged, several at once if several threads make calls. It must not
// throw, and must not make calls of this library: they could wait for the one that is logged.
typedef void (*b24_log_callback)(int32_t level, const char *target, const char *message, void *user);

// The version of this library, such as "1.2.3".
//
// A static string: never freed. Any thread. Cannot fail.
const char *b24_version(void);

// A configuration with the defaults, and no portal yet.
//
// The caller frees it with b24_config_free. Any thread. NULL only after a fault in the library.
struct b24_config *b24_config_new(void);

// Sets an option by its name, from its text. The names: portal, access_token, refresh_token,
// client_id, client_secret, oauth_url, timeout_ms, connect_timeout_ms, max_retries, rate_limit,
// state_dir, ca_file, proxy, resolve, redirect_hosts, user_agent, allow_http.
//
// Both texts are copied. One thread at a time. B24_INVALID_CONFIG for an unknown name or a bad
// value, which the message explains; the option keeps its former value. B24_INVALID_ARGUMENT for
// NULL and for what is not UTF-8.
enum b24_code b24_config_set(struct b24_config *config,
                             const char *name,
                             const char *value,
                             struct b24_error **error);

// Sets the function that stores renewed tokens; see b24_renewal_callback. It replaces the former
// one.
//
// `user` is handed to it as it is, and must be good on any thread for as long as a client made
// from this configuration lives (a shared client: as long as the process), and then until
// b24_renewals_wait has succeeded: a renewal outlives the call that began it. One thread at a time.
// B24_INVALID_ARGUMENT if config or callback is NULL.
enum b24_code b24_config_on_renewal(struct b24_config *config,
                                    b24_renewal_callback callback,
                                    void *user,
                                    struct b24_error **error);

// Frees a configuration; clients made from it live on. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_config_free(struct b24_config *config);

// Makes a client. Nothing is sent yet.
//
// The caller frees *client with b24_client_free; the configuration is copied. Any thread, while
// none changes the configuration. B24_INVALID_CONFIG names the option that is missing or
// contradicts another; *client is then NULL. With client NULL the configuration is only checked.
enum b24_code b24_client_new(const struct b24_config *config,
                             struct b24_client **client,
                             struct b24_error **error);

// The process's one client for an equal configuration, made if there is none: for hosts that
// forget everything between requests. It is counted by reference, and keeps its connections and
// tokens after the last free; how many idle ones are kept is bounded. Configurations are equal if
// all their options are; with a b24_renewal_callback, a configuration is equal only to itself.
//
// The caller frees *client with b24_client_free. Any thread. Errors as b24_client_new.
enum b24_code b24_client_shared(const struct b24_config *config,
                                struct b24_client **client,
                                struct b24_error **error);

// Frees a client. NULL is allowed.
//
// Any thread, once, when no other is inside a call of it (b24_client_cancel ends them). Cannot
// fail.
void b24_client_free(struct b24_client *client);

// Ends the calls of this client that are under way with B24_CANCELLED. Calls made later are not
// affected. NULL is allowed.
//
// Any thread; not from a signal handler. Cannot fail.
void b24_client_cancel(struct b24_client *client);

// Tells the portal the status of one message, and waits until it has stored it.
//
// Calls for one message are made one after the other, in the order in which they were begun,
// across all clients of the process for one portal; what is told last stands. An attempt whose
// outcome is unknown may still be executed by the portal for up to 60 s.
//
// `code` is the provider code, `message_id` the id that the portal gave the provider, `status`
// one of queued, sent, delivered, undelivered, failed. All are borrowed for the call. Any thread,
// any number at once. Returns by timeout_ms with any b24_code; B24_INVALID_ARGUMENT before
// anything is sent.
enum b24_code b24_message_status_update(struct b24_client *client,
                                        const char *code,
                                        const char *message_id,
                                        const char *status,
                                        struct b24_error **error);

// The tokens as they are now: a snapshot that later renewals do not change.
//
// The caller frees it with b24_tokens_free. Any thread. NULL if client is NULL, or after a fault
// in the library.
struct b24_tokens *b24_client_tokens(const struct b24_client *client);

// An empty batch.
//
// The caller frees it with b24_batch_free. Any thread. NULL only after a fault in the library.
struct b24_batch *b24_batch_new(void);

// Adds an update; the arguments are those of b24_message_status_update, and are copied. The last
// status given for a message is the one that stands.
//
// One thread at a time. Never fails: an update that cannot be sent has B24_INVALID_ARGUMENT as
// its outcome, and the others are sent all the same. With batch NULL it does nothing.
void b24_batch_add(struct b24_batch *batch,
                   const char *code,
                   const char *message_id,
                   const char *status);

// How many updates were added, those that cannot be sent included. 0 for NULL.
//
// One thread at a time. Cannot fail.
size_t b24_batch_len(const struct b24_batch *batch);

// Sends the updates of a batch, 50 a request, and waits for their outcomes.
//
// B24_OK if every update was applied; else the code and a copy of the error of the first, in the
// order added, that was not, and b24_batch_error tells the outcome of each. The client: any thread,
// any number at once; the batch: one thread at a time. A batch may be sent again, all of it: an
// update is idempotent, and the outcomes are replaced. Returns by timeout_ms. If client is NULL,
// that is also the outcome of each update.
enum b24_code b24_message_status_update_batch(struct b24_client *client,
                                              struct b24_batch *batch,
                                              struct b24_error **error);

// The outcome of the update with this index, counted from 0 in the order added: NULL if it was
// applied, else why not. Before the batch is sent no update has been applied, nor has one that
// was never added: the error says so.
//
// Borrowed, and not to be freed: it lives, at the same address, until the batch is sent again or
// freed, also when updates are added meanwhile. Updates that failed alike may share one. One
// thread at a time. Cannot fail.
const struct b24_error *b24_batch_error(const struct b24_batch *batch, size_t index);

// Frees a batch and the errors borrowed from it. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_batch_free(struct b24_batch *batch);

// The token that calls are made with.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_access_token(const struct b24_tokens *tokens);

// The token of the next renewal, which works once; "" if there is none.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_refresh_token(const struct b24_tokens *tokens);

// The portal's REST address, such as "https://portal.bitrix24.com/rest/"; the new one after the
// portal moved.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_client_endpoint(const struct b24_tokens *tokens);

// The portal's permanent id; "" until a renewal has told it.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_member_id(const struct b24_tokens *tokens);

// When the access token expires, in Unix time (seconds); 0 if that is not known, and for NULL.
//
// Any thread. Cannot fail.
int64_t b24_tokens_expires(const struct b24_tokens *tokens);

// Frees a snapshot and its texts. NULL is allowed; the one lent to a b24_renewal_callback is not.
//
// Any thread, once. Cannot fail.
void b24_tokens_free(struct b24_tokens *tokens);

// Waits until no renewal of tokens is under way in this process, for timeout_ms at most.
//
// A renewal outlives the call that began it: when its request has been sent, the old refresh token
// may be spent, and the answer holds the only good pair. It is awaited and stored on a thread of
// its own, also after the call timed out or was cancelled, or its client was freed. So call this
// before the process ends: before main returns, or before exit; 45000 milliseconds outlast any renewal.
// A process that ends by _exit, abort or a signal loses the answer. A forked child has no renewal of its
// parent: the parent finishes it.
//
// Any thread but that of a b24_renewal_callback. B24_TIMEOUT if one is still under way, at once if
// timeout_ms is 0; B24_INVALID_ARGUMENT if timeout_ms is negative.
enum b24_code b24_renewals_wait(int64_t timeout_ms,
                                struct b24_error **error);

// What kind of failure it is. NULL is no failure: B24_OK.
//
// Any thread. Cannot fail.
enum b24_code b24_error_code(const struct b24_error *error);

// What happened and what to do next, for people. Never holds a token or another secret.
//
// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
const char *b24_error_message(const struct b24_error *error);

// The portal's own error code as it wrote it, such as "ERROR_MESSAGE_NOT_FOUND"; "" if none.
//
// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
const char *b24_error_portal_code(const struct b24_error *error);

// The portal's own description of the error; "" if none.
//
// The text lives as long as the error. "" for NULL. Any thread. Cannot fail.
const char *b24_error_description(const struct b24_error *error);

// The HTTP status of the answer that decided; 0 if there was none, and for NULL.
//
// Any thread. Cannot fail.
int32_t b24_error_http_status(const struct b24_error *error);

// Whether the same call may succeed later without anyone changing anything. false for NULL.
//
// Any thread. Cannot fail.
bool b24_error_is_retryable(const struct b24_error *error);

// How many milliseconds to wait before the same call can succeed; -1 if that is not known, and
// for NULL.
//
// Any thread. Cannot fail.
int64_t b24_error_retry_after_ms(const struct b24_error *error);

// Frees an error and its texts. NULL is allowed; an error borrowed from a batch is not.
//
// Any thread, once. Cannot fail.
void b24_error_free(struct b24_error *error);

// Sends the library's log records of the whole process to a function; see b24_log_callback. It
// replaces the former one. At first there is none, and nothing is logged.
//
// `max_level` is the least important level that is wanted: 0 none, 1 errors, up to 5 everything;
// what is not wanted costs nothing. callback NULL turns the log off. `user` is handed to the
// function as it is; another thread may be inside the former function until its record is done,
// so leave what `user` points to in place. Any thread. Cannot fail.
void b24_log_set(b24_log_callback callback, void *user, int32_t max_level);

#include "b24_messageservice_end.h"

#endif
