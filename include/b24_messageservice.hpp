// C++17 over b24_messageservice.h: handles that free themselves, errors as exceptions or as values.
//
//     b24::client client(b24::config().set("portal", "portal.bitrix24.com")
//                                     .set("access_token", token));
//     client.message_status_update("provider1", message_id, b24::status::delivered);
//
// Header only; link what the C header needs. The log is that of C: b24_log_set.
#ifndef B24_MESSAGESERVICE_HPP
#define B24_MESSAGESERVICE_HPP

#include "b24_messageservice.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace b24 {

/// The statuses of a message. Calls take any text, since the portal may add more.
namespace status {
inline constexpr const char *queued = "queued";
inline constexpr const char *sent = "sent";
inline constexpr const char *delivered = "delivered";
inline constexpr const char *undelivered = "undelivered";
inline constexpr const char *failed = "failed";
}  // namespace status

/// Why a call failed. what() is for people, and never holds a secret.
class error : public std::runtime_error {
public:
    error(b24_code code, const std::string &message) : std::runtime_error(message), code_(code) {}

    /// A copy of an error of C.
    explicit error(const b24_error &from)
        : std::runtime_error(b24_error_message(&from)),
          code_(b24_error_code(&from)),
          portal_code_(b24_error_portal_code(&from)),
          description_(b24_error_description(&from)),
          http_status_(b24_error_http_status(&from)),
          retryable_(b24_error_is_retryable(&from)),
          retry_after_ms_(b24_error_retry_after_ms(&from)) {}

    b24_code code() const noexcept { return code_; }
    /// The code's name, such as "B24_TIMEOUT".
    const char *code_name() const noexcept { return b24_code_name(code_); }
    /// The portal's own error code, such as "ERROR_MESSAGE_NOT_FOUND"; empty if none.
    const std::string &portal_code() const noexcept { return portal_code_; }
    /// The portal's own description; empty if none.
    const std::string &description() const noexcept { return description_; }
    /// The HTTP status of the answer that decided; 0 if none.
    int http_status() const noexcept { return http_status_; }
    /// Whether the same call may succeed later without anyone changing anything.
    bool is_retryable() const noexcept { return retryable_; }
    /// How long to wait before the same call can succeed, if that is known.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        if (retry_after_ms_ < 0) {
            return std::nullopt;
        }
        return std::chrono::milliseconds(retry_after_ms_);
    }

private:
    b24_code code_;
    std::string portal_code_;
    std::string description_;
    int http_status_ = 0;
    bool retryable_ = false;
    std::int64_t retry_after_ms_ = -1;
};

/// The outcome of an update: empty if it was applied, else the error.
using outcome = std::optional<error>;

/// An installation's tokens at one moment. All but the address, the id and the time are secrets.
struct tokens {
    std::string access_token;
    std::string refresh_token;
    std::string client_endpoint;
    std::string member_id;
    /// Unix time; 0 if not known.
    std::int64_t expires = 0;

    tokens() = default;
    explicit tokens(const b24_tokens *from)
        : access_token(b24_tokens_access_token(from)),
          refresh_token(b24_tokens_refresh_token(from)),
          client_endpoint(b24_tokens_client_endpoint(from)),
          member_id(b24_tokens_member_id(from)),
          expires(b24_tokens_expires(from)) {}
};

/// One update of a batch.
struct update {
    std::string code;
    std::string message_id;
    std::string status;
};

namespace detail {

struct deleter {
    void operator()(b24_config *handle) const noexcept { b24_config_free(handle); }
    void operator()(b24_client *handle) const noexcept { b24_client_free(handle); }
    void operator()(b24_cancel_token *handle) const noexcept { b24_cancel_token_free(handle); }
    void operator()(b24_batch *handle) const noexcept { b24_batch_free(handle); }
    void operator()(b24_sender *handle) const noexcept { b24_sender_free(handle); }
    void operator()(b24_list *handle) const noexcept { b24_list_free(handle); }
    void operator()(b24_tokens *handle) const noexcept { b24_tokens_free(handle); }
    void operator()(b24_provider *handle) const noexcept { b24_provider_close(handle); }
    void operator()(b24_request *handle) const noexcept { b24_request_free(handle); }
    void operator()(b24_drained *handle) const noexcept { b24_drained_free(handle); }
    void operator()(b24_vocabulary *handle) const noexcept { b24_vocabulary_free(handle); }
    void operator()(b24_error *handle) const noexcept { b24_error_free(handle); }
};

template <typename T>
using owner = std::unique_ptr<T, deleter>;

/// The outcome of a call of the C library.
inline outcome take(b24_code code, b24_error *from) {
    owner<b24_error> owned(from);
    if (code == B24_OK) {
        return std::nullopt;
    }
    return owned ? outcome(std::in_place, *owned) : outcome(std::in_place, code, "out of memory");
}

inline void raise(outcome failure) {
    if (failure) {
        throw *std::move(failure);
    }
}

/// The values with this name in a list of the C library.
inline std::vector<std::string> values(b24_code code, b24_list *from, const char *name,
                                       b24_error *failure) {
    const owner<b24_list> list(from);
    raise(take(code, failure));
    std::vector<std::string> texts;
    for (std::size_t row = 0; row < b24_list_len(list.get()); row++) {
        texts.emplace_back(b24_list_get(list.get(), row, name));
    }
    return texts;
}

/// C would cut a text off at a NUL, and report about another message.
inline outcome refuse_nul(const char *name, const std::string &text) {
    if (text.find('\0') == std::string::npos) {
        return std::nullopt;
    }
    return error(B24_INVALID_ARGUMENT, std::string(name) + " contains a NUL");
}

inline outcome refuse_nul(const std::string &code, const std::string &message_id,
                          const std::string &status) {
    outcome failure = refuse_nul("code", code);
    if (!failure) {
        failure = refuse_nul("message_id", message_id);
    }
    return failure ? failure : refuse_nul("status", status);
}

/// A text that a call takes, and its name.
using named_text = std::pair<const char *, const std::string &>;

/// Throws error if a text contains a NUL.
inline void check_texts(std::initializer_list<named_text> texts) {
    for (const named_text &text : texts) {
        raise(refuse_nul(text.first, text.second));
    }
}

/// A batch of the C library of the updates that it can take; the outcomes of the others.
class batch {
public:
    explicit batch(const std::vector<update> &updates) : handle_(b24_batch_new()) {
        outcomes_.reserve(updates.size());
        for (const update &one : updates) {
            outcomes_.push_back(refuse_nul(one.code, one.message_id, one.status));
            if (!outcomes_.back()) {
                b24_batch_add(handle_.get(), one.code.c_str(), one.message_id.c_str(),
                              one.status.c_str());
            }
        }
    }

    b24_batch *get() const noexcept { return handle_.get(); }

    /// The outcome of each update, once the batch was sent or stored.
    std::vector<outcome> outcomes() && {
        std::size_t sent = 0;
        for (outcome &one : outcomes_) {
            if (!one) {
                if (const b24_error *failure = b24_batch_error(handle_.get(), sent++)) {
                    one.emplace(*failure);
                }
            }
        }
        return std::move(outcomes_);
    }

private:
    owner<b24_batch> handle_;
    std::vector<outcome> outcomes_;
};

/// The row of a list of the C library.
class row {
public:
    row(const b24_list *list, std::size_t index) : list_(list), index_(index) {}

    std::string text(const char *name) const { return b24_list_get(list_, index_, name); }

    std::uint64_t count(const char *name) const {
        return std::strtoull(b24_list_get(list_, index_, name), nullptr, 10);
    }

    /// Milliseconds, which are missing if the text is empty.
    std::optional<std::chrono::milliseconds> time(const char *name) const {
        const char *value = b24_list_get(list_, index_, name);
        if (*value == '\0') {
            return std::nullopt;
        }
        return std::chrono::milliseconds(std::strtoll(value, nullptr, 10));
    }

private:
    const b24_list *list_;
    std::size_t index_;
};

/// The rows of a list of the C library, each as a `Row`, which is made from a `row`.
template <typename Row>
std::vector<Row> rows(b24_code code, b24_list *from, b24_error *failure) {
    const owner<b24_list> list(from);
    raise(take(code, failure));
    std::vector<Row> all;
    all.reserve(b24_list_len(list.get()));
    for (std::size_t index = 0; index < b24_list_len(list.get()); index++) {
        all.emplace_back(row(list.get(), index));
    }
    return all;
}

}  // namespace detail

/// What clients and providers are made from. One thread at a time.
class config {
public:
    using renewal_callback = std::function<void(const tokens &)>;

    config() : handle_(b24_config_new()) {}

    /// Sets an option by its name; the names are those of b24_config_set. Throws error.
    config &set(const std::string &name, const std::string &value) {
        detail::raise(detail::refuse_nul("name", name));
        detail::raise(detail::refuse_nul("value", value));
        b24_error *failure = nullptr;
        const b24_code code = b24_config_set(handle_.get(), name.c_str(), value.c_str(), &failure);
        detail::raise(detail::take(code, failure));
        return *this;
    }

    /// Sets the function that stores renewed tokens; see b24_renewal_callback. It is called on the
    /// renewal's own thread. It must not throw, and must not make calls for the same installation.
    /// It is kept as long as it can still be called. What it refers to must stay valid as long:
    /// call renewals_wait after the last client is gone. A shared client keeps it until the process
    /// ends.
    config &on_renewal(renewal_callback callback) {
        std::shared_ptr<holder> kept(new holder, &config::retire);
        kept->callback = std::move(callback);
        b24_error *failure = nullptr;
        const b24_code code = b24_config_on_renewal(handle_.get(), &config::call, kept.get(), &failure);
        detail::raise(detail::take(code, failure));
        callback_ = std::move(kept);
        return *this;
    }

private:
    friend class client;
    friend class provider;

    struct holder {
        renewal_callback callback;
        // Refers to itself once a shared client uses it, because the process keeps that client.
        std::shared_ptr<holder> forever;
        holder *next = nullptr;
    };

    // Deletes functions that no client uses, as soon as no renewal is left that could call them.
    static void retire(holder *unused) noexcept {
        static std::mutex mutex;
        static holder *retired = nullptr;
        holder *done = nullptr;
        {
            const std::lock_guard<std::mutex> lock(mutex);
            unused->next = retired;
            retired = unused;
            if (b24_renewals_wait(0, nullptr) == B24_OK) {
                std::swap(done, retired);
            }
        }
        // Without the lock, because such a function may own a client.
        while (done != nullptr) {
            delete std::exchange(done, done->next);
        }
    }

    static void call(const b24_tokens *renewed, void *user) noexcept {
        static_cast<holder *>(user)->callback(tokens(renewed));
    }

    detail::owner<b24_config> handle_;
    std::shared_ptr<holder> callback_;
};

/// An SMS provider as it is registered with a portal. Its parts are those of b24_sender_set, checked
/// when a call uses it. One thread at a time may change it.
///
///     b24::sender provider("provider1");
///     provider.handler("https://provider.example.com/send").name("Provider One");
class sender {
public:
    /// Throws error if the code contains a NUL. The calls report other mistakes in it.
    explicit sender(const std::string &code) {
        detail::raise(detail::refuse_nul("code", code));
        handle_.reset(b24_sender_new(code.c_str()));
    }

    /// The address that the portal posts messages to. This and the functions below throw error if a
    /// text contains a NUL or is not UTF-8.
    sender &handler(const std::string &url) { return set("handler", nullptr, url); }
    /// The name that users see, in all languages.
    sender &name(const std::string &text) { return set("name", nullptr, text); }
    /// The name that users of one language, such as "en", see.
    sender &name_in(const std::string &language, const std::string &text) {
        return set("name", &language, text);
    }
    /// The description that users see, in all languages.
    sender &description(const std::string &text) { return set("description", nullptr, text); }
    /// The description that users of one language, such as "en", see.
    sender &description_in(const std::string &language, const std::string &text) {
        return set("description", &language, text);
    }
    /// The type of its messages: SMS unless set. It cannot be changed after the sender was added.
    sender &type(const std::string &text) { return set("type", nullptr, text); }

private:
    friend class client;

    sender &set(const char *part, const std::string *language, const std::string &text) {
        detail::raise(detail::refuse_nul(part, text));
        if (language != nullptr) {
            detail::raise(detail::refuse_nul("language", *language));
        }
        b24_error *failure = nullptr;
        const b24_code code = b24_sender_set(
            handle_.get(), part, language != nullptr ? language->c_str() : nullptr, text.c_str(),
            &failure);
        detail::raise(detail::take(code, failure));
        return *this;
    }

    detail::owner<b24_sender> handle_;
};

/// Cancels calls one by one: see b24_cancel_token. Any number of threads may use one at once.
class cancel_token {
public:
    cancel_token() : handle_(b24_cancel_token_new()) {}

    /// Ends the calls that have this token with B24_CANCELLED, and those that begin later.
    void cancel() noexcept { b24_cancel_token_cancel(handle_.get()); }

private:
    friend class client;
    friend class provider;

    detail::owner<b24_cancel_token> handle_;
};

/// A light handle to a portal. Any number of threads may use one at once. Move or destroy it only
/// while no thread is inside a call.
class client {
public:
    /// Nothing is sent yet. Throws error.
    explicit client(const config &from) : client(from, b24_client_new) {}

    /// The client that the process keeps for an equal configuration: see b24_client_shared. Throws
    /// error.
    static client shared(const config &from) {
        client made(from, b24_client_shared);
        if (made.callback_) {
            made.callback_->forever = made.callback_;
        }
        return made;
    }

    /// Reports the status of one message. Throws error.
    void message_status_update(const std::string &code, const std::string &message_id,
                               const std::string &status) {
        detail::raise(try_message_status_update(code, message_id, status));
    }

    /// The same, but returns the error.
    outcome try_message_status_update(const std::string &code, const std::string &message_id,
                                      const std::string &status) {
        if (outcome failure = detail::refuse_nul(code, message_id, status)) {
            return failure;
        }
        b24_error *failure = nullptr;
        const b24_code result = b24_message_status_update(
            handle_.get(), code.c_str(), message_id.c_str(), status.c_str(), &failure);
        return detail::take(result, failure);
    }

    /// Reports the status of any number of messages, and returns the outcome of each, in order.
    std::vector<outcome> message_status_update_batch(const std::vector<update> &updates) {
        detail::batch batch(updates);
        b24_message_status_update_batch(handle_.get(), batch.get(), nullptr);
        return std::move(batch).outcomes();
    }

    /// Registers an SMS provider with the portal: see b24_sender_add. Throws error.
    void sender_add(const sender &added) {
        b24_error *failure = nullptr;
        const b24_code code = b24_sender_add(handle_.get(), added.handle_.get(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Changes the handler, name or description of a registered sender; what is not set stays.
    /// Throws error.
    void sender_update(const sender &changed) {
        b24_error *failure = nullptr;
        const b24_code code = b24_sender_update(handle_.get(), changed.handle_.get(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Removes a sender from the portal, by its provider code. Throws error.
    void sender_delete(const std::string &code) {
        detail::raise(detail::refuse_nul("code", code));
        b24_error *failure = nullptr;
        const b24_code result = b24_sender_delete(handle_.get(), code.c_str(), &failure);
        detail::raise(detail::take(result, failure));
    }

    /// The provider codes of the senders that the application has registered. Throws error.
    std::vector<std::string> sender_list() {
        b24_list *list = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_sender_list(handle_.get(), &list, &failure);
        return detail::values(code, list, "code", failure);
    }

    /// The English name of a message's status, by the portal's own number of the message; empty if
    /// it has none. Throws error.
    std::string message_status_get(std::uint64_t message_id) {
        b24_list *list = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_message_status_get(handle_.get(), message_id, &list, &failure);
        return detail::values(code, list, "status", failure).at(0);
    }

    /// The same client with limits for its calls: see b24_client_limited. Throws error.
    client with_timeout(std::chrono::milliseconds timeout) const {
        return limited(timeout.count(), nullptr);
    }

    /// The same client, whose calls the token ends: see b24_client_limited. Throws error.
    client with_cancel(const cancel_token &token) const {
        return limited(0, token.handle_.get());
    }

    /// Ends the calls that are under way with B24_CANCELLED, from any thread.
    void cancel() noexcept { b24_client_cancel(handle_.get()); }

    /// The current tokens.
    b24::tokens tokens() const {
        return b24::tokens(detail::owner<b24_tokens>(b24_client_tokens(handle_.get())).get());
    }

private:
    friend class provider;

    using maker = b24_code (*)(const b24_config *, b24_client **, b24_error **);

    explicit client(b24_client *made) : handle_(made) {}

    client limited(std::int64_t timeout_ms, const b24_cancel_token *token) const {
        b24_client *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code =
            b24_client_limited(handle_.get(), timeout_ms, token, &made, &failure);
        client handle(made);
        handle.callback_ = callback_;
        detail::raise(detail::take(code, failure));
        return handle;
    }

    client(const config &from, maker make) : callback_(from.callback_) {
        b24_client *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = make(from.handle_.get(), &made, &failure);
        handle_.reset(made);
        detail::raise(detail::take(code, failure));
    }

    // Declared first, so that it is destroyed last.
    std::shared_ptr<config::holder> callback_;
    detail::owner<b24_client> handle_;
};

/// What a portal wants of the provider.
enum class request_kind {
    /// A message is to be sent.
    message = B24_REQUEST_MESSAGE,
    /// The application was installed. The provider has the installation already.
    install = B24_REQUEST_INSTALL,
    /// The application was removed. The provider has forgotten its tokens already.
    uninstall = B24_REQUEST_UNINSTALL,
    /// A page of the application was opened in a frame: see provider::install_request.
    frame = B24_REQUEST_FRAME,
};

/// A request that a portal has made to the provider's handler, checked to be the portal's. Any
/// number of threads may read it at once.
class request {
public:
    request_kind kind() const noexcept {
        return static_cast<request_kind>(b24_request_kind_of(handle_.get()));
    }
    /// The portal's permanent id; empty if a frame does not say it.
    std::string member_id() const { return get("member_id"); }
    /// The portal's REST address; empty if the request does not say it.
    std::string client_endpoint() const { return get("client_endpoint"); }
    /// A field under the portal's own name, such as "message_id" or "auth[user_id]"; empty if there
    /// is none, or if the name contains a NUL.
    std::string get(const std::string &name) const {
        return detail::refuse_nul("name", name) ? "" : b24_request_get(handle_.get(), name.c_str());
    }
    /// All fields, names and values, in their order. Throws error.
    std::vector<std::pair<std::string, std::string>> fields() const {
        b24_list *list = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_request_fields(handle_.get(), &list, &failure);
        std::vector<std::pair<std::string, std::string>> all;
        for (field &one : detail::rows<field>(code, list, failure)) {
            all.emplace_back(std::move(one.name), std::move(one.value));
        }
        return all;
    }

private:
    friend class provider;

    struct field {
        explicit field(const detail::row &from) : name(from.text("name")), value(from.text("value")) {}
        std::string name;
        std::string value;
    };

    explicit request(b24_request *handle) : handle_(handle) {}

    detail::owner<b24_request> handle_;
};

/// What a drain has done, and what is left.
struct drained {
    /// How many receipts portals have stored.
    std::uint64_t sent = 0;
    /// How many were refused for good: see provider::refused.
    std::uint64_t refused = 0;
    /// How many are in the store for portals that are held: see provider::inspect.
    std::uint64_t held = 0;
    /// How many others are in the store.
    std::uint64_t waiting = 0;
    /// How long until the first of those can be sent; empty if there is none.
    std::optional<std::chrono::milliseconds> next_due;

    drained() = default;
    explicit drained(const b24_drained *from)
        : sent(b24_drained_sent(from)),
          refused(b24_drained_refused(from)),
          held(b24_drained_held(from)),
          waiting(b24_drained_waiting(from)) {
        if (b24_drained_next_due_ms(from) >= 0) {
            next_due = std::chrono::milliseconds(b24_drained_next_due_ms(from));
        }
    }
};

/// What the store has about a portal.
struct portal_state {
    /// The portal's permanent id.
    std::string member_id;
    /// Its REST address; empty if not known.
    std::string client_endpoint;
    /// active, waiting, held, uninstalled or unknown: see b24_provider_inspect.
    std::string state;
    /// Why it is waiting or held; empty otherwise.
    std::string reason;
    /// Receipts that are not sent yet, held ones included.
    std::uint64_t waiting = 0;
    /// Receipts that were given up.
    std::uint64_t refused = 0;
    /// How old the oldest of those that wait is.
    std::optional<std::chrono::milliseconds> oldest;
    /// How long until the next can be sent.
    std::optional<std::chrono::milliseconds> next_due;

    portal_state() = default;
    explicit portal_state(const detail::row &from)
        : member_id(from.text("member_id")),
          client_endpoint(from.text("client_endpoint")),
          state(from.text("state")),
          reason(from.text("reason")),
          waiting(from.count("waiting")),
          refused(from.count("refused")),
          oldest(from.time("oldest_ms")),
          next_due(from.time("next_due_ms")) {}
};

/// A receipt that was given up.
struct refused_receipt {
    /// What provider::refused takes to give those after this one.
    std::string cursor;
    /// The message; all three are empty for a reference that was never tracked.
    std::string member_id;
    std::string code;
    std::string message_id;
    /// The operator and its reference, if the receipt came by one that was never tracked.
    std::string operator_name;
    std::string reference;
    /// The status that was not sent.
    std::string status;
    /// When it came about.
    std::chrono::system_clock::time_point at;
    /// The portal's own code, or what happened.
    std::string reason;

    refused_receipt() = default;
    explicit refused_receipt(const detail::row &from)
        : cursor(from.text("cursor")),
          member_id(from.text("member_id")),
          code(from.text("code")),
          message_id(from.text("message_id")),
          operator_name(from.text("operator")),
          reference(from.text("reference")),
          status(from.text("status")),
          at(from.time("at_ms").value_or(std::chrono::milliseconds(0))),
          reason(from.text("reason")) {}
};

/// What an operator's words for the state of a message mean. One thread at a time may change it.
class vocabulary {
public:
    /// One that the library knows: "smpp", "gsm" or "twilio"; see b24_vocabulary_named. Throws error.
    static vocabulary named(const std::string &name) {
        detail::check_texts({{"name", name}});
        b24_vocabulary *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_vocabulary_named(name.c_str(), &made, &failure);
        vocabulary one(made);
        detail::raise(detail::take(code, failure));
        return one;
    }

    /// One without words; the name is for the messages of errors. Throws error if it contains a NUL.
    explicit vocabulary(const std::string &name) {
        detail::check_texts({{"name", name}});
        handle_.reset(b24_vocabulary_new(name.c_str()));
    }

    /// Says what a word means, instead of what it meant before. Throws error.
    vocabulary &set(const std::string &word, const std::string &status) {
        detail::check_texts({{"word", word}, {"status", status}});
        b24_error *failure = nullptr;
        const b24_code code =
            b24_vocabulary_set(handle_.get(), word.c_str(), status.c_str(), &failure);
        detail::raise(detail::take(code, failure));
        return *this;
    }

    /// The status that a word means. Throws error, with B24_INVALID_ARGUMENT, if there is no such
    /// word.
    std::string status(const std::string &word) const {
        detail::check_texts({{"word", word}});
        const char *meant = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_vocabulary_status(handle_.get(), word.c_str(), &meant, &failure);
        detail::raise(detail::take(code, failure));
        return meant;
    }

private:
    explicit vocabulary(b24_vocabulary *handle) : handle_(handle) {}

    detail::owner<b24_vocabulary> handle_;
};

/// Does the whole job of a provider of messages, for any number of portals. Any number of threads
/// may use one at once. Move it only while no thread is inside a call, and destroy it only while
/// none is inside another call than drain, and none begins one: a drain that is under way then ends
/// after its present requests. Every call throws error.
///
///     b24::provider provider(b24::config().set("store", "sqlite:/var/lib/sms/b24.db")
///                                         .set("client_id", id).set("client_secret", secret));
///     provider.report(member_id, "provider1", message_id, b24::status::delivered);
///     provider.drain(std::chrono::seconds(10));
class provider {
public:
    /// When a status came about; empty for now.
    using time = std::optional<std::chrono::system_clock::time_point>;

    /// Checks the store, and makes or updates it: see b24_provider_open.
    explicit provider(const config &from) {
        b24_provider *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_open(from.handle_.get(), &made, &failure);
        handle_.reset(made);
        detail::raise(detail::take(code, failure));
    }

    /// Reads what was posted to the provider's handler, and checks that it is the portal's: see
    /// b24_provider_receive.
    b24::request receive(const std::string &content_type, const std::string &body) {
        detail::check_texts({{"content_type", content_type}});
        b24_request *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_receive(handle_.get(), content_type.c_str(), body.data(),
                                                   body.size(), &made, &failure);
        b24::request received(made);
        detail::raise(detail::take(code, failure));
        return received;
    }

    /// Stores an installation, once the authorization server confirms it: see b24_provider_install.
    void install(const std::string &auth_json, const std::string &application_token = "") {
        detail::check_texts({{"auth_json", auth_json}, {"application_token", application_token}});
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_install(handle_.get(), auth_json.c_str(),
                                                   application_token.c_str(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Stores an installation from the page of the installation wizard, and from no other: see
    /// b24_provider_install_request.
    void install_request(const b24::request &frame) {
        b24_error *failure = nullptr;
        const b24_code code =
            b24_provider_install_request(handle_.get(), frame.handle_.get(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Moves the installations of a state_dir to the store, and returns how many.
    std::int64_t import_state_dir(const std::string &path) {
        detail::check_texts({{"path", path}});
        std::int64_t imported = 0;
        b24_error *failure = nullptr;
        const b24_code code =
            b24_provider_import_state_dir(handle_.get(), path.c_str(), &imported, &failure);
        detail::raise(detail::take(code, failure));
        return imported;
    }

    /// A client of an installed portal, with the tokens of the store. It may outlive the provider.
    b24::client client(const std::string &member_id) {
        detail::check_texts({{"member_id", member_id}});
        b24_client *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code =
            b24_provider_client(handle_.get(), member_id.c_str(), &made, &failure);
        b24::client client(made);
        detail::raise(detail::take(code, failure));
        return client;
    }

    /// Says which message an operator's reference stands for: see b24_provider_track_of.
    void track(const std::string &reference, const std::string &member_id, const std::string &code,
               const std::string &message_id, const std::string &operator_name = "") {
        detail::check_texts({{"reference", reference},
                             {"member_id", member_id},
                             {"code", code},
                             {"message_id", message_id},
                             {"operator_name", operator_name}});
        b24_error *failure = nullptr;
        const b24_code result =
            b24_provider_track_of(handle_.get(), operator_name.c_str(), reference.c_str(),
                                  member_id.c_str(), code.c_str(), message_id.c_str(), &failure);
        detail::raise(detail::take(result, failure));
    }

    /// Stores a receipt, to be sent by a drain: see b24_provider_report.
    void report(const std::string &member_id, const std::string &code,
                const std::string &message_id, const std::string &status, time at = std::nullopt) {
        detail::check_texts({{"member_id", member_id},
                             {"code", code},
                             {"message_id", message_id},
                             {"status", status}});
        b24_error *failure = nullptr;
        const b24_code result =
            b24_provider_report(handle_.get(), member_id.c_str(), code.c_str(), message_id.c_str(),
                                status.c_str(), in_ms(at), &failure);
        detail::raise(detail::take(result, failure));
    }

    /// Stores receipts of one portal, all by one write to the disk, and returns the outcome of each,
    /// in order.
    std::vector<outcome> report_batch(const std::string &member_id,
                                      const std::vector<update> &updates) {
        detail::check_texts({{"member_id", member_id}});
        detail::batch batch(updates);
        b24_provider_report_batch(handle_.get(), member_id.c_str(), batch.get(), nullptr);
        return std::move(batch).outcomes();
    }

    /// Stores a receipt under the operator's reference: see b24_provider_report_reference_of.
    void report_reference(const std::string &reference, const std::string &status,
                          time at = std::nullopt, const std::string &operator_name = "") {
        detail::check_texts(
            {{"reference", reference}, {"status", status}, {"operator_name", operator_name}});
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_report_reference_of(
            handle_.get(), operator_name.c_str(), reference.c_str(), status.c_str(), in_ms(at),
            &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Sends receipts for this long: see b24_provider_drain.
    b24::drained drain(std::chrono::milliseconds budget) {
        b24_drained *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_drain(handle_.get(), budget.count(), &made, &failure);
        const detail::owner<b24_drained> done(made);
        detail::raise(detail::take(code, failure));
        return b24::drained(done.get());
    }

    /// What the store has about each portal: see b24_provider_inspect.
    std::vector<portal_state> inspect() {
        b24_list *list = nullptr;
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_inspect(handle_.get(), &list, &failure);
        return detail::rows<portal_state>(code, list, failure);
    }

    /// The receipts that were given up: those after the one with this cursor.
    std::vector<refused_receipt> refused(const std::string &after = "", std::size_t limit = 1000) {
        detail::check_texts({{"after", after}});
        b24_list *list = nullptr;
        b24_error *failure = nullptr;
        const b24_code code =
            b24_provider_refused(handle_.get(), after.c_str(), limit, &list, &failure);
        return detail::rows<refused_receipt>(code, list, failure);
    }

    /// Lets the receipts of a portal be sent again that is held.
    void resume(const std::string &member_id) {
        detail::check_texts({{"member_id", member_id}});
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_resume(handle_.get(), member_id.c_str(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// Removes what the store no longer needs and is older: see b24_provider_prune.
    void prune(std::chrono::seconds keep) {
        b24_error *failure = nullptr;
        const b24_code code = b24_provider_prune(handle_.get(), keep.count(), &failure);
        detail::raise(detail::take(code, failure));
    }

    /// The same provider with a timeout for its calls: see b24_provider_limited.
    provider with_timeout(std::chrono::milliseconds timeout) const {
        return limited(timeout.count(), nullptr);
    }

    /// The same provider, whose calls the token ends: see b24_provider_limited.
    provider with_cancel(const cancel_token &token) const {
        return limited(0, token.handle_.get());
    }

    /// Ends the drains and other calls that are under way with B24_CANCELLED, from any thread.
    void cancel() noexcept { b24_provider_cancel(handle_.get()); }

private:
    provider() = default;

    provider limited(std::int64_t timeout_ms, const b24_cancel_token *token) const {
        b24_provider *made = nullptr;
        b24_error *failure = nullptr;
        const b24_code code =
            b24_provider_limited(handle_.get(), timeout_ms, token, &made, &failure);
        provider handle;
        handle.handle_.reset(made);
        detail::raise(detail::take(code, failure));
        return handle;
    }

    static std::int64_t in_ms(time at) {
        if (!at) {
            return 0;
        }
        const auto since = std::chrono::floor<std::chrono::milliseconds>(at->time_since_epoch());
        // 0 stands for now, so the first moment of 1970 becomes the second one.
        return since.count() == 0 ? 1 : since.count();
    }

    detail::owner<b24_provider> handle_;
};

/// Waits until no renewal is under way in this process: call it before the process ends; see
/// b24_renewals_wait. Throws error, with B24_TIMEOUT if a renewal is still under way.
inline void renewals_wait(std::chrono::milliseconds timeout) {
    b24_error *failure = nullptr;
    const b24_code code = b24_renewals_wait(timeout.count(), &failure);
    detail::raise(detail::take(code, failure));
}

}  // namespace b24

#endif
