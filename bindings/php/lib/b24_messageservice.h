// libb24_messageservice: reports SMS delivery statuses to Bitrix24.
//
// Generated from bindings/c/src by `make generate`: change it there.
//
// Conventions
//
// - Handles are opaque. If b24_*_new, b24_client_shared, b24_client_tokens or an out-parameter gives
//   you one, free it once with the _free of its type, a b24_provider with b24_provider_close. Each of
//   them accepts NULL.
// - Texts that you pass are NUL-terminated UTF-8, and need to be valid during the call only. Texts
//   that you get are owned by their handle and never NULL: an empty one is "".
// - Functions that can fail return a b24_code. Their last parameter takes the error: NULL after
//   success, else one to free with b24_error_free. Its previous value is overwritten, not freed.
//   Every out-parameter may be NULL, and is set to NULL after a failure.
// - If a handle or text is needed and is NULL, or a text is not UTF-8, the result is
//   B24_INVALID_ARGUMENT. Functions that return no code accept NULL, and return NULL, "" or 0 for it,
//   as each says.
// - "Any thread" means at any time, from any number of threads at once. "One thread at a time"
//   means that the caller must prevent two threads from using one handle at once.
// - A bug inside the library does not end the program: the call returns B24_INTERNAL.
// - A client or provider that was made before a fork works in the parent and in the child.
//
// A first program:
//
//     b24_config *config = b24_config_new();
//     b24_client *client = NULL;
//     b24_error *error = NULL;
//     if (b24_config_set(config, "portal", "portal.bitrix24.com", &error) != B24_OK ||
//         b24_config_set(config, "access_token", token, &error) != B24_OK ||
//         b24_client_new(config, &client, &error) != B24_OK ||
//         b24_message_status_update(client, "provider1", message_id, "delivered", &error) != B24_OK) {
//         fprintf(stderr, "%s\n", b24_error_message(error));
//     }
//     b24_error_free(error);
//     b24_client_free(client);
//     b24_config_free(config);


#ifndef B24_MESSAGESERVICE_H
#define B24_MESSAGESERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The version of this header: see b24_version_check.
#define B24_VERSION_MAJOR 1
#define B24_VERSION_MINOR 0
#define B24_VERSION_PATCH 0
#define B24_VERSION "1.0.0"
// For comparisons, also in #if: 1002003 is 1.2.3.
#define B24_VERSION_NUMBER 1000000

#include "b24_messageservice_begin.h"

// The outcome of a call. The values never change. Later versions may add some, so treat one that
// you do not know as B24_INTERNAL.
typedef enum b24_code {
    // Success.
    B24_OK = 0,
    // An argument is not valid: it was not sent, or the portal refused it. Correct the program
    // that made the call.
    B24_INVALID_ARGUMENT = 1,
    // An option is unknown, malformed, missing, or contradicts another, or a file that it names
    // cannot be used. Correct the option that the message names.
    B24_INVALID_CONFIG = 2,
    // No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke. Check the network,
    // DNS, the proxy and ca_file.
    B24_TRANSPORT = 3,
    // The deadline of the call passed. The portal may or may not have executed it. The message
    // says whether to call again.
    B24_TIMEOUT = 4,
    // The answer is not one of a portal. Check what answers at the address in portal.
    B24_PROTOCOL = 5,
    // The tokens are no longer valid, and could not be renewed. Have the application authorized or
    // installed again.
    B24_AUTH = 6,
    // The tokens are valid but do not allow this call. Check the application's scope, the user's
    // rights and the portal's plan.
    B24_ACCESS_DENIED = 7,
    // The portal knows no such message of this application and provider code. Drop the update.
    B24_MESSAGE_NOT_FOUND = 8,
    // The portal's limits do not allow the call before its deadline. Call again after the time
    // that the error says, and send batches.
    B24_RATE_LIMITED = 9,
    // Any other refusal by the portal. See the portal's own error code.
    B24_PORTAL = 10,
    // The portal moved to an address that the token may not be sent to. Check the address in the
    // message. If it is the customer's, add its host to redirect_hosts.
    B24_PORTAL_MOVED = 11,
    // The call was cancelled while it was under way. The portal may or may not have executed it.
    // Call again if it is still wanted.
    B24_CANCELLED = 12,
    // A bug in this library, or there was no free file descriptor or thread. The client can still
    // be used. Raise the limit that the message names. If it names none, please report the bug.
    B24_INTERNAL = 13,
    // The store, or a file in state_dir, could not be read, written or locked. The message names
    // it. Check disk space, permissions and the limit of open files.
    B24_STORAGE = 14,
} b24_code;

// What a portal wants of the provider.
typedef enum b24_request_kind {
    // A message is to be sent.
    B24_REQUEST_MESSAGE = 0,
    // The application was installed. The provider has the installation already.
    B24_REQUEST_INSTALL = 1,
    // The application was removed. The provider has forgotten its tokens already.
    B24_REQUEST_UNINSTALL = 2,
    // A page of the application was opened in a frame. Nothing was stored. On the page of the
    // installation wizard, and on no other, give the request to b24_provider_install_request.
    B24_REQUEST_FRAME = 3,
} b24_request_kind;

// Updates that are sent or stored together, each with its own outcome. One thread at a time may
// use it.
typedef struct b24_batch b24_batch;

// Cancels calls one by one: those of handles that b24_client_limited or b24_provider_limited made
// with it. Once it is cancelled, it stays so. Any number of threads may use one token at once.
typedef struct b24_cancel_token b24_cancel_token;

// A light handle to a portal: connections, TLS sessions and rate limits belong to the process.
// Any number of threads may use one client at once.
typedef struct b24_client b24_client;

// The options from which clients and providers are made. One thread at a time may change it.
// Clients and providers copy it, so it may be changed or freed as soon as they are made.
typedef struct b24_config b24_config;

// What a drain has done, and what is left. It comes from b24_provider_drain. It never changes, so
// any number of threads may read it at once.
typedef struct b24_drained b24_drained;

// Why a call failed. It comes from the failed call and is freed with b24_error_free; one from
// b24_batch_error is borrowed. It never changes, so any number of threads may read it at once.
typedef struct b24_error b24_error;

// The result of a call: rows, whose values have names. It never changes, so any number of threads
// may read it at once.
typedef struct b24_list b24_list;

// Does the whole job of a provider of messages, for any number of portals: keeps their
// installations, checks what they post, and keeps receipts in its store until the portals have
// them. Any number of threads may use one provider at once, and any number of processes the store.
typedef struct b24_provider b24_provider;

// A request that a portal has made to the provider's handler, checked to be the portal's. It comes
// from b24_provider_receive. It never changes, so any number of threads may read it at once. The
// tokens among its fields are secrets.
typedef struct b24_request b24_request;

// An SMS provider as it is registered with a portal: its code, its handler, and the texts that
// users see. Calls copy it. One thread at a time may change it. While none does, any number may
// use it.
typedef struct b24_sender b24_sender;

// The tokens of an installation at one moment. Store them, to start with them the next time. They
// never change, so any number of threads may read them at once. The two tokens are secrets.
typedef struct b24_tokens b24_tokens;

// What an operator's words for the state of a message mean. One thread at a time may change it.
// While none does, any number may use it.
typedef struct b24_vocabulary b24_vocabulary;

// A function that is given each renewed pair of tokens, to store it: after the pair was written to
// state_dir, if that is set, and before it is used.
//
// `tokens` is valid during the call: read it, do not keep or free it. `user` is the pointer given
// to b24_config_on_renewal. The function is called on the renewal's own thread, which has all
// signals blocked. It is called once at a time for one installation, and perhaps several times at
// once for several. Calls that need the new pair wait until it returns, each no longer than its
// timeout_ms. It must not throw, and must not make calls for the same installation: they would
// wait for the renewal, which waits for the function.
typedef void (*b24_renewal_callback)(const struct b24_tokens *tokens, void *user);

// A function that receives each log record.
//
// `level` is 1 error, 2 warning, 3 information, 4 debug, 5 trace; `target` names the part of the
// library, and begins with "b24_messageservice"; `message` is one line of UTF-8 without a secret.
// Both texts are valid during the call. `user` is the pointer given to b24_log_set. The function
// is called on the thread whose call is logged, and at the same time on several if several threads
// make calls. It must not throw, and must not make calls of this library: they could wait for the
// call that is being logged.
typedef void (*b24_log_callback)(int32_t level, const char *target, const char *message, void *user);

// A function that frees what its `user` points to: see b24_log_set_owned. It must not throw, and must
// not make calls of this library.
typedef void (*b24_free_callback)(void *user);

// The version of the library that was loaded, such as "1.2.3".
//
// A static string: never freed. Any thread. Cannot fail.
const char *b24_version(void);

// The version of the library that was loaded as a number, such as 1002003 for 1.2.3. The header's
// own is B24_VERSION_NUMBER.
//
// Any thread. Cannot fail.
int32_t b24_version_number(void);

// Checks whether the library that was loaded fits the header that the program was compiled with:
// call b24_version_check(B24_VERSION_NUMBER, &error) when the program starts.
//
// The library fits if it has the same major version, and not an earlier minor version. Any thread.
// B24_INVALID_ARGUMENT if it does not; the message names both versions, and says what to install.
enum b24_code b24_version_check(int32_t header, struct b24_error **error);

// A configuration with the defaults, and no portal yet.
//
// The caller frees it with b24_config_free. Any thread. NULL only after a bug in the library.
struct b24_config *b24_config_new(void);

// Sets an option. The names:
// client_id, client_secret, oauth_url, timeout_ms, connect_timeout_ms, max_retries, rate_limit,
// ca_file, proxy, resolve, redirect_hosts, user_agent, allow_http; of clients only: portal,
// access_token, refresh_token, state_dir; of providers only: store, durability, store_max_mb,
// store_key_file, workers.
//
// Both texts are copied. One thread at a time. B24_INVALID_CONFIG for an unknown name or a wrong
// value, which the message explains; the option then keeps its former value. B24_INVALID_ARGUMENT
// for NULL and for text that is not UTF-8.
enum b24_code b24_config_set(struct b24_config *config,
                             const char *name,
                             const char *value,
                             struct b24_error **error);

// Sets the function that stores renewed tokens; see b24_renewal_callback. It replaces one that was
// set before.
//
// `user` is passed to it unchanged. What it points to must be usable on any thread, as long as a
// client made from this configuration exists (a shared client: as long as the process), and then
// until b24_renewals_wait has succeeded, because a renewal may take longer than the call that
// started it. For clients only: a provider keeps tokens in its store. One thread at a time.
// B24_INVALID_ARGUMENT if config or callback is NULL.
enum b24_code b24_config_on_renewal(struct b24_config *config,
                                    b24_renewal_callback callback,
                                    void *user,
                                    struct b24_error **error);

// Frees a configuration. Clients and providers made from it are not affected. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_config_free(struct b24_config *config);

// Makes a client. Nothing is sent yet.
//
// The caller frees *client with b24_client_free. The configuration is copied. Any thread, while no
// other changes the configuration. The message of B24_INVALID_CONFIG names the option that is
// missing or contradicts another; *client is then NULL. With client NULL the configuration is only
// checked.
enum b24_code b24_client_new(const struct b24_config *config,
                             struct b24_client **client,
                             struct b24_error **error);

// Returns the client that the process keeps for an equal configuration, and makes it if there is
// none. For programs that keep nothing between requests. References to it are counted. After the
// last free it is kept with its connections and tokens, but only so many unused clients are kept.
// Configurations are equal if all their options are. One with a b24_renewal_callback is equal only
// to itself.
//
// The caller frees *client with b24_client_free. Any thread. Errors as b24_client_new.
enum b24_code b24_client_shared(const struct b24_config *config,
                                struct b24_client **client,
                                struct b24_error **error);

// Makes a handle to the same client whose calls are limited: they end after timeout_ms, at most 7
// days, instead of after the option of this name, and when the token is cancelled. 0 leaves the
// timeout as it is; a token of NULL is none. If the client has tokens already, each of them ends
// its calls. It costs little enough to make one for each call.
//
// The caller frees *limited with b24_client_free; it may outlive the client. Any thread.
// B24_INVALID_ARGUMENT if timeout_ms is negative; *limited is then NULL.
enum b24_code b24_client_limited(const struct b24_client *client,
                                 int64_t timeout_ms,
                                 const struct b24_cancel_token *token,
                                 struct b24_client **limited,
                                 struct b24_error **error);

// Frees a client. NULL is allowed.
//
// Any thread, once, when no other thread is inside a call of it (b24_client_cancel ends such
// calls). Cannot fail.
void b24_client_free(struct b24_client *client);

// Ends the calls of this client, and of handles that b24_client_limited made of it, that are under
// way with B24_CANCELLED. Calls made later are not affected. NULL is allowed.
//
// Any thread; not from a signal handler. Cannot fail.
void b24_client_cancel(struct b24_client *client);

// Reports the status of one message, and waits until the portal has stored it.
//
// Calls for one message are made one after the other, in the order in which they were begun,
// across all clients of the process for one portal. The last status stands. An attempt whose
// outcome is unknown may still be executed by the portal for up to 60 s.
//
// `code` is the provider code, `message_id` the id that the portal gave the provider, `status` one
// of queued, sent, delivered, undelivered, failed. All are borrowed for the call. Any thread, any
// number at once. Returns by timeout_ms, with any b24_code. Wrong arguments are
// B24_INVALID_ARGUMENT before anything is sent.
enum b24_code b24_message_status_update(struct b24_client *client,
                                        const char *code,
                                        const char *message_id,
                                        const char *status,
                                        struct b24_error **error);

// Asks for the status of one message: a list of one row, whose "status" is the status's English
// name, or "" if the message has none.
//
// `message_id` is the portal's own number of the message, 1 or more, not the id that the portal
// gave the provider. The caller frees *list with b24_list_free. Any thread, any number at once.
// Returns by timeout_ms, with any b24_code; after a failure *list is NULL. B24_INVALID_ARGUMENT,
// before anything is sent, if it is 0.
enum b24_code b24_message_status_get(struct b24_client *client,
                                     uint64_t message_id,
                                     struct b24_list **list,
                                     struct b24_error **error);

// The current tokens: a copy that later renewals do not change.
//
// The caller frees it with b24_tokens_free. Any thread. NULL if client is NULL, or after a bug in
// the library.
struct b24_tokens *b24_client_tokens(const struct b24_client *client);

// Makes a token that is not cancelled.
//
// The caller frees it with b24_cancel_token_free. Any thread. NULL only after a bug in the library.
struct b24_cancel_token *b24_cancel_token_new(void);

// Ends the calls that have this token and are under way with B24_CANCELLED, whatever they wait for,
// and those that begin later, which send nothing. Other calls go on. An update that is cancelled may
// have been stored. NULL is allowed.
//
// Any thread; not from a signal handler. In a forked child it cancels calls of the child alone.
// Cannot fail.
void b24_cancel_token_cancel(struct b24_cancel_token *token);

// Frees a token. Handles that were made with it keep what they need of it, and cannot be cancelled
// by it any more. NULL is allowed.
//
// Any thread, once, when no other thread is inside a call of it. Cannot fail.
void b24_cancel_token_free(struct b24_cancel_token *token);

// An empty batch.
//
// The caller frees it with b24_batch_free. Any thread. NULL only after a bug in the library.
struct b24_batch *b24_batch_new(void);

// Adds an update. The arguments are those of b24_message_status_update, and are copied. If a
// message is added more than once, its last status stands (with b24_provider_report_batch, the one
// that ranks highest).
//
// One thread at a time. Never fails: the outcome of an update that cannot be sent is
// B24_INVALID_ARGUMENT, and the others are sent nevertheless. With batch NULL it does nothing.
void b24_batch_add(struct b24_batch *batch,
                   const char *code,
                   const char *message_id,
                   const char *status);

// How many updates were added, those that cannot be sent included. 0 for NULL.
//
// One thread at a time. Cannot fail.
size_t b24_batch_len(const struct b24_batch *batch);

// Sends the updates of a batch, 50 in a request, and waits for their outcomes.
//
// Returns B24_OK if every update was applied. Otherwise it returns the code, and a copy of the
// error, of the first update in the order added that was not; b24_batch_error tells the outcome of
// each. Any number of threads may use the client at once, but only one the batch. A batch may be
// sent again as a whole: the outcomes are replaced, and sending an update twice is harmless.
// Returns by timeout_ms. If client is NULL, the outcome of each update says so too.
enum b24_code b24_message_status_update_batch(struct b24_client *client,
                                              struct b24_batch *batch,
                                              struct b24_error **error);

// The outcome of the update with this index, counted from 0 in the order added: NULL if it was
// applied (stored, by b24_provider_report_batch), else the error. There is also an error if the
// batch has not been sent, or if there is no update with this index.
//
// The error is borrowed: do not free it. It stays valid, at the same address, until the batch is
// sent or stored again or freed, even if updates are added. Updates that failed for the same
// reason may share one. One thread at a time. Cannot fail.
const struct b24_error *b24_batch_error(const struct b24_batch *batch, size_t index);

// Frees a batch and the errors borrowed from it. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_batch_free(struct b24_batch *batch);

// A sender with this provider code, `[A-Za-z0-9._-]+`, and nothing else. The code is copied.
//
// The caller frees it with b24_sender_free. Any thread. NULL only after a bug in the library. If
// the code is NULL or wrong, calls with the sender return B24_INVALID_ARGUMENT.
struct b24_sender *b24_sender_new(const char *code);

// Sets a part of a sender. The names: handler, the http or https address that the portal posts
// messages to; name and description, which users see; type, which is SMS unless set, and cannot be
// changed after the sender was added.
//
// `language`, such as "en", sets a name or description in one language only. It is NULL for a text
// in all languages, and for handler and type. A name or description has either one text or texts
// by language. The texts are copied, and are checked when the sender is used. One thread at a
// time. B24_INVALID_ARGUMENT for an unknown name, for a language with handler or type, for NULL in
// any other argument, and for text that is not UTF-8; the sender then stays as it was.
enum b24_code b24_sender_set(struct b24_sender *sender,
                             const char *name,
                             const char *language,
                             const char *text,
                             struct b24_error **error);

// Frees a sender. What was registered with it stays registered. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_sender_free(struct b24_sender *sender);

// Registers an SMS provider with the portal, so that users can choose it and the portal posts
// messages to its handler. The sender needs a handler and a name.
//
// The portal refuses a code that is registered. So the list of senders is asked for first, and
// again if the answer is lost, to find out whether the sender was added. Therefore B24_PORTAL with
// the portal code ERROR_SENDER_ALREADY_INSTALLED means that the code was registered before.
//
// Any thread, any number at once, while none changes the sender. Returns by timeout_ms, with any
// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if a part of the sender is missing or
// wrong.
enum b24_code b24_sender_add(struct b24_client *client,
                             const struct b24_sender *sender,
                             struct b24_error **error);

// Changes the handler, name or description of a registered sender. What is not set stays as it is.
// Calling this twice is harmless.
//
// Any thread, any number at once, while none changes the sender. Returns by timeout_ms, with any
// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if there is nothing to change, if the
// type is set, or if a part of the sender is wrong. A code that is not registered is B24_PORTAL
// with the portal code ERROR_SENDER_NOT_FOUND.
enum b24_code b24_sender_update(struct b24_client *client,
                                const struct b24_sender *sender,
                                struct b24_error **error);

// Removes a sender from the portal, by its provider code. If the answer is lost, the list of
// senders is asked for, to find out whether the sender was removed.
//
// `code` is borrowed for the call. Any thread, any number at once. Returns by timeout_ms, with any
// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if the code is not valid. A code that
// is not registered is B24_PORTAL with the portal code ERROR_SENDER_NOT_FOUND.
enum b24_code b24_sender_delete(struct b24_client *client,
                                const char *code,
                                struct b24_error **error);

// Lists the senders that the application has registered with the portal: a row for each, whose
// "code" is its provider code.
//
// The caller frees *list with b24_list_free. Any thread, any number at once. Returns by
// timeout_ms, with any b24_code; after a failure *list is NULL.
enum b24_code b24_sender_list(struct b24_client *client,
                              struct b24_list **list,
                              struct b24_error **error);

// How many rows a list has. 0 for NULL.
//
// Any thread. Cannot fail.
size_t b24_list_len(const struct b24_list *list);

// The value with this name in a row, counted from 0; the function that made the list says which
// names there are. "" if there is no such row or name.
//
// The text lives as long as the list. "" for NULL. Any thread. Cannot fail.
const char *b24_list_get(const struct b24_list *list, size_t row, const char *name);

// Frees a list and its texts. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_list_free(struct b24_list *list);

// The token that calls use.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_access_token(const struct b24_tokens *tokens);

// The token for the next renewal, which works once; "" if there is none.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_refresh_token(const struct b24_tokens *tokens);

// The portal's REST address, such as "https://portal.bitrix24.com/rest/"; the new one if the
// portal has moved.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_client_endpoint(const struct b24_tokens *tokens);

// The portal's permanent id; "" until the first renewal.
//
// The text lives as long as the tokens. "" for NULL. Any thread. Cannot fail.
const char *b24_tokens_member_id(const struct b24_tokens *tokens);

// When the access token expires, in Unix time (seconds); 0 if unknown, and for NULL.
//
// Any thread. Cannot fail.
int64_t b24_tokens_expires(const struct b24_tokens *tokens);

// Frees a snapshot and its texts. NULL is allowed; the one given to a b24_renewal_callback must
// not be freed.
//
// Any thread, once. Cannot fail.
void b24_tokens_free(struct b24_tokens *tokens);

// Waits until no renewal of tokens is under way in this process, for timeout_ms at most.
//
// A renewal may take longer than the call that started it. Once its request has been sent, the old
// refresh token may no longer work, and only the answer has a pair that does. A thread of its own
// waits for the answer and stores it, even if the call has timed out or was cancelled, or its
// client was freed. So call this function before the process ends: before main returns, or before
// exit. With the default connect_timeout_ms, 45000 milliseconds are enough for a renewal. If
// the process ends by _exit, abort or a signal, the answer is lost. After a fork, renewals stay
// with the parent, which finishes them.
//
// Any thread but that of a b24_renewal_callback. B24_TIMEOUT if a renewal is still under way; at
// once if timeout_ms is 0. B24_INVALID_ARGUMENT if timeout_ms is negative.
enum b24_code b24_renewals_wait(int64_t timeout_ms, struct b24_error **error);

// Opens a provider: checks its store, and makes or updates it. Nothing is sent.
//
// The configuration has the store, client_id and client_secret, and no portal or tokens; it is
// copied. The caller ends *provider with b24_provider_close. Any thread, while no other changes
// the configuration. B24_INVALID_CONFIG names the option that is missing, contradicts another or
// cannot be used, such as a store that another user can read; B24_STORAGE if the store fails.
// *provider is then NULL. With provider NULL the configuration and the store are only checked. A
// program needs one provider; several on one store are allowed.
enum b24_code b24_provider_open(const struct b24_config *config,
                                struct b24_provider **provider,
                                struct b24_error **error);

// Makes a handle to the same provider whose calls are limited: they end after timeout_ms, at most 7
// days, instead of after the option of this name, and when the token is cancelled. 0 leaves the
// timeout as it is; a token of NULL is none. If the provider has tokens already, each of them ends
// its calls. In a drain, timeout_ms limits the requests and not budget_ms; what a cancelled drain
// was sending is sent once more later. Clients that it gives are not limited.
//
// The caller frees *limited with b24_provider_close, which does not end the provider itself. Any
// thread. B24_INVALID_ARGUMENT if timeout_ms is negative; *limited is then NULL.
enum b24_code b24_provider_limited(struct b24_provider *provider,
                                   int64_t timeout_ms,
                                   const struct b24_cancel_token *token,
                                   struct b24_provider **limited,
                                   struct b24_error **error);

// Ends a provider and frees it: each drain that is under way in another thread ends after its
// present requests, and is waited for. What is in the store stays there. NULL is allowed.
//
// Any thread, once; no other call may be under way, and none may begin. Returns within twice
// timeout_ms (b24_provider_cancel before it ends the drains early). Clients from
// b24_provider_client still work. Cannot fail.
void b24_provider_close(struct b24_provider *provider);

// Ends the drains and other calls of this provider that are under way with B24_CANCELLED. Calls
// made later are not affected, nor are clients from b24_provider_client. What has not been sent
// stays in the store. NULL is allowed.
//
// Any thread; not from a signal handler. Cannot fail.
void b24_provider_cancel(struct b24_provider *provider);

// Reads a request that was posted to the provider's handler, and checks that it is the portal's: a
// message to be sent, or that the application was installed or removed. Nothing is answered: the
// program answers HTTP, with 200 after success, 400 to B24_INVALID_ARGUMENT, 403 to
// B24_ACCESS_DENIED, and 503 to anything else.
//
// `content_type` is the header of this name, "" if there is none: form encoding, which portals
// use, and JSON are read. `body` has `length` bytes, at most 1 MiB; it may be NULL if there are
// none. Both are borrowed for the call. When it returns, an installation is stored (the
// authorization server has confirmed it), and the tokens of one that was removed are gone.
//
// The caller frees *request with b24_request_free. Any thread, any number at once. Returns by
// timeout_ms, with any b24_code; *request is NULL after a failure. B24_INVALID_ARGUMENT if it
// cannot be read, B24_ACCESS_DENIED if it is not proven to be the portal's.
enum b24_code b24_provider_receive(struct b24_provider *provider,
                                   const char *content_type,
                                   const void *body,
                                   size_t length,
                                   struct b24_request **request,
                                   struct b24_error **error);

// Stores an installation from what the authorization server has answered, or from an `auth` that
// the program has kept, once the authorization server confirms it.
//
// `auth_json` is a JSON object with access_token, refresh_token and what else came with them.
// `application_token` is the one that came with the installation, and "" if it is not known: the
// first message whose token the authorization server confirms then sets it. Both are borrowed for
// the call. A refresh_token that is known already changes nothing, and is no failure. What waits
// for a portal that was held is sent again.
//
// Any thread, any number at once. Returns by timeout_ms, with any b24_code. B24_INVALID_ARGUMENT
// if auth_json cannot be read, B24_ACCESS_DENIED if it is not confirmed.
enum b24_code b24_provider_install(struct b24_provider *provider,
                                   const char *auth_json,
                                   const char *application_token,
                                   struct b24_error **error);

// Stores an installation from the page of the installation wizard: `frame` is a request of the
// kind B24_REQUEST_FRAME. Call it on that page and on no other, because each later opening brings
// the tokens of whoever opens it.
//
// `frame` is borrowed for the call. Any thread, any number at once. Returns by timeout_ms, with
// any b24_code. B24_ACCESS_DENIED if the authorization server does not confirm it.
enum b24_code b24_provider_install_request(struct b24_provider *provider,
                                           const struct b24_request *frame,
                                           struct b24_error **error);

// Moves the installations of a state_dir to the store. Clients with that state_dir then fail, and
// say why.
//
// `path` is the directory, borrowed for the call. *imported is how many were moved; it may be
// NULL, and is 0 after a failure. Any thread. B24_STORAGE if a file cannot be read or written;
// what was moved before stays moved, and the call can be repeated.
enum b24_code b24_provider_import_state_dir(struct b24_provider *provider,
                                            const char *path,
                                            int64_t *imported,
                                            struct b24_error **error);

// A client of an installed portal, whose tokens are those of the store, renewed once for all
// processes. With it the provider registers its sender (b24_sender_add).
//
// `member_id` is the portal's permanent id. The caller frees *client with b24_client_free, at any
// time: it may outlive the provider. Any thread, any number at once. B24_INVALID_ARGUMENT if the
// portal is not installed; *client is NULL after a failure.
enum b24_code b24_provider_client(struct b24_provider *provider,
                                  const char *member_id,
                                  struct b24_client **client,
                                  struct b24_error **error);

// As b24_provider_track_of, for a provider with one operator, whose name is "".
enum b24_code b24_provider_track(struct b24_provider *provider,
                                 const char *reference,
                                 const char *member_id,
                                 const char *code,
                                 const char *message_id,
                                 struct b24_error **error);

// Says which message an operator's reference stands for, so that b24_provider_report_reference_of
// knows it. A receipt that came by this reference before waits for this call. Several references
// may stand for one message: its parts, whose statuses are combined.
//
// `operator_name` is the operator whose reference it is, at most 64 bytes, "" if there is only
// one; `reference` has 1 to 255 bytes. `member_id` is the portal's permanent id, `code` the
// provider code, `message_id` the id that the portal gave the provider. All are borrowed for the
// call, and stored when it returns. Doing it again is harmless. Any thread, any number at once.
// B24_INVALID_ARGUMENT if an argument is wrong, or if the reference has stood for another message
// for less than 72 hours; B24_STORAGE if the store fails.
enum b24_code b24_provider_track_of(struct b24_provider *provider,
                                    const char *operator_name,
                                    const char *reference,
                                    const char *member_id,
                                    const char *code,
                                    const char *message_id,
                                    struct b24_error **error);

// Stores a receipt, to be sent to the portal by a drain of any process. When it returns B24_OK,
// the receipt is safe (see the option durability), and the operator can be told so.
//
// Of one message the final statuses (delivered, undelivered, failed) rank above sent, and sent
// above queued. A lower rank never replaces a higher one; within a rank the later time stands,
// then the later call. So receipts may come twice and in any order.
//
// `member_id` is the portal's permanent id, `code` the provider code, `message_id` the id that the
// portal gave the provider, `status` one of queued, sent, delivered, undelivered, failed. All are
// borrowed for the call. `at_ms` is when the status came about, in Unix milliseconds, 0 for now.
// Any thread, any number at once. Nothing is sent. B24_INVALID_ARGUMENT if an argument is wrong,
// B24_STORAGE if the store fails or is full: ask the operator to deliver the receipt again later.
enum b24_code b24_provider_report(struct b24_provider *provider,
                                  const char *member_id,
                                  const char *code,
                                  const char *message_id,
                                  const char *status,
                                  int64_t at_ms,
                                  struct b24_error **error);

// Stores the updates of a batch as receipts of one portal that came about now, by one write to the
// disk for every 10000. Each is what b24_provider_report does.
//
// Returns B24_OK if every receipt was stored. Otherwise it returns the code, and a copy of the
// error, of the first in the order added that was not; b24_batch_error tells the outcome of each.
// `member_id` is borrowed for the call. Any number of threads may use the provider at once, but
// only one the batch. The batch may be stored again as a whole: the outcomes are replaced, and
// storing a receipt twice is harmless. If provider or member_id is wrong, the outcome of each says
// so too.
enum b24_code b24_provider_report_batch(struct b24_provider *provider,
                                        const char *member_id,
                                        struct b24_batch *batch,
                                        struct b24_error **error);

// As b24_provider_report_reference_of, for a provider with one operator, whose name is "".
enum b24_code b24_provider_report_reference(struct b24_provider *provider,
                                            const char *reference,
                                            const char *status,
                                            int64_t at_ms,
                                            struct b24_error **error);

// Stores a receipt under the operator's own reference, as b24_provider_report does. The message is
// the one that b24_provider_track_of has named, or will name: the receipt waits for it an hour,
// and is then refused.
//
// `operator_name` and `reference` are those given to b24_provider_track_of, `status` and `at_ms`
// as for b24_provider_report. The texts are borrowed for the call. Any thread, any number at once.
// B24_INVALID_ARGUMENT if an argument is wrong, B24_STORAGE if the store fails or is full.
enum b24_code b24_provider_report_reference_of(struct b24_provider *provider,
                                               const char *operator_name,
                                               const char *reference,
                                               const char *status,
                                               int64_t at_ms,
                                               struct b24_error **error);

// Sends receipts for budget_ms: those that are due, and those that become due meanwhile, of all
// threads and processes that use the store. So a program calls it again and again, in a thread or
// process of its own.
//
// The call takes all of budget_ms, which must not be negative; no request starts afterwards, and
// it returns within timeout_ms more. With 0 nothing is sent, only counted. Failures of a portal
// are no failure of the drain: its receipts wait, are held or are refused, which the result
// counts. The option workers says how many threads of the library send; all signals are blocked in
// them, and they have ended when the call returns.
//
// The caller frees *drained with b24_drained_free; drained may be NULL. Any thread, any number at
// once. It ends early, with B24_OK, at b24_provider_close. B24_CANCELLED after
// b24_provider_cancel, B24_STORAGE if the store fails; *drained is NULL after a failure. What was
// sent until then is settled.
enum b24_code b24_provider_drain(struct b24_provider *provider,
                                 int64_t budget_ms,
                                 struct b24_drained **drained,
                                 struct b24_error **error);

// What the store has about each portal: a row for each, with "member_id"; "client_endpoint", ""
// if not known; "state", one of active, waiting (after a failure of the portal), held (until it is
// installed again or b24_provider_resume), uninstalled, unknown; "reason", why it is waiting or
// held; "waiting" and "refused", how many receipts are not sent yet and were given up;
// "oldest_ms", how old the oldest of those that wait is; "next_due_ms", how long until the next
// can be sent. The last two are milliseconds, and "" if there is none.
//
// The caller frees *list with b24_list_free. Any thread, any number at once. B24_STORAGE if the
// store fails; *list is then NULL.
enum b24_code b24_provider_inspect(struct b24_provider *provider,
                                   struct b24_list **list,
                                   struct b24_error **error);

// The receipts that were given up, in a fixed order: a row for each, with "cursor"; "member_id",
// "code" and "message_id"; "operator" and "reference", if the receipt came by a reference that was
// never tracked, in which case those three are ""; "status", the one that was not sent; "at_ms",
// when it came about, in Unix milliseconds; "reason", the portal's own code, or what happened.
//
// `after` is the "cursor" of a row, to get those after it, and "" to begin. It is borrowed for the
// call. At most `limit` rows are given, which is a number from 1 to 100000. The caller frees *list
// with b24_list_free. Any thread, any number at once. B24_INVALID_ARGUMENT if after is no cursor,
// B24_STORAGE if the store fails; *list is then NULL.
enum b24_code b24_provider_refused(struct b24_provider *provider,
                                   const char *after,
                                   size_t limit,
                                   struct b24_list **list,
                                   struct b24_error **error);

// Lets the receipts of a portal be sent again that is held, after what held it was put right, for
// example after the customer has paid; or of one that waits after a failure.
//
// `member_id` is borrowed for the call. Any thread. B24_INVALID_ARGUMENT if the store knows no
// such portal, B24_STORAGE if the store fails.
enum b24_code b24_provider_resume(struct b24_provider *provider,
                                  const char *member_id,
                                  struct b24_error **error);

// Removes receipts that were refused, and references, if they are older than keep_seconds, which
// must not be negative. Nothing that waits is removed, and what has happened to a message is known
// for 72 hours in any case.
//
// Any thread. B24_INVALID_ARGUMENT if keep_seconds is negative, B24_STORAGE if the store fails.
enum b24_code b24_provider_prune(struct b24_provider *provider,
                                 int64_t keep_seconds,
                                 struct b24_error **error);

// What the portal wants. B24_REQUEST_MESSAGE, which is 0, for NULL.
//
// Any thread. Cannot fail.
enum b24_request_kind b24_request_kind_of(const struct b24_request *request);

// A field of the request under the portal's own name, such as "message_id", "message_to" or
// "auth[user_id]"; "" if there is none. The names member_id, the portal's permanent id, and
// client_endpoint, its REST address, stand for what the request says, wherever it says it.
//
// The text lives as long as the request. "" for NULL. Any thread. Cannot fail.
const char *b24_request_get(const struct b24_request *request, const char *name);

// All fields of the request, in their order: a row for each, with "name" and "value".
//
// The caller frees *list with b24_list_free; it does not depend on the request. Any thread.
// B24_INVALID_ARGUMENT if request is NULL; *list is then NULL.
enum b24_code b24_request_fields(const struct b24_request *request,
                                 struct b24_list **list,
                                 struct b24_error **error);

// Frees a request and its texts. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_request_free(struct b24_request *request);

// How many receipts portals have stored during this drain. 0 for NULL.
//
// Any thread. Cannot fail.
uint64_t b24_drained_sent(const struct b24_drained *drained);

// How many receipts were refused for good during this drain; b24_provider_refused lists them with
// their reasons. 0 for NULL.
//
// Any thread. Cannot fail.
uint64_t b24_drained_refused(const struct b24_drained *drained);

// How many receipts are in the store for portals that are held; b24_provider_inspect lists these
// portals. 0 for NULL.
//
// Any thread. Cannot fail.
uint64_t b24_drained_held(const struct b24_drained *drained);

// How many other receipts are in the store. 0 for NULL.
//
// Any thread. Cannot fail.
uint64_t b24_drained_waiting(const struct b24_drained *drained);

// How many milliseconds after the drain the first of those that wait can be sent; -1 if none
// waits, and for NULL.
//
// Any thread. Cannot fail.
int64_t b24_drained_next_due_ms(const struct b24_drained *drained);

// Frees what b24_provider_drain gave. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_drained_free(struct b24_drained *drained);

// A vocabulary that the library knows: "smpp" (the texts and the numbers of SMPP's message_state),
// "gsm" (TP-Status of GSM 03.40, as a number) or "twilio" (MessageStatus).
//
// The caller frees *vocabulary with b24_vocabulary_free. Any thread. B24_INVALID_ARGUMENT if there
// is none of this name; *vocabulary is then NULL.
enum b24_code b24_vocabulary_named(const char *name,
                                   struct b24_vocabulary **vocabulary,
                                   struct b24_error **error);

// A vocabulary without words, to which b24_vocabulary_set adds the program's own. The name is only
// for the messages of errors, and is copied.
//
// The caller frees it with b24_vocabulary_free. Any thread. NULL only after a bug in the library.
// If the name is NULL or not UTF-8, calls with the vocabulary return B24_INVALID_ARGUMENT.
struct b24_vocabulary *b24_vocabulary_new(const char *name);

// Says what a word means: one of queued, sent, delivered, undelivered, failed. It replaces what
// the word meant before, also in a vocabulary from b24_vocabulary_named.
//
// Both texts are copied. One thread at a time. B24_INVALID_ARGUMENT for a status that is none, for
// a word that cannot be one, for NULL, and for text that is not UTF-8; the vocabulary then stays
// as it was.
enum b24_code b24_vocabulary_set(struct b24_vocabulary *vocabulary,
                                 const char *word,
                                 const char *status,
                                 struct b24_error **error);

// The status that a word means, such as "delivered" for "DELIVRD". The case of a word and blanks
// around it do not matter; a number is given as text, such as "2".
//
// *status is a static string: never freed. Any thread, while none changes the vocabulary.
// B24_INVALID_ARGUMENT, with *status NULL, if the vocabulary has no such word, which the message
// names: it is never guessed. Also for NULL, and for text that is not UTF-8.
enum b24_code b24_vocabulary_status(const struct b24_vocabulary *vocabulary,
                                    const char *word,
                                    const char **status,
                                    struct b24_error **error);

// Frees a vocabulary. NULL is allowed.
//
// Any thread, once. Cannot fail.
void b24_vocabulary_free(struct b24_vocabulary *vocabulary);

// The kind of failure. NULL is no failure: B24_OK.
//
// Any thread. Cannot fail.
enum b24_code b24_error_code(const struct b24_error *error);

// For people: what happened and what to do next. It never contains a token or another secret.
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

// How many milliseconds to wait before the same call can succeed; -1 if unknown, and for NULL.
//
// Any thread. Cannot fail.
int64_t b24_error_retry_after_ms(const struct b24_error *error);

// The name of a code: "B24_TIMEOUT" for B24_TIMEOUT. For logs and messages.
//
// A static string: never freed. "B24_UNKNOWN" for a value that this version does not know. Any
// thread. Cannot fail.
const char *b24_code_name(b24_code code);

// Frees an error and its texts. NULL is allowed; an error borrowed from a batch is not.
//
// Any thread, once. Cannot fail.
void b24_error_free(struct b24_error *error);

// Sets the function that receives the library's log records, for the whole process; see
// b24_log_callback. It replaces one that was set before. Without one nothing is logged.
//
// `max_level` is the highest level to log: 0 nothing, 1 errors only, up to 5 everything. Other
// records are not even formatted. callback NULL turns the log off. `user` is passed to the
// function unchanged. After a replacement, another thread may still be inside the former function,
// so keep what its `user` points to. Any thread. Cannot fail.
void b24_log_set(b24_log_callback callback, void *user, int32_t max_level);

// As b24_log_set, and calls `free` with `user` once no thread is inside the function any more, nor
// can come there: after it was replaced. So `user` may point to what the program no longer looks
// after.
//
// `free` is called on the thread that replaces the function, or on one that was inside it. It is
// not called at the end of the process. With callback NULL it is called before this function
// returns. free NULL is allowed. Any thread. Cannot fail.
void b24_log_set_owned(b24_log_callback callback,
                       void *user,
                       b24_free_callback free,
                       int32_t max_level);

// Keeps log records of the process in a queue, for programs that no function of which may be called
// from another thread or in the middle of a call, such as those in PHP. b24_log_take takes them. It
// replaces a function that b24_log_set has set, and b24_log_set replaces it.
//
// `max_level` is as in b24_log_set. At most `capacity` records wait; those that come when the queue
// is full are counted and dropped. What waits already stays when the level is changed or the log is
// turned off. Any thread. Cannot fail.
void b24_log_queue(int32_t max_level, size_t capacity);

// Takes the log records that wait, of all threads, in the order in which they came: a list whose rows
// have a "level" (1 to 5), a "target" and a "message", as a b24_log_callback is given them, and in
// "at_ms" when the record came, in Unix milliseconds.
//
// If records were dropped, the last row says how many: a warning with the target
// "b24_messageservice". After a fork the child has what waited in the parent, too. The caller frees the
// list with b24_list_free. Any thread. NULL if nothing waits, or after a bug in the library.
struct b24_list *b24_log_take(void);

#include "b24_messageservice_end.h"

#endif
