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
#include <functional>
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
    void operator()(b24_batch *handle) const noexcept { b24_batch_free(handle); }
    void operator()(b24_sender *handle) const noexcept { b24_sender_free(handle); }
    void operator()(b24_list *handle) const noexcept { b24_list_free(handle); }
    void operator()(b24_tokens *handle) const noexcept { b24_tokens_free(handle); }
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

}  // namespace detail

/// What clients are made from. One thread at a time.
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
        detail::owner<b24_batch> batch(b24_batch_new());
        std::vector<outcome> outcomes;
        outcomes.reserve(updates.size());
        for (const update &one : updates) {
            outcomes.push_back(detail::refuse_nul(one.code, one.message_id, one.status));
            if (!outcomes.back()) {
                b24_batch_add(batch.get(), one.code.c_str(), one.message_id.c_str(),
                              one.status.c_str());
            }
        }
        b24_message_status_update_batch(handle_.get(), batch.get(), nullptr);
        std::size_t sent = 0;
        for (outcome &one : outcomes) {
            if (!one) {
                if (const b24_error *failure = b24_batch_error(batch.get(), sent++)) {
                    one.emplace(*failure);
                }
            }
        }
        return outcomes;
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

    /// Ends the calls that are under way with B24_CANCELLED, from any thread.
    void cancel() noexcept { b24_client_cancel(handle_.get()); }

    /// The current tokens.
    b24::tokens tokens() const {
        return b24::tokens(detail::owner<b24_tokens>(b24_client_tokens(handle_.get())).get());
    }

private:
    using maker = b24_code (*)(const b24_config *, b24_client **, b24_error **);

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

/// Waits until no renewal is under way in this process: call it before the process ends; see
/// b24_renewals_wait. Throws error, with B24_TIMEOUT if a renewal is still under way.
inline void renewals_wait(std::chrono::milliseconds timeout) {
    b24_error *failure = nullptr;
    const b24_code code = b24_renewals_wait(timeout.count(), &failure);
    detail::raise(detail::take(code, failure));
}

}  // namespace b24

#endif
